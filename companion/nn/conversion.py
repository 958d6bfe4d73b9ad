"""The companion's layers in a model that somebody else wrote."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from companion.checks import check_probability
from companion.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from companion.nn.keyed import Keyed
from companion.nn.multihead import MultiheadAttention
from companion.nn.recurrent import GRU, LSTM, RNN

import torch  # isort: skip
from torch import nn  # isort: skip
from torch.overrides import TorchFunctionMode, resolve_name  # isort: skip
from torch.utils._pytree import tree_map_only  # isort: skip

__all__ = ["Unconverted", "convert", "unconverted"]

OURS: dict[type[nn.Module], type[Keyed]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: Dropout1d,
    nn.Dropout2d: Dropout2d,
    nn.Dropout3d: Dropout3d,
    nn.MultiheadAttention: MultiheadAttention,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNN: RNN,
}
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}


class Unconverted(NamedTuple):
    """A dropout of PyTorch's that is left in a model.

    Parameters
    ----------
    path : str
        Of the submodule, with dots; empty for the model itself.
    what : str
        The class of the layer, or the name of the function.
    why : str
        What kept it from being converted.

    Examples
    --------
    >>> print(Unconverted("head.1", "torch.nn.AlphaDropout", "no layer of the companion's"))
    head.1: torch.nn.AlphaDropout (no layer of the companion's)
    """

    path: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.path or 'the model itself'}: {self.what} ({self.why})"


def convert(model: nn.Module, example: Any = None) -> nn.Module:
    """Make the dropouts of a model the companion's, and warn of those that cannot be.

    Layers of the classes `torch.nn.Dropout`, `Dropout1d`, `Dropout2d` and `Dropout3d` become those
    of `companion.nn`, and so do `MultiheadAttention`, `LSTM`, `GRU` and `RNN` with a dropout.

    Parameters
    ----------
    model : torch.nn.Module
        Any model. It is changed in place.
    example : torch.Tensor, tuple, mapping or None
        What to call the model with, to find dropouts that are functions: one input, a tuple of
        arguments, or a mapping of keyword arguments. None: only layers are looked at.

    Returns
    -------
    torch.nn.Module
        The model.

    Warns
    -----
    UserWarning
        If dropouts of PyTorch's are left, with what `unconverted` lists.

    Raises
    ------
    TypeError
        If `model` is not a `torch.nn.Module`.

    Notes
    -----
    A layer stays the object it is and only its class changes. So its parameters, hooks, mode, `p`
    and `inplace` stay, optimizers go on, a layer used in two places stays one, and a
    `state_dict` fits before and after. What is converted already is left as it is.

    See Also
    --------
    unconverted : the list behind the warning.

    Examples
    --------
    >>> encoder = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    >>> convert(encoder).dropout1
    Dropout(p=0.1, inplace=False)
    >>> type(encoder.self_attn)
    <class 'companion.nn.multihead.MultiheadAttention'>
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    for layer in model.modules():
        if type(layer) in OURS and "forward" not in vars(layer) and _drops(layer):
            _convert_layer(layer)
    if left := unconverted(model, example):
        listed = "\n".join(f"  {dropout}" for dropout in left)
        warnings.warn(f"dropouts of PyTorch's are left:\n{listed}", stacklevel=2)
    return model


def unconverted(model: nn.Module, example: Any = None) -> list[Unconverted]:
    """List the dropouts of PyTorch's in a model: its layers and, given an example, its functions.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, converted or not.
    example : torch.Tensor, tuple, mapping or None
        As in `convert`. The model is run on it once, in training mode and without gradients.
        Its mode and buffers (the statistics of batch normalization) and the states of PyTorch's
        generators are put back.

    Returns
    -------
    list of Unconverted
        Tuples ``(path, what, why)``.

    Notes
    -----
    A function counts if it draws random numbers in that run, and each submodule and function once.
    Not seen are functions in compiled extensions and in branches that the run does not take.

    Examples
    --------
    >>> class Net(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.nn.functional.dropout(x, 0.1, self.training)
    >>> for dropout in unconverted(torch.nn.Sequential(Net(), torch.nn.SELU()), torch.ones(2, 3)):
    ...     print(dropout)
    0: torch.nn.functional.dropout (a function)
    """
    names = {module: name for name, module in model.named_modules()}
    compiled = {name for layer, name in names.items() if _is_compiled(layer)}
    left = [
        Unconverted(name, type(layer).__name__, _why(layer))
        for layer, name in names.items()
        if _is_pytorch_s(layer) and not (name and name.rpartition(".")[0] in compiled)
    ]
    if example is not None:
        known = {dropout.path for dropout in left}
        left += [d for d in _called(model, names, example) if d.path not in known]
    return left


def _is_pytorch_s(layer: nn.Module) -> bool:
    kinds = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase)
    ours = not isinstance(layer, kinds) or isinstance(layer, Keyed)
    return _is_compiled(layer) or (not ours and _drops(layer))


def _is_compiled(layer: nn.Module) -> bool:
    return isinstance(layer, torch.jit.ScriptModule)


def _drops(layer: nn.Module) -> bool:
    """Whether its rate is not 0, for attention and recurrent layers, which call it `dropout`."""
    return getattr(layer, "dropout", None) != 0


def _why(layer: nn.Module) -> str:
    if _is_compiled(layer):
        return "compiled by TorchScript, not looked into: convert before that"
    if "forward" in vars(layer):
        return "its forward was replaced"
    if type(layer) in OURS:
        return "not converted yet"
    if type(layer).__module__.startswith("torch.nn.modules."):
        return "the companion has no such layer"
    return f"a class of its own, made from {type(layer).__mro__[1].__name__}"


def _convert_layer(layer: Any) -> None:
    p = check_probability(layer.p) if hasattr(layer, "p") else None
    layer.__class__ = OURS[type(layer)]
    if p is not None:
        del vars(layer)["p"]
        layer.p = p


# Functions, which only a run shows


def _called(
    model: nn.Module, names: dict[nn.Module, str], example: Any
) -> list[Unconverted]:
    args, kwargs = _arguments(example)
    watch = _Watch(names)
    try:
        with _undisturbed(model), watch:
            model.train()(*args, **kwargs)
    finally:
        for hook in watch.hooks:
            hook.remove()
    return [*dict.fromkeys(watch.found)]


def _arguments(example: Any) -> tuple[tuple, dict[str, Any]]:
    example = tree_map_only(torch.Tensor, lambda x: x.detach().clone(), example)
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example if isinstance(example, tuple) else (example,)), {}


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Put modes, buffers and the states of generators back as they were."""
    modes = {module: module.training for module in model.modules()}
    buffers = [
        (m, k, b, b.clone())
        for m in modes
        for k, b in m._buffers.items()
        if b is not None
    ]
    own = {
        m.generator for m in modes if isinstance(m, Keyed) and m.generator is not None
    }
    states = {generator: generator.get_state() for generator in own}
    try:
        with torch.random.fork_rng(_cuda_devices()), torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer
            with torch.no_grad():
                buffer.copy_(value)
        for generator, state in states.items():
            generator.set_state(state)


class _Watch(TorchFunctionMode):
    """Note which functions of PyTorch's drop something, and in which submodule."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        super().__init__()
        self.running = [""]
        self.found: list[Unconverted] = []
        self.hooks = []
        for module, name in names.items():
            if _is_compiled(module):
                continue
            begins = partial(self._begins, name)
            self.hooks += [
                module.register_forward_pre_hook(begins),
                module.register_forward_hook(self._ends, always_call=True),
            ]

    def _begins(self, name: str, *_: Any) -> None:
        self.running.append(name)

    def _ends(self, *_: Any) -> None:
        self.running.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        ours = (getattr(func, "__module__", "") or "").startswith("companion.")
        if ours or not ("drop" in name or "attention" in name or name in RECURRENT):
            return func(*args, **kwargs)
        before = _state_of_generators()
        result = func(*args, **kwargs)
        if not all(map(torch.equal, before, _state_of_generators())):
            called = resolve_name(func) or name
            self.found.append(Unconverted(self.running[-1], called, "a function"))
        return result


def _state_of_generators() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, _cuda_devices())]


def _cuda_devices() -> range:
    """Return those that are in use: to ask would start them."""
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
