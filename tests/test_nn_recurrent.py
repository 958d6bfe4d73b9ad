"""Recurrent layers: PyTorch's own, with the companion's dropout in between."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

from companion.counter import bernoulli_mask, fold_in
from companion.nn import GRU, LSTM, RNN

KEY, NEXT_TO_NOTHING = 5, 2**-40
KINDS = {LSTM: nn.LSTM, GRU: nn.GRU, RNN: nn.RNN}
kinds = pytest.mark.parametrize("kind", KINDS)
equal = torch.testing.assert_close
exactly = {"rtol": 0, "atol": 0}


def layer_and_torch_s(kind, p=NEXT_TO_NOTHING, *, layers=3, **options):
    torch.manual_seed(0)
    theirs = KINDS[kind](4, 6, layers, dropout=p, **options)
    layer = kind(4, 6, layers, dropout=p, key=KEY, **options)
    layer.load_state_dict(theirs.state_dict())
    assert [*layer.state_dict()] == [*theirs.state_dict()]
    theirs.dropout = 0.0
    return layer, theirs


def states(layer, *samples):
    torch.manual_seed(2)
    n = layer.num_layers * (1 + layer.bidirectional)
    h = torch.randn(n, *samples, layer.proj_size or layer.hidden_size)
    c = torch.randn(n, *samples, layer.hidden_size)
    return (h, c) if layer.mode == "LSTM" else h


def agree(layer, theirs, x, *hx):
    """Outputs, final states and gradients are the same to the last bit."""
    (y, end), (expected, theirs_end) = layer(x, *hx), theirs(x, *hx)
    equal(end, theirs_end, **exactly)
    packed = hasattr(y, "data") and not isinstance(y, torch.Tensor)
    for ours_field, field in (
        zip(y, expected, strict=True) if packed else [(y, expected)]
    ):
        equal(ours_field, field, **exactly)
    sums = [(out.data if packed else out).square().sum() for out in (y, expected)]
    slopes = [
        torch.autograd.grad(s, [*m.parameters()], allow_unused=True)
        for s, m in zip(sums, (layer, theirs), strict=True)
    ]
    equal(*slopes, **exactly)


OPTIONS = [
    {},
    {"bidirectional": True},
    {"bias": False, "batch_first": True},
    {"batch_first": True, "bidirectional": True},
    {"layers": 1},
]


@pytest.mark.filterwarnings("ignore:dropout option adds:UserWarning")
@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_it_is_pytorch_s_own_where_next_to_nothing_is_dropped(kind, options, training):
    layer, theirs = layer_and_torch_s(kind, **options)
    layer.train(training)
    theirs.train(training)
    x = torch.randn(3, 5, 4)
    samples = 3 if options.get("batch_first") else 5
    agree(layer, theirs, x)
    agree(layer, theirs, x, states(layer, samples))
    agree(layer, theirs, x[0])
    agree(layer, theirs, x[0], states(layer))
    sorted_first = pack_sequence([x[0], x[1, :3], x[2, :1]])
    agree(layer, theirs, sorted_first)
    lengths = torch.tensor([2, 5, 3])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    agree(layer, theirs, packed)
    agree(layer, theirs, packed, states(layer, 3))


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize(
    "options", [{"proj_size": 3}, {"proj_size": 3, "bidirectional": True}]
)
def test_projections(options):
    layer, theirs = layer_and_torch_s(LSTM, **options)
    x = torch.randn(3, 5, 4)
    agree(layer, theirs, x)
    agree(layer, theirs, x, states(layer, 5))


def test_relu():
    agree(*layer_and_torch_s(RNN, nonlinearity="relu"), torch.randn(3, 5, 4))
    with pytest.raises(ValueError, match="sigmoid"):
        RNN(4, 6, 2, nonlinearity="sigmoid")


@kinds
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_input_of_every_layer_but_the_first_is_dropped_by_its_key(
    kind, batch_first
):
    p = 0.5
    layer, _ = layer_and_torch_s(kind, p, layers=3, batch_first=batch_first)
    x = torch.randn(7, 5, 4)
    y, _ = layer(x)
    expected = x
    for i in range(3):
        if i:
            shape = (5, 7, 6) if batch_first else (7, 5, 6)
            keep = torch.tensor(bernoulli_mask(shape, p, fold_in(KEY, i)))
            keep = keep.transpose(0, 1) if batch_first else keep
            expected = torch.where(keep, 2 * expected, 0)
        one = KINDS[kind](expected.shape[-1], 6, batch_first=batch_first)
        end = f"_l{i}"
        own = {k: w for k, w in layer.state_dict().items() if k.endswith(end)}
        one.load_state_dict({k.replace(end, "_l0"): w for k, w in own.items()})
        expected, _ = one(expected)
    equal(y, expected)
    layer.dropout = 0.0
    assert not torch.allclose(layer(x)[0], y)


@kinds
def test_everything_between_the_layers_can_be_dropped(kind):
    layer, theirs = layer_and_torch_s(kind, 1.0, layers=2)
    theirs.dropout = 1.0
    before = torch.get_rng_state()
    agree(layer, theirs, torch.randn(3, 5, 4, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


@kinds
def test_no_random_number_is_drawn_where_nothing_is_dropped(kind):
    layer, _ = layer_and_torch_s(kind, 0.5)
    layer.key = None
    x, before = torch.ones(3, 5, 4), torch.get_rng_state()
    layer.eval()(x)
    layer.train().dropout = 0.0
    layer(x)
    assert torch.equal(torch.get_rng_state(), before)
    layer.dropout = 0.5
    first, second = layer(x)[0], layer(x)[0]
    assert not torch.equal(first, second)
    torch.set_rng_state(before)
    equal(layer(x)[0], first, **exactly)


@kinds
def test_states_and_inputs_of_other_shapes_are_refused(kind):
    layer, _ = layer_and_torch_s(kind, 0.5)
    x = torch.randn(3, 5, 4)
    with pytest.raises(RuntimeError, match="Expected hidden"):
        layer(x, states(layer, 4))
    with pytest.raises(RuntimeError, match=r"axes.*3.*\(3, 6\)"):
        layer(x, states(layer))
    with pytest.raises(RuntimeError, match=r"axes.*2.*\(3, 5, 6\)"):
        layer(x[0], states(layer, 5))
    with pytest.raises(RuntimeError, match="input_size"):
        layer(x[..., :3])
    with pytest.raises((RuntimeError, ValueError), match=r"dimension|2D or 3D"):
        layer(x[None])
    with pytest.raises(ValueError, match="range"):
        kind(4, 6, 2, dropout=1.5)
    with pytest.raises(ValueError, match="generator or a key"):
        kind(4, 6, 2, dropout=0.5, key=1, generator=torch.Generator())


@kinds
def test_copied_pickled_and_printed(kind):
    layer = kind(4, 6, 2, dropout=0.5, generator=torch.Generator().manual_seed(0))
    twin = copy.deepcopy(layer)
    assert twin.generator is layer.generator
    x = torch.ones(3, 5, 4)
    assert not torch.equal(layer(x)[0], twin(x)[0])
    saved = pickle.loads(pickle.dumps(kind(4, 6, 2, dropout=0.5, key=KEY)))
    equal(saved(x)[0], saved(x)[0], **exactly)
    assert repr(saved) == f"{kind.__name__}(4, 6, num_layers=2, dropout=0.5, key=5)"
    assert "_extra_state" in layer.state_dict()


@kinds
def test_a_resumed_run_goes_on_with_the_same_masks(kind):
    layer, again = (
        kind(4, 6, 2, dropout=0.5, generator=torch.Generator().manual_seed(i))
        for i in (0, 1)
    )
    x = torch.ones(3, 5, 4)
    layer(x)
    again.load_state_dict(layer.state_dict())
    equal(layer(x)[0], again(x)[0], **exactly)


@kinds
def test_double_precision_and_functional_call(kind):
    layer, theirs = layer_and_torch_s(kind)
    layer.double()
    theirs.double()
    agree(layer, theirs, torch.randn(3, 5, 4, dtype=torch.float64))
    others = {name: torch.zeros_like(w) for name, w in layer.named_parameters()}
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    y, _ = torch.func.functional_call(layer, others, (x,))
    expected, _ = torch.func.functional_call(theirs, others, (x,))
    equal(y, expected)


@kinds
def test_a_symbolic_trace_keeps_it_whole(kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = kind(4, 6, 2, dropout=0.5, key=KEY)

        def forward(self, x, hx):
            return self.layer(x, hx)[0]

    net, x = Net(), torch.randn(3, 5, 4)
    traced = torch.fx.symbolic_trace(net)
    hx = states(net.layer, 5)
    dropped = traced(x, hx)
    equal(dropped, net(x, hx), **exactly)
    equal(traced.eval()(x, hx), net.eval()(x, hx), **exactly)
    assert not torch.equal(traced(x, hx), dropped)
