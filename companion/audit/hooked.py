"""See every call of a module and of a function of PyTorch's, while a model runs."""

from typing import Any, Self

from torch import nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode


class Hooked(TorchFunctionMode):
    """Have `_enter` and `_leave` called around each module, named or not, as long as it lasts."""

    def __enter__(self) -> Self:
        enter = hooks.register_module_forward_pre_hook(self._enter)
        leave = hooks.register_module_forward_hook(
            self._leaves, with_kwargs=True, always_call=True
        )
        self._handles = enter, leave
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
            hooks._global_forward_hooks_with_kwargs.pop(
                handle.id, None
            )  # which PyTorch keeps

    def _leaves(self, module: nn.Module, args: Any, *rest: Any) -> Any:
        kwargs, output = rest if len(rest) == 2 else ({}, None)  # when it raised
        return self._leave(module, args, kwargs, output)

    def _enter(self, module: nn.Module, args: Any) -> None:
        raise NotImplementedError

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        raise NotImplementedError
