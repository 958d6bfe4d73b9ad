"""Where a layer's masks come from, and who may see it."""

import copy
from typing import Any, Self

from companion.nn import dispatch

import torch  # isort: skip
from torch import fx  # isort: skip

__all__ = ["Keyed"]

EXTRA = "_extra_state"  # PyTorch's name for what is neither parameter nor buffer


class Keyed(torch.nn.Module):
    """Give a layer a `generator` that PyTorch's machinery sees, or a `key` for its masks.

    The generator stands in the `state_dict`, where one is given, and copies of a layer share it.
    """

    generator: torch.Generator | None = None
    key: int | torch.Tensor | None = None

    def _draw_from(
        self, generator: torch.Generator | None, key: int | torch.Tensor | None
    ) -> None:
        if not isinstance(generator, torch.Generator | None):
            raise TypeError(
                f"generator must be a torch.Generator or None; got {generator!r}"
            )
        if key is not None:
            dispatch.signed_key(key, generator)
        self.generator, self.key = generator, key

    def _as_leaf(self, *args: Any, **kwargs: Any) -> Any:
        """Return what `torch.fx` writes for a layer of torch.nn, if that is what calls it.

        It traces through other layers, and eval() would not turn off a dropout that is traced.
        """
        for arg in (*args, *kwargs.values()):
            tracer: Any = arg.tracer if isinstance(arg, fx.Proxy) else None
            if tracer is not None and tracer.root is not self:
                path = tracer.path_of_module(self)
                return tracer.create_proxy("call_module", path, args, kwargs)
        return None

    def _said_source(self) -> str:
        said = ""
        if self.generator is not None:
            said += f", generator=torch.Generator('{self.generator.device}')"
        if self.key is not None:
            said += f", key={self.key}"
        return said

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the layer, but not its generator: copies of a layer must not repeat its masks."""
        memo[id(self.generator)] = self.generator
        twin = memo[id(self)] = type(self).__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]
        return twin

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.generator is not None:
            destination[prefix + EXTRA] = self.generator.get_state()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        others = state_dict
        if (
            self.generator is not None
            and (state := state_dict.get(prefix + EXTRA)) is not None
        ):
            self.generator.set_state(state.cpu())
            others = {k: v for k, v in state_dict.items() if k != prefix + EXTRA}
        elif self.generator is not None:
            missing_keys.append(prefix + EXTRA)
        super()._load_from_state_dict(
            others,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )

    def __prepare_scriptable__(self) -> torch.nn.Module:
        raise TypeError(
            f"torch.jit.script cannot compile {self}: use torch.compile or torch.export, or "
            "torch.jit.trace, which keeps it as an operator of this package"
        )
