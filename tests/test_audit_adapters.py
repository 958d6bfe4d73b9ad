"""How the audit speaks to implementations, of every framework and of one's own."""

import functools
import subprocess
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import torch
from dropouts import SMALL, adapt, checked, kept, right, right_p, verdict
from pytensor.compile.builders import OpFromGraph

import companion.nn
from companion import inverted, symbolic
from companion.audit import Adapter, audit
from companion.audit.adapters import KINDS
from companion.audit.adapters.origin import modules_of


class WithBackward:
    """A NumPy layer that goes back with `change`d gradients."""

    def __init__(self, change):
        self.change = change

    def __call__(self, x, p, training, rng):
        self.p = p
        y, self.mask = inverted.dropout(
            x, p, training=training, rng=rng, return_mask=True
        )
        return y

    def backward(self, grad):
        return self.change(inverted.dropout_backward(grad, self.mask, self.p))


def test_backward_of_a_numpy_layer():
    good = audit(WithBackward(np.copy), shape=SMALL)
    assert good.passed, str(good)
    assert verdict(good, "backward").verdict == "pass"
    assert verdict(good, "double backward").verdict == "not applicable"
    bad = checked(WithBackward(lambda g: 2 * g), "backward")
    assert verdict(bad, "backward").verdict == "fail"


def test_the_slope_is_x_again_where_a_mask_cannot_be_drawn_again():
    class Unseeded(WithBackward):
        def __call__(self, x, p, training, rng):
            return super().__call__(x, p, training, np.random.default_rng())

    found = verdict(checked(Unseeded(np.copy), "backward"), "backward")
    assert found.verdict == "pass"
    assert float(found.measured.split()[-1]) < 1e-15  # differences come to 1e-10


# PyTorch


class Precomputed(torch.nn.Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p, self.scale = p, 1 / (1 - p) if right_p(p) < 1 else 0.0

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        return torch.where(torch.rand(x.shape) >= self.p, x * self.scale, 0)


class Wrapped(torch.nn.Module):
    """Its attribute `dropout` is a layer, not a rate."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x)


def by_keyword(x, p, *, training):
    return torch.nn.functional.dropout(x, p, training)


@pytest.mark.parametrize(
    ("candidate", "kwargs"),
    [
        (Precomputed, {"p": 0.3}),
        (Wrapped(), {}),
        (by_keyword, {}),
        (torch.nn.Dropout(inplace=True), {}),
    ],
    ids=lambda case: getattr(case, "__qualname__", str(case)),
)
def test_unusual_but_right_ones_pass(candidate, kwargs):
    report = audit(candidate, shape=SMALL, **kwargs)
    assert report.passed, str(report)
    written = isinstance(candidate, torch.nn.Dropout) and candidate.inplace
    expected = "note" if written else "pass"
    assert verdict(report, "input untouched").verdict == expected


# PyTensor


def compiled(*inputs, updates=True, layer=None):
    rng = pt.random.shared_rng(seed=0)
    next_rng, y = (layer or symbolic.dropout_layer)(*inputs, rng)
    symbols = [i for i in inputs if not isinstance(i, float)]
    return pytensor.function(symbols, y, updates={rng: next_rng} if updates else {})


X, P, TRAIN = pt.matrix("x"), pt.scalar("p"), pt.scalar("train", dtype="bool")


def test_compiled_functions():
    report = audit(compiled(X, P, TRAIN))
    assert report.passed, str(report)
    assert report.subject == "compiled PyTensor function"
    assert verdict(report, "survivors' scale").measured == "none"
    assert verdict(report, "inference").measured == "x(1-p)"
    stuck = compiled(X, P, TRAIN, updates=False)
    found = verdict(checked(stuck, "fresh mask every call"), "fresh mask every call")
    assert found.verdict == "fail"


@pytest.mark.parametrize(("inputs", "p"), [((X, P), 0.5), ((X, 0.3), 0.3)])
def test_a_compiled_function_without_inference(inputs, p):
    report = audit(compiled(*inputs, layer=symbolic.dropit), p=p, shape=SMALL)
    assert report.passed, str(report)
    assert verdict(report, "inference").verdict == "not applicable"
    assert verdict(report, "survivors' scale").verdict == "note"
    one_rate = verdict(report, "p = 1").verdict == "not applicable"
    assert one_rate == (len(inputs) == 2 and inputs[1] == 0.3)


def test_gradients_of_compiled_functions():
    report = checked(compiled(X, P, TRAIN), "backward", "double backward")
    assert verdict(report, "backward").measured.startswith("relative error")
    assert report.passed, str(report)


def test_a_gradient_that_was_written_by_hand():
    z = pt.matrix("z")
    with pytest.warns(FutureWarning):
        double = OpFromGraph([z], [2 * z], lop_overrides=lambda i, o, g: [g[0]])

    def wrong(x, p, rng):
        next_rng, y = symbolic.dropit(x, p, rng)
        return next_rng, double(y / 2)

    report = checked(compiled(X, P, layer=wrong), "backward")
    assert verdict(report, "backward").verdict == "fail"


@pytest.mark.filterwarnings("ignore:Numba will use object mode")
def test_a_compiled_function_without_a_gradient():
    @pytensor.wrap_py(itypes=[pt.dmatrix], otypes=[pt.dmatrix])
    def opaque(y):
        return y + 0

    def layer(x, p, rng):
        next_rng, y = symbolic.dropit(x, p, rng)
        return next_rng, opaque(y)

    report = checked(compiled(X, P, layer=layer), "backward")
    assert verdict(report, "backward").verdict == "not applicable"


# Recognition


def of_four(x, rate, train, generator):
    return kept(x, generator.random(x.shape) >= rate, rate) if train else x


@pytest.mark.parametrize(
    ("candidate", "kind"),
    [
        (torch.nn.Dropout(), "TorchModule"),
        (torch.nn.Dropout, "TorchModule"),
        (torch.dropout, "TorchFunction"),
        (by_keyword, "TorchFunction"),
        (right, "NumPyFunction"),
        (inverted.dropout, "NumPyFunction"),
        (of_four, "NumPyFunction"),
    ],
)
def test_each_kind_recognises_its_own(candidate, kind):
    assert type(adapt(candidate, 0.5)).__name__ == kind


def test_recognising_imports_no_framework():
    code = """
import sys
from companion.audit.adapters import KINDS
before = set(sys.modules)
for candidate in (lambda x, p, training, rng: x, lambda x, p, key: x, 7, KINDS):
    [kind.recognises(candidate) for kind in KINDS]
print(sorted(set(sys.modules) - before))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_refused_is_told_all_that_is_taken():
    with pytest.raises(TypeError, match="got 7") as refused:
        adapt(7, 0.5)
    said = str(refused.value)
    assert all(said.count(kind.takes) == 1 for kind in KINDS)


def outside(x, p, training):
    return helper(x, p) if training else x


def helper(x, p):
    import tokenize as unlikely

    return unlikely


class Annotated:
    def __call__(self, x: "pt.TensorVariable | None", p):
        return (lambda: np.sign(x))()


@pytest.mark.parametrize(
    ("candidate", "module"),
    [
        (outside, "tokenize"),
        (Annotated(), "pytensor.tensor"),
        (Annotated().__call__, "numpy"),
        (functools.partial(outside, p=0.5), "tokenize"),
        (functools.wraps(outside)(lambda x: x), "tokenize"),
    ],
)
def test_a_candidate_tells_by_its_code_where_it_comes_from(candidate, module):
    assert module in modules_of(candidate)
    assert "pandas" not in modules_of(candidate)


# One's own


class Halves(Adapter):
    """Of another kind: arrays are lists of numbers."""

    name, dtypes, sets_p, has_inference = "halves", ("float64",), False, False

    def array(self, values, dtype):
        return (values.tolist(), values.shape)

    def values(self, array):
        return np.array(array[0], dtype=float).reshape(array[1])

    def dtype(self, array):
        return "float64"

    def reversed(self, array):
        return None

    def seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def state(self):
        return self.rng.bit_generator.state

    def __call__(self, x, p, training=True):
        return (right(self.values(x), 0.5, True, self.rng).tolist(), x[1])


def test_an_adapter_of_ones_own():
    assert audit(Halves(), shape=(16, 32)).passed  # p is estimated
    wrong = audit(Halves(), p=0.4, shape=(16, 32))
    assert wrong.failures[0].name == "drop rate"


def test_a_layer_is_audited_with_a_copy_of_its_generator():
    generator = torch.Generator()
    before = generator.get_state()
    layer = companion.nn.Dropout(0.5, generator=generator)
    assert audit(layer, shape=SMALL).passed
    assert torch.equal(generator.get_state(), before)
