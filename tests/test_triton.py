"""The kernel for GPUs: on one, if there is one, and in Triton's interpreter on any machine."""

import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest
import torch

from companion import counter

pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for CUDA")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
HALF = [torch.float16, torch.bfloat16]
SINGLE = [torch.float32, torch.float64]
ROOT = Path(__file__).parents[1]

from companion.nn import triton_kernel  # noqa: E402

on_device = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no GPU here; the interpreter runs this test",
)
compiled = pytest.mark.skipif(INTERPRETED, reason="nothing is compiled here")


@compiled
def test_this_file_passes_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--noconftest"]
    command += ["-p", "no:cacheprovider", "--rootdir", ROOT, __file__]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def same(a, b):
    """Bit for bit, but for what stands in a NaN."""
    signs = (a.signbit() == b.signbit()) | a.isnan()
    return (
        a.dtype == b.dtype
        and a.allclose(b, rtol=0, atol=0, equal_nan=True)
        and signs.all()
    )


def on(device, key):
    return torch.tensor(key - 2**64 if key >= 2**63 else key, device=device)


def drop(x, key, threshold, at_random, start=0):
    x, key = x.to(DEVICE), on(DEVICE, key)
    return triton_kernel.drop(x, key, threshold, at_random, start).cpu()


def kept(n, key, threshold, start=0):
    return torch.from_numpy(counter.half_words(n, key, start=start) >= threshold)


def scaled(x, threshold):
    return x * torch.tensor(counter.scale_of(threshold), dtype=x.dtype)


def rounded_at_random(y, half_words, dtype):
    """By value: of the steps between two numbers of `dtype`, how many does `y` stand above one?"""
    mantissa, bits = (10, 13) if dtype == torch.float16 else (7, 16)
    least = -14 if dtype == torch.float16 else -126
    size = y.double().abs()
    exponent = (size.frexp().exponent - 1).clamp(min=least)
    step = 2.0 ** (exponent - mantissa - bits).double()
    drawn = ((size / step).floor() + (half_words >> 16 - bits)) // 2**bits
    drawn = (drawn * step * 2**bits).copysign(y.double())
    finite = drawn.abs() <= torch.finfo(dtype).max
    return torch.where(finite, drawn, y.to(dtype).double()).to(dtype)


@on_device
@pytest.mark.parametrize("case", golden.masks(), ids=lambda case: case.name)
def test_the_golden_masks(case):
    threshold = counter.threshold_of(case.p)
    draws = [1 if axis in case.shared_axes else n for axis, n in enumerate(case.shape)]
    y = drop(torch.ones(draws), case.key, threshold, False, case.start)
    mask = (y != 0).expand(case.shape)
    assert mask.equal(torch.from_numpy(case.mask))


@on_device
@pytest.mark.parametrize("case", golden.half_words(), ids=lambda case: case.name)
def test_the_golden_half_words(case):
    key, n = on(DEVICE, case.key), len(case.half_words)
    found = triton_kernel.half_words(n, key, case.start, case.stream)
    assert found.dtype == torch.int32
    assert found.cpu().tolist() == case.half_words.tolist()


@on_device
@pytest.mark.parametrize("start", [0, 5, 128, 2**33 - 77, 2**67 - 2**14])
@pytest.mark.parametrize("n", [0, 1, 7, 123, 128, 2048, 4097, 10_001])
def test_half_words_of_any_length_from_anywhere(n, start):
    expected = counter.half_words(n, -3, start=start, stream=counter.ROUNDING_STREAM)
    found = triton_kernel.half_words(n, on(DEVICE, -3), start, counter.ROUNDING_STREAM)
    assert found.cpu().tolist() == expected.tolist()


@on_device
@pytest.mark.parametrize("threshold", [0, 1, 6553, 32768, 65535, 65536])
@pytest.mark.parametrize("dtype", SINGLE)
def test_kept_units_are_scaled(dtype, threshold):
    x = torch.randn(4099, dtype=dtype, generator=torch.Generator().manual_seed(0))
    expected = torch.where(kept(4099, 8, threshold, 9), scaled(x, threshold), 0.0)
    assert same(drop(x, 8, threshold, True, 9), expected)


@on_device
@pytest.mark.parametrize("threshold", [0, 6567, 24_871])  # with a tie in bfloat16
@pytest.mark.parametrize("dtype", HALF)
def test_every_half_is_rounded_as_said(dtype, threshold):
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    y, keep = scaled(x.float(), threshold), kept(2**16, 5, threshold)
    nearest = drop(x, 5, threshold, at_random=False)
    assert same(nearest, torch.where(keep, y.to(dtype), 0.0))
    noise = counter.half_words(2**16, 5, stream=counter.ROUNDING_STREAM).astype("i8")
    at_random = rounded_at_random(y, torch.from_numpy(noise), dtype)
    assert same(
        drop(x, 5, threshold, at_random=True), torch.where(keep, at_random, 0.0)
    )


@on_device
@pytest.mark.parametrize("at_random", [True, False])
@pytest.mark.parametrize("dtype", HALF + SINGLE)
def test_nothing_leaks_through_a_dropped_unit(dtype, at_random):
    worst = torch.tensor(
        [torch.nan, torch.inf, -torch.inf, torch.finfo(dtype).min, -1.0]
    )
    x = worst.to(dtype).repeat(200)
    for threshold in (32768, 65536):
        y = drop(x, 4, threshold, at_random)
        dropped = y[~kept(1000, 4, threshold)]
        assert same(dropped, torch.zeros_like(dropped))


@on_device
@pytest.mark.parametrize("dtype", HALF)
def test_the_range_ends_where_it_ends_for_rounding_to_nearest(dtype):
    x = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    y = drop(x, 4, 1, at_random=True)  # the scale is 1 + 2**-16
    assert same(y, torch.where(kept(1000, 4, 1), x, 0.0))


@on_device
@pytest.mark.parametrize("dtype", HALF + SINGLE)
def test_a_piece_is_a_piece_of_the_whole(dtype):
    x = torch.randn(3000, generator=torch.Generator().manual_seed(0)).to(dtype)
    whole = drop(x, 6, 20_000, True, 2**40)
    assert same(drop(x[777:2000], 6, 20_000, True, 2**40 + 777), whole[777:2000])


@on_device
@pytest.mark.parametrize("key", [0, -9, 2**63 - 1, -(2**63)])
def test_a_key_may_be_an_int(key):
    x = torch.ones(1000, device=DEVICE)
    y = triton_kernel.drop(x, key, 32768, False)
    assert (y != 0).cpu().equal(kept(1000, key, 32768))


@compiled
@on_device
@pytest.mark.parametrize("dtype", HALF + SINGLE)
def test_a_gpu_drops_what_the_cpu_drops(dtype):
    from companion.nn.functional import dropout

    x = torch.randn(50, 77, generator=torch.Generator().manual_seed(0)).to(dtype)
    ys = []
    for device in ("cpu", "cuda"):
        z = x.to(device).requires_grad_()
        y = dropout(z, 0.3, True, key=2**64 - 9)
        y.backward(torch.ones_like(y))
        ys += [y.detach().cpu(), z.grad.cpu()]
    assert same(ys[0], ys[2])
    assert same(ys[1], ys[3])


@compiled
@on_device
def test_a_cuda_graph_reads_the_key_when_it_runs():
    x, key = torch.ones(1000, device="cuda"), on("cuda", 1)
    triton_kernel.drop(x, key, 32768, False)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = triton_kernel.drop(x, key, 32768, False)
    for number in (1, 2):
        key.fill_(number)
        graph.replay()
        assert (y != 0).cpu().equal(kept(1000, number, 32768))


@compiled
@pytest.mark.parametrize("at_random", [False, True])
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32", "fp64"])
def test_it_compiles_for_a_gpu_that_is_not_here(dtype, at_random):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    sizes = ["n", "first_tile", "skipped", "threshold"]
    numbers = dict.fromkeys(sizes, "i32")
    types = {
        "x": f"*{dtype}",
        "y": f"*{dtype}",
        "key": "*i64",
        **numbers,
        "scale": "fp64",
    }
    streams = {"MASK_STREAM": 0, "ROUNDING_STREAM": 1}
    constants = {"at_random": at_random, **streams, **triton_kernel.CONSTANTS}
    types |= dict.fromkeys(constants, "constexpr")
    assumed = {  # what a call would say of arguments that are multiples of 16
        (place,): [["tt.divisibility", 16]]
        for place, param in enumerate(triton_kernel._drop.params)
        if types[param.name][0] in "*i" and not param.do_not_specialize
    }
    source = ASTSource(triton_kernel._drop, types, constants, assumed)
    code = compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    # Each of 2 blocks a thread and stream is scrambled once: 7 rounds of 2 products.
    products = code.count("mul.hi.u32") + code.count("mul.wide.u32")
    streams_drawn = 1 + (at_random and dtype in ("fp16", "bf16"))
    assert 0 < products <= 2 * 7 * 2 * streams_drawn
    assert "bar.sync" not in code  # nor are its bits moved to other threads
