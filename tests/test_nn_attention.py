"""Attention whose weights are dropped: by hand, and against PyTorch's own."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from companion.counter import bernoulli_mask, scale_of, threshold_of
from companion.nn import MultiheadAttention, attention
from companion.nn.attention import scaled_dot_product_attention

KEY, P = 5, 0.3
equal = torch.testing.assert_close


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def qkv(*batch, queries=40, keys=50, dtype=torch.float64):
    torch.manual_seed(0)
    sizes = (queries, 8), (keys, 8), (keys, 6)
    return [torch.randn(*batch, *s, dtype=dtype, requires_grad=True) for s in sizes]


def by_hand(q, k, v, mask=None, scale=8**-0.5, p=P):
    """Softmax of the scores, dropped by the mask of the key."""
    scores = q @ k.mT * scale
    if mask is not None:
        bias = torch.where(mask, 0, -torch.inf) if mask.dtype == torch.bool else mask
        scores = scores + bias
    weights = scores.softmax(-1).nan_to_num()
    keep = torch.tensor(bernoulli_mask(tuple(weights.shape), p, KEY))
    return torch.where(keep, weights * scale_of(threshold_of(p)), 0) @ v


def ours(q, k, v, *args, **options):
    options = {"training": True, "dropout_key": KEY} | options
    return scaled_dot_product_attention(q, k, v, *args, dropout_p=P, **options)


@pytest.fixture(params=["in pieces", "composed"])
def way(request, monkeypatch):
    if request.param == "composed":
        monkeypatch.setattr(attention, "_in_plain_memory", lambda *_: False)
    else:
        monkeypatch.setattr(attention, "PIECE", 5000)  # several, the last one shorter
    return request.param


MASKS = {
    "none": None,
    "bool": torch.rand(40, 50, generator=torch.Generator().manual_seed(1)) > 0.3,
    "float": torch.randn(40, 50, dtype=torch.float64),
    "of keys": torch.arange(50) < torch.tensor([[[20]], [[50]], [[1]]]),
    "for each head": torch.randn(3, 1, 50, dtype=torch.float64),
}


FITTING = {  # no mask for more samples than there are
    f"{name} {batch}": (batch, mask)
    for batch, (name, mask) in itertools.product([(), (3,), (2, 3)], MASKS.items())
    if batch or mask is None or mask.dim() == 2
}


@pytest.mark.parametrize(("batch", "mask"), FITTING.values(), ids=FITTING)
def test_values_and_slopes_are_those_of_the_mask_of_the_key(batch, mask, way):
    inputs = qkv(*batch)
    y, expected = ours(*inputs, mask), by_hand(*inputs, mask)
    equal(y, expected)
    g = torch.randn_like(y)
    equal(torch.autograd.grad(y, inputs, g), torch.autograd.grad(expected, inputs, g))


def test_which_way_is_taken():
    inputs = qkv(2)
    assert "_Attention" in str(ours(*inputs).grad_fn.next_functions)
    mask = torch.zeros(40, 50, dtype=torch.float64, requires_grad=True)
    y = ours(*inputs, mask)
    y.sum().backward()
    assert mask.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_both_ways_are_one_to_the_derivatives_of_all_orders():
    inputs = qkv(2, queries=3, keys=4)
    causal = torch.ones(3, 4, dtype=torch.bool).tril()
    assert torch.autograd.gradcheck(
        lambda *x: ours(*x, causal),
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
    )
    assert torch.autograd.gradgradcheck(ours, inputs)
    q, k, v = inputs
    (alone,) = torch.autograd.grad(ours(q, k.detach(), v).sum(), q, create_graph=True)
    equal(alone, torch.autograd.grad(by_hand(q, k, v).sum(), q)[0])
    alone.sum().backward()


def test_a_query_that_sees_no_key_gives_zeros_and_no_nan_as_in_pytorch(way):
    inputs = qkv(2)
    mask = torch.ones(40, 50, dtype=torch.bool)
    mask[7] = False
    y = ours(*inputs, mask)
    assert not y[:, 7].any()
    assert not F.scaled_dot_product_attention(*inputs, mask)[:, 7].any()
    for slope in torch.autograd.grad(y.sum(), inputs):
        assert slope.isfinite().all()


def test_causal_scale_and_groups_of_heads(way):
    q, k, v = qkv(2, 4)
    causal = torch.ones(40, 50, dtype=torch.bool).tril()
    equal(ours(q, k, v, is_causal=True), by_hand(q, k, v, causal))
    equal(ours(q, k, v, scale=0.5), by_hand(q, k, v, scale=0.5))
    k, v = k[:, :2], v[:, :2]
    groups = (x.repeat_interleave(2, 1) for x in (k, v))
    equal(ours(q, k, v, enable_gqa=True), by_hand(q, *groups))
    shared = k[:1, :1], v[:1, :1]
    equal(ours(q, *shared), by_hand(q, *shared))


@pytest.mark.parametrize("options", [{"training": False}, {"p": 0.0}], ids=str)
def test_where_nothing_is_dropped_pytorch_s_own_is_called(options):
    inputs, before = qkv(2, 4), torch.get_rng_state()
    options = {"p": P, "training": True} | options
    p = options.pop("p")
    y = scaled_dot_product_attention(*inputs, None, p, True, scale=0.5, **options)
    equal(
        y,
        F.scaled_dot_product_attention(*inputs, is_causal=True, scale=0.5),
        rtol=0,
        atol=0,
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_everything_can_be_dropped(way):
    inputs = qkv(2)
    before = torch.get_rng_state()
    y = scaled_dot_product_attention(*inputs, dropout_p=1, training=True)
    assert not y.any()
    assert not any(s.any() for s in torch.autograd.grad(y.sum(), inputs))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_key_is_drawn_as_any_random_operation_draws(way):
    inputs, before = qkv(2), torch.get_rng_state()
    first, second = (ours(*inputs, dropout_key=None) for _ in range(2))
    torch.set_rng_state(before)
    again = ours(*inputs, dropout_key=None)
    equal(again, first, rtol=0, atol=0)
    assert not torch.equal(first, second)
    seeded = [
        ours(*inputs, dropout_key=None, generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    ]
    equal(*seeded, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_single(dtype):
    inputs = [x.detach().to(dtype).requires_grad_() for x in qkv(2)]
    y = ours(*inputs)
    assert y.dtype == dtype
    equal(y, by_hand(*(x.float() for x in inputs)).to(dtype))
    y.sum().backward()
    assert inputs[0].grad.dtype == dtype


def test_autocast():
    inputs = [x.detach().float() for x in qkv(2)]
    with torch.autocast("cpu", torch.bfloat16):
        y = ours(*inputs)
        theirs = F.scaled_dot_product_attention(*inputs)
    assert y.dtype == theirs.dtype == torch.bfloat16
    equal(y, ours(*(x.bfloat16() for x in inputs)))


@pytest.mark.parametrize(
    "shapes",
    [
        [(0, 2, 8)] * 3,
        [(2, 0, 8), (2, 3, 8), (2, 3, 8)],
        [(2, 2, 8), (2, 0, 8), (2, 0, 8)],
    ],
    ids=str,
)
def test_empty_tensors(shapes):
    inputs = [torch.ones(shape) for shape in shapes]
    y = ours(*inputs)
    equal(y, F.scaled_dot_product_attention(*inputs))


def test_what_is_refused():
    inputs = qkv(2)
    with pytest.raises(ValueError, match=r"1\.5"):
        scaled_dot_product_attention(*inputs, dropout_p=1.5, training=True)
    with pytest.raises(TypeError, match="training"):
        scaled_dot_product_attention(*inputs, dropout_p=0.5)
    mask = torch.ones(40, 50, dtype=torch.int64)
    with pytest.raises(ValueError, match="exclude"):
        ours(*inputs, mask > 0, is_causal=True)
    with pytest.raises(TypeError, match="int64"):
        ours(*inputs, mask)


def test_vmap_and_func_grad_agree_with_a_batch():
    q, k, v = (x.detach() for x in qkv(3))
    same = torch.vmap(
        lambda q, k, v: ours(q, k, v, dropout_key=KEY), randomness="same"
    )(q, k, v)
    equal(same, torch.stack([by_hand(*x) for x in zip(q, k, v, strict=True)]))
    slope = torch.func.grad(lambda q: ours(q, k, v).sum())(q)
    leaf = q.clone().requires_grad_()
    equal(slope, torch.autograd.grad(by_hand(leaf, k, v).sum(), leaf)[0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_draws_the_same_mask_again(reentrant):
    inputs = qkv(2)

    def dropped(*x):
        return ours(*x, dropout_key=None) ** 2

    def slopes(f):
        torch.manual_seed(4)
        for x in inputs:
            x.grad = None
        f(*inputs).sum().backward()
        return [x.grad for x in inputs]

    def checkpointed(*x):
        return checkpoint(dropped, *x, use_reentrant=reentrant)

    equal(slopes(checkpointed), slopes(dropped))


def test_a_generator_is_refused_where_it_would_give_another_mask():
    layer = MultiheadAttention(16, 4, 0.5, generator=torch.Generator())
    x = arguments({})
    y = checkpoint(
        lambda *x: layer(*x, need_weights=False)[0] ** 2, *x, use_reentrant=False
    )
    with pytest.raises(RuntimeError, match="checkpoint"):
        y.sum().backward()


# The layer


def layer_and_torch_s(p=P, **options):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(16, 4, p, **options)
    layer = MultiheadAttention(16, 4, p, key=KEY, **options)
    layer.load_state_dict(theirs.state_dict())
    assert [*layer.state_dict()] == [*theirs.state_dict()]
    return layer, theirs


OPTIONS = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"kdim": 10, "vdim": 12},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 10, "vdim": 16},
]


def arguments(options, batched=True, itself=False):
    """Return inputs of 3 samples, 5 queries and 7 keys, or of one sample."""
    torch.manual_seed(1)
    sizes = (5, 16), (7, options.get("kdim", 16)), (7, options.get("vdim", 16))
    first = options.get("batch_first", False)
    x = [torch.randn(*((3, n) if first else (n, 3)), size) for n, size in sizes]
    x = x if batched else [y.select(0 if first else 1, 0) for y in x]
    return [x[0]] * 3 if itself else x


def masks(queries, keys, batched=True):
    torch.manual_seed(2)
    samples = 3 if batched else 1
    blocked = torch.rand(samples * 4, queries, keys) < 0.3
    blocked[..., 0] = False
    padding = torch.arange(keys) >= torch.tensor([[keys], [3], [2]])[:samples]
    padding = padding if batched else padding[0]
    yield {}
    for attn_mask in (blocked, blocked[0], torch.randn(queries, keys)):
        yield {"attn_mask": attn_mask}
        if attn_mask.dtype == torch.bool:
            yield {"attn_mask": attn_mask, "key_padding_mask": padding}
    yield {"key_padding_mask": torch.where(padding, -3.0, 0.5)}


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("options", "itself"),
    [
        (options, itself)
        for options, itself in itertools.product(OPTIONS, [True, False])
        if not (itself and "kdim" in options)  # keys of another size than the queries
    ],
    ids=str,
)
def test_the_layer_is_pytorch_s_own_but_for_what_is_dropped(
    options, batched, itself, monkeypatch
):
    """A rate that drops next to nothing, so that the layer's own way is taken."""
    layer, theirs = layer_and_torch_s(2**-40, **options)
    theirs.dropout = 0.0
    x = arguments(options, batched, itself)
    called = []
    monkeypatch.setattr(
        "companion.nn.multihead.attend",
        lambda *a: called.append(1) or attention.attend(*a),
    )
    ways = itertools.product(
        masks(5, 5 if itself else 7, batched), (True, False), (True, False)
    )
    for mask, need, average in ways:
        given = mask | {"need_weights": need, "average_attn_weights": average}
        for training in (True, False):
            called.clear()
            layer.train(training)
            theirs.train(training)
            (y, weights), (expected, theirs_weights) = (
                layer(*x, **given),
                theirs(*x, **given),
            )
            equal(y, expected)
            equal(weights, theirs_weights)
            assert bool(called) is training
        slopes = [
            torch.autograd.grad(m(*x, **given)[0].sum(), [*m.parameters()])
            for m in (layer.train(), theirs)
        ]
        equal(*slopes)


def test_the_layer_drops_weights_by_the_mask_of_its_key():
    layer, theirs = layer_and_torch_s(0.5, batch_first=True)
    x = arguments({"batch_first": True})
    y, weights = layer(*x, average_attn_weights=False)
    _, undropped = theirs.eval()(*x, average_attn_weights=False)
    keep = torch.tensor(bernoulli_mask((3, 4, 5, 7), 0.5, KEY))
    equal(weights, torch.where(keep, 2 * undropped, 0))
    equal(layer(*x, need_weights=False)[0], y)
    equal(layer(*x)[1], weights.mean(1))


def test_self_attention_may_say_that_its_mask_is_causal():
    layer, _ = layer_and_torch_s()
    x = arguments({}, itself=True)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    equal(layer(*x, attn_mask=mask, is_causal=True)[0], layer(*x, attn_mask=mask)[0])
    with pytest.raises(RuntimeError, match="attn_mask"):
        layer(*x, is_causal=True)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ({"attn_mask": torch.ones(7, 5)}, r"attn_mask.*\(5, 7\) or \(12, 5, 7\)"),
        ({"key_padding_mask": torch.ones(1, 7)}, r"key_padding_mask.*\(3, 7\)"),
    ],
)
def test_masks_of_another_shape_are_refused(mask, said):
    layer, _ = layer_and_torch_s()
    with pytest.raises(ValueError, match=said):
        layer(*arguments({}), **mask)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested:UserWarning")
def test_nested_tensors_run_where_pytorch_s_do():
    layer, theirs = layer_and_torch_s(batch_first=True)
    x = torch.nested.nested_tensor([torch.randn(n, 16) for n in (2, 4)])
    with torch.no_grad():
        y = layer.eval()(x, x, x, need_weights=False)[0]
        expected = theirs.eval()(x, x, x, need_weights=False)[0]
    equal(y.to_padded_tensor(0.0), expected.to_padded_tensor(0.0))
    with pytest.raises(AssertionError, match="NestedTensor"):
        layer.train()(x, x, x)


def test_an_encoder_takes_it_as_its_own():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    layer.self_attn = MultiheadAttention(16, 4, 0.5, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2)
    x, padding = torch.randn(3, 5, 16), torch.arange(5) > torch.tensor([[4], [2], [3]])
    first, second = (encoder(x, src_key_padding_mask=padding) for _ in range(2))
    assert not torch.allclose(first, second)
    encoder.eval()
    with torch.no_grad():  # its fast path
        fast = encoder(x, src_key_padding_mask=padding)
    slow = encoder(x, src_key_padding_mask=padding)
    equal(fast[~padding], slow.detach()[~padding])


def test_copies_share_a_generator_and_say_so():
    layer = MultiheadAttention(16, 4, 0.5, generator=torch.Generator().manual_seed(0))
    twin = copy.deepcopy(layer)
    assert twin.generator is layer.generator
    x = arguments({})
    a, b = layer(*x)[1], twin(*x)[1]
    assert not torch.equal(a == 0, b == 0)
    with pytest.raises(ValueError, match=r"1\.5"):
        MultiheadAttention(16, 4, 1.5)
    with pytest.raises(TypeError, match="generator"):
        MultiheadAttention(16, 4, 0.5, generator=0)


def test_a_symbolic_trace_keeps_it_whole():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, _ = layer_and_torch_s(0.5)

        def forward(self, x):
            return self.layer(x, x, value=x, need_weights=False)[0]

    net, x = Net(), torch.randn(3, 5, 16)
    traced = torch.fx.symbolic_trace(net)
    equal(traced(x), net(x))
    assert not torch.equal(traced(x), traced.eval()(x))
    equal(traced(x), net.eval()(x))


def test_compiled_it_drops_by_the_same_mask():
    layer, _ = layer_and_torch_s(0.5, batch_first=True)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = arguments({"batch_first": True}, itself=True)
    for need in (True, False):
        equal(compiled(*x, need_weights=need)[0], layer(*x, need_weights=need)[0])
    compiled(*x, need_weights=False)[0].sum().backward()
    torch._dynamo.reset()
