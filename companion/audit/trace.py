"""Watch a model run: which dropouts act, and where their outputs go."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from companion.audit import misuses as m
from companion.audit.hooked import Hooked
from companion.audit.passes import arguments
from companion.audit.trail import Trail, after_dropout
from companion.audit.tree import Names, number, rate

CHANNELS = {"dropout1d": 3, "dropout2d": 4, "dropout3d": 5}  # axes of a batch
KINDS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
DROPOUTS = {*KINDS, *(f"{kind}_" for kind in KINDS), *CHANNELS, "native_dropout"}
CALLS = dict.fromkeys(DROPOUTS, ("input", "p", "training")) | {  # arguments, in order
    "scaled_dot_product_attention": ("",) * 4 + ("dropout_p",),
    "multi_head_attention_forward": ("",) * 10 + ("dropout_p",),
}
SHAPE_ONLY = """__get__ __getitem__ chunk clone contiguous detach expand flatten movedim permute
    reshape split squeeze swapaxes t to transpose unbind unflatten unsqueeze view view_as"""


class Trace(Hooked):
    """Watch forward passes: which dropouts run, and where their outputs go."""

    def __init__(self, names: Names, findings: m.Findings) -> None:
        super().__init__()
        self.names, self.findings = names, findings
        self.stuck = {finding.path for finding in findings.of(m.STUCK)}
        self.trails = WeakTensorKeyDictionary()

    def run(self, model: nn.Module, training: bool, example: Any) -> None:
        args, kwargs = arguments(example)
        self.training, self.stack = training, [(model, self.names[model])]
        with self:
            outputs = model(*args, **kwargs)
        tensors = (x for x in tree_leaves(outputs) if isinstance(x, Tensor))
        trails = [self._trail(x) for x in tensors]
        for trail in filter(None, trails):
            if all(trails) or not trail.drop.read:  # features beside logits are meant
                self.findings.add(m.OUTPUT, trail.drop.path)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append((module, self.names.get(module, self.stack[-1][1])))

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        _, path = self.stack.pop()
        if not isinstance(module, _DropoutNd):
            return output
        x = _first(args, kwargs)
        for kind in type(module).__mro__:  # ours do not call PyTorch's functions
            if kind.__module__ == "companion.nn.dropout":
                self._check_shape(path, kind.__name__.lower(), x)
        return self._dropped(path, rate(module), x, output)

    def __torch_function__(
        self,
        func: Callable,
        types: Any,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name, (module, path) = getattr(func, "__name__", ""), self.stack[-1]
        x = _first(args, kwargs)
        trail = self._trail(x)
        p = self._inspect(name, path, x, args, kwargs) if name in CALLS else 0.0
        if func is F.batch_norm and trail and args[1] is not None:  # running statistics
            self.findings.add(m.BATCHNORM, trail.drop.path, path)
        result = func(*args, **kwargs)
        if isinstance(module, _DropoutNd):  # `_leave` follows what a layer returns
            return result
        if name == "native_dropout":  # and the mask
            return self._dropped(path, p, x, result[0]), result[1]
        if name in DROPOUTS:
            return self._dropped(path, p, x, result)
        self._follow(name, tree_leaves((args, kwargs)), tree_leaves(result))
        return result

    def _inspect(
        self, name: str, path: str, x: Any, args: tuple, kwargs: dict[str, Any]
    ) -> float:
        """Look at a call to a dropout, or to an attention that has one; return its p."""
        options = dict(zip(CALLS[name], args, strict=False)) | kwargs
        p = options.get("p", options.get("dropout_p"))
        p = 0.0 if p is None else number(p)
        active = options.get("training", options.get("train", True))
        if active and p > 0 and not self.training and path not in self.stuck:
            self.findings.add(m.ACTIVE, path, f"{name} with p = {p:g} drops")
        if p == 1 and name in DROPOUTS:
            self.findings.add(m.RATE, path, m.ALL_ZEROS)
        self._check_shape(path, name, x)
        return p

    def _check_shape(self, path: str, name: str, x: Any) -> None:
        axes = CHANNELS.get(name)
        if axes and isinstance(x, Tensor) and x.ndim != axes:
            said = f"{name} takes {axes} axes and got {x.ndim}"
            self.findings.add(m.SHAPE, path, said)

    def _dropped(self, path: str, p: float, x: Any, y: Any) -> Any:
        trail = after_dropout(self._trail(x), path, p, self.findings)
        if y is x and isinstance(x, Tensor) and not self.training:
            y = x.view_as(x)  # at rest it is its very input: tell them apart
        if trail and isinstance(y, Tensor):
            self.trails[y] = trail
        return y

    def _follow(self, name: str, inputs: list, outputs: list) -> None:
        after = self._after(name, inputs)
        for y in outputs:
            if isinstance(y, Tensor):
                self.trails.pop(y, None)  # an input, if changed in place
                if after:
                    self.trails[y] = after

    def _after(self, name: str, inputs: list) -> Trail | None:
        """Return the trail of what a function gives, and note which dropouts weights read."""
        tensors = (x for x in inputs if isinstance(x, Tensor))
        floating = {id(x): x for x in tensors if x.is_floating_point()}.values()
        trails = [trail for trail in map(self._trail, floating) if trail]
        if trails and len(floating) == 1:
            drop, direct = trails[0]
            return Trail(drop, direct and name in SHAPE_ONLY.split())
        if any(isinstance(x, nn.Parameter) for x in floating):
            for trail in trails:
                trail.drop.read = True
        return None

    def _trail(self, x: Any) -> Trail | None:
        return self.trails.get(x) if isinstance(x, Tensor) else None


def _first(args: tuple, kwargs: dict[str, Any]) -> Any:
    return next(iter((*args, *kwargs.values())), None)
