"""Other people's models with the companion's layers, and what is said of the rest."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import companion.nn as ours
from companion.nn import Unconverted, convert, unconverted

TAKEN = {
    nn.Dropout(0.3, inplace=True): "Dropout",
    nn.Dropout1d(0.3): "Dropout1d",
    nn.Dropout2d(0.3): "Dropout2d",
    nn.Dropout3d(0.3): "Dropout3d",
    nn.MultiheadAttention(4, 2, 0.3): "MultiheadAttention",
    nn.LSTM(4, 4, 2, dropout=0.3): "LSTM",
    nn.GRU(4, 4, 2, dropout=0.3): "GRU",
    nn.RNN(4, 4, 2, dropout=0.3): "RNN",
}


class Own(nn.Dropout):
    def forward(self, x):
        return super().forward(x) + 1


class Functional(nn.Module):
    """Calls a function, and hands it whether the module trains."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, self.training)


@pytest.mark.parametrize("layer", TAKEN, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_changes_its_class_and_nothing_else(layer, training):
    layer = copy.deepcopy(layer).train(training)
    name = TAKEN[next(k for k in TAKEN if type(k) is type(layer))]
    weights, state, said = [*layer.parameters()], layer.state_dict(), repr(layer)
    hooked = []
    layer.register_forward_hook(lambda *_: hooked.append(1))
    assert convert(layer) is layer
    assert type(layer) is getattr(ours, name)
    assert "p" not in vars(layer)  # a property has taken its place
    assert layer.training is training
    assert getattr(layer, "inplace", False) is (name == "Dropout")
    assert repr(layer) == said
    assert all(a is b for a, b in zip(layer.parameters(), weights, strict=True))
    assert [*layer.state_dict()] == [*state]
    x = torch.ones(2, 4, 4, 4, 4)[(0,) * {"Dropout1d": 2, "Dropout2d": 1}.get(name, 0)]
    x = torch.ones(3, 2, 4) if weights else x
    layer(*[x] * (3 if name == "MultiheadAttention" else 1))
    assert hooked
    layer.key = 5
    twin = copy.deepcopy(layer)
    assert convert(twin) is twin
    assert twin.key == 5


def test_it_does_what_a_layer_made_by_the_constructor_does():
    x = torch.ones(2, 4, 4, 4, 4)
    for layer in TAKEN:
        if not isinstance(layer, nn.modules.dropout._DropoutNd):
            continue
        made = getattr(ours, type(layer).__name__)(0.3, key=5)
        found = convert(copy.deepcopy(layer))
        found.key = 5
        axes = {"Dropout1d": 2, "Dropout2d": 1}.get(type(layer).__name__, 0)
        torch.testing.assert_close(found(x[(0,) * axes].clone()), made(x[(0,) * axes]))
        with pytest.raises(ValueError, match=r"1\.5"):
            found.p = 1.5


def test_eval_results_stay_and_training_drops_by_the_companion():
    torch.manual_seed(0)
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True).eval()
    source, target = torch.randn(3, 5, 16), torch.randn(3, 4, 16)
    before = model(source, target)
    optimizer = torch.optim.SGD(model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model, (source, target))
    assert torch.equal(model(source, target), before)
    assert not model.training
    model.train()
    first, second = model(source, target), model(source, target)
    assert not torch.allclose(first, second)
    first.sum().backward()
    old = [w.detach().clone() for w in model.parameters()]
    optimizer.step()
    assert any(
        not torch.equal(a, b) for a, b in zip(old, model.parameters(), strict=True)
    )


def test_a_shared_layer_stays_one_and_twice_is_as_once():
    drop = nn.Dropout(0.5)
    model = nn.ModuleDict({"a": nn.Sequential(drop, drop), "b": drop})
    listed = [drop]  # a reference that PyTorch does not see
    for _ in range(2):
        convert(model)
        assert model["a"][0] is model["a"][1] is model["b"] is listed[0]
        assert type(drop) is ours.Dropout
        assert drop.p == 0.5


def test_layers_without_a_dropout_are_left():
    model = nn.ModuleList([nn.LSTM(4, 4, 2), nn.MultiheadAttention(4, 2), nn.RNN(4, 4)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model)
    assert [type(layer) for layer in model] == [nn.LSTM, nn.MultiheadAttention, nn.RNN]


def test_what_cannot_be_taken_is_said():
    replaced = nn.Dropout()
    replaced.forward = lambda x: x
    model = nn.Sequential(
        nn.Sequential(nn.AlphaDropout(0.1), nn.FeatureAlphaDropout(0.1)),
        Own(),
        replaced,
    )
    with pytest.warns(UserWarning, match="dropouts of PyTorch's are left") as caught:
        convert(model)
    assert caught[0].filename == __file__
    left = unconverted(model)
    assert left == [
        ("0.0", "AlphaDropout", "the companion has no such layer"),
        ("0.1", "FeatureAlphaDropout", "the companion has no such layer"),
        ("1", "Own", "a class of its own, made from Dropout"),
        ("2", "Dropout", "its forward was replaced"),
    ]
    for dropout in left:
        assert f"  {dropout.path}: {dropout.what} ({dropout.why})" in str(
            caught[0].message
        )
    assert str(unconverted(Own())[0]).startswith("the model itself: Own")
    assert unconverted(nn.Sequential(nn.Dropout())) == [
        ("0", "Dropout", "not converted yet")
    ]
    with pytest.raises(TypeError, match="list"):
        convert([nn.Dropout()])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_said():
    scripted = torch.jit.script(nn.Sequential(nn.Sequential(nn.Dropout()), nn.ReLU()))
    model = nn.Sequential(nn.Dropout(), scripted)
    with pytest.warns(UserWarning, match=r"1: .*compiled by TorchScript"):
        convert(model, torch.ones(3))
    assert type(model[0]) is ours.Dropout
    assert [d.path for d in unconverted(model)] == ["1"]
    assert [d.path for d in unconverted(scripted)] == [""]


Q = torch.randn(2, 5, 4)
FUNCTIONS = {
    "torch.nn.functional.dropout": lambda x, t: F.dropout(x, 0.1, t),
    "torch.nn.functional.dropout1d": lambda x, t: F.dropout1d(x, 0.1, t),
    "torch.nn.functional.alpha_dropout": lambda x, t: F.alpha_dropout(x, 0.1, t),
    "torch.dropout": lambda x, t: torch.dropout(x, 0.1, t),
    "torch.dropout_": lambda x, t: torch.dropout_(x.clone(), 0.1, t),
    "torch.native_dropout": lambda x, t: torch.native_dropout(x, 0.1, t)[0],
    "aten.dropout.default": lambda x, t: torch.ops.aten.dropout.default(x, 0.1, t),
    "torch.nn.functional.scaled_dot_product_attention": lambda x, t: (
        F.scaled_dot_product_attention(x, x, x, dropout_p=0.1 * t)
    ),
    "torch.lstm": lambda x, t: torch.lstm(
        x,
        [torch.zeros(2, 5, 4)] * 2,
        [torch.zeros(16, 4)] * 4,
        False,
        2,
        0.1,
        t,
        False,
        False,
    )[0],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_found_by_a_run(name):
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Functional(FUNCTIONS[name])))
    assert unconverted(model) == []
    with pytest.warns(UserWarning, match=f"1.0: {name} "):
        convert(model, Q)
    assert unconverted(model.eval(), Q) == [("1.0", name, "a function")]
    off = Functional(lambda x, _: FUNCTIONS[name](x, False))
    assert unconverted(nn.Sequential(off, off), Q) == []


def test_a_function_counts_once_a_module_and_where_it_acts():
    both = Functional(lambda x, t: F.dropout(F.dropout(x, 0.1, t), 0.1, t))
    model = nn.Sequential(
        both, nn.Sequential(both, Functional(lambda x, t: F.dropout(x, 0.0)))
    )
    assert [d.path for d in unconverted(model, Q)] == ["0"]
    layers = nn.ModuleList([nn.AlphaDropout()])
    layers.forward = lambda x: layers[0](x)
    assert [d.what for d in unconverted(layers, Q)] == ["AlphaDropout"]
    unseen = [nn.Dropout()]  # in no attribute of a module
    assert unconverted(Functional(lambda x, t: unseen[0](x)), Q) == [
        Unconverted("", "torch.nn.functional.dropout", "a function")
    ]


def test_a_function_is_the_innermost_module_s_that_runs():
    inner = Functional(lambda x, t: x)
    outer = Functional(lambda x, t: F.dropout(outer.inner(x), 0.1, t))
    outer.inner = inner
    assert [d.path for d in unconverted(nn.Sequential(outer), Q)] == ["0"]


def test_the_companion_s_own_is_not_reported():
    model = nn.Sequential(
        nn.Dropout(), nn.TransformerEncoderLayer(4, 2, 8), nn.LSTM(4, 4, 2, dropout=0.5)
    )
    model.append(Functional(lambda x, t: ours.functional.dropout(x[0], 0.5, t)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model, Q)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        assert not torch.is_grad_enabled()
        self.calls = self.calls + 1
        return x


def test_the_run_leaves_no_trace():
    own = torch.Generator().manual_seed(0)
    frozen = nn.BatchNorm1d(4).eval()
    inplace = Functional(lambda x, t: F.dropout(x.add_(1), 0.5, t))
    model = nn.Sequential(
        inplace,
        nn.BatchNorm1d(4),
        frozen,
        ours.Dropout(0.5, generator=own),
        nn.Linear(4, 4),
    )
    model[1].register_buffer("none", None)
    model.append(Counts())
    x = torch.randn(6, 4)
    before = copy.deepcopy(
        (model.state_dict(), x, torch.get_rng_state(), own.get_state())
    )
    buffers = [*model.buffers()]
    assert len(unconverted(model, x)) == 1
    after = model.state_dict(), x, torch.get_rng_state(), own.get_state()
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))
    assert [m.training for m in model] == [True, True, False, True, True, True]
    assert all(w.grad is None for w in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def fails(x, training):
        raise ZeroDivisionError

    broken = nn.Sequential(Functional(fails)).eval()
    with pytest.raises(ZeroDivisionError):
        unconverted(broken, x)
    assert not broken.training
    assert not broken[0]._forward_hooks


@pytest.mark.parametrize(
    "example", [(Q, Q), {"a": Q, "b": Q}], ids=["tuple", "mapping"]
)
def test_examples_with_several_arguments(example):
    class Two(nn.Module):
        def forward(self, a, b):
            return F.dropout(a + b, 0.5, self.training)

    assert len(unconverted(Two(), example)) == 1


def test_a_compiled_model():
    drop = nn.Dropout(0.5)
    model = torch.compile(nn.Sequential(drop), backend="aot_eager")
    x = torch.ones(50)
    model(x)
    convert(model, x)
    drop.key = 5
    torch.testing.assert_close(model(x), ours.functional.dropout(x, 0.5, True, key=5))
    function = Functional(lambda x, t: F.dropout(x, 0.1, t))
    compiled = torch.compile(nn.Sequential(function), backend="aot_eager")
    assert [d.path for d in unconverted(compiled, x)] == ["_orig_mod.0"]
    torch._dynamo.reset()
