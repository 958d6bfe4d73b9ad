"""Speed of companion.nn: the layer alone, the pass over memory, compiled, and in a transformer.

Ratios above 1 say how many times as long as the companion's layer PyTorch's takes. What ReLU
takes is a ceiling: it too is one pass over memory in each direction. On Intel's processors
PyTorch draws with MKL, several times faster than on others, so that the ratios are smaller.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from side_by_side import medians
from torch import nn

import companion.nn
from companion.counter import kernels, scale_of, threshold_of

SIZES = (64, 1_024, 2_048, 4_096, 16_384, 131_072, 4_000_000)
RATES = (0.5, 0.1)
LARGEST = SIZES[-1:]
# glibc then gives and takes back every large block of memory, so that each output is new pages.
FRESH = {"MALLOC_MMAP_THRESHOLD_": "131072"}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(line.split(": ")[1] for line in lines if line.startswith("model name"))


def forward_and_backward(
    layer: nn.Module, x: torch.Tensor, grad: torch.Tensor, times: int
) -> None:
    for _ in range(times):
        x.grad = None
        layer(x).backward(grad)


def print_layers(title: str, sizes: tuple[int, ...]) -> None:
    print(
        f"\n{title}: forward and backward, float32, {torch.get_num_threads()} thread(s)"
    )
    print(
        f"{'units':>12}{'p':>6}{'us':>10}{'nn.Dropout / ours':>20}{'nn.Dropout / ReLU':>20}"
    )
    for n in sizes:
        x, grad = torch.randn(n, requires_grad=True), torch.randn(n)
        times = max(50, 200_000 // n) if n <= 131_072 else 5
        for p in RATES:
            layers = companion.nn.Dropout(p), nn.Dropout(p), nn.ReLU()
            runs: dict[str, Callable[[], object]] = {
                type(layer).__module__: partial(
                    forward_and_backward, layer, x, grad, times
                )
                for layer in layers
            }
            took, ratios = medians(runs)
            us = took[0] / times * 1e6
            print(
                f"{n:>12,}{p:>6}{us:>10.1f}{ratios[1]:>20.2f}{ratios[1] / ratios[2]:>20.2f}"
            )


def print_kernel(n: int = 131_072, p: float = 0.1) -> None:
    x, y = torch.randn(n), torch.zeros(n)
    kernel, threshold = kernels.drop("float32"), threshold_of(p)
    scale = scale_of(threshold)

    def repeated(call: Callable[[], object]) -> None:
        for _ in range(100):
            call()

    where = x.data_ptr(), y.data_ptr(), n
    runs = {
        "multiplication": partial(repeated, partial(torch.mul, x, scale, out=y)),
        "kernel": partial(repeated, partial(kernel, *where, 0, 7, threshold, scale)),
    }
    took, ratios = medians(runs)
    print(f"\nThe pass over memory alone, {n:,} units of float32, p = {p}")
    print(
        f"  {took[1] * 1e4:.1f} us, {ratios[1]:.2f} times as long as a multiplication"
    )


def mlp(make: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(784, 1024), nn.ReLU(), make()),
        *(nn.Linear(1024, 1024), nn.ReLU(), make()),
        nn.Linear(1024, 10),
    )


def transformer(p: float) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 8, dropout=p, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def update(network: nn.Module, x: torch.Tensor) -> None:
    network(x).square().mean().backward()


def print_networks(title: str, networks: dict[str, nn.Module], x: torch.Tensor) -> None:
    runs = {name: partial(update, network, x) for name, network in networks.items()}
    took, ratios = medians(runs)
    print(f"\n{title}{'ms':>10}{'over none':>12}")
    for name, seconds, ratio in zip(runs, took, ratios, strict=True):
        print(f"  {name:<24}{seconds * 1e3:>10.2f}{100 * (ratio - 1):>+11.1f}%")


def dropouts(p: float) -> dict[str, Callable[[], nn.Module]]:
    return {
        "no dropout": nn.Identity,
        "companion.nn.Dropout": partial(companion.nn.Dropout, p),
        "torch.nn.Dropout": partial(nn.Dropout, p),
    }


def print_mlps(p: float = 0.1) -> None:
    for batch in (32, 128, 512):
        x = torch.rand(batch, 784)
        eager = {name: mlp(make) for name, make in dropouts(p).items()}
        print_networks(f"784-1024-1024-10, batch {batch}, p = {p}, eager", eager, x)
        torch._dynamo.reset()
        compiled: dict[str, nn.Module] = {}
        for name, network in eager.items():
            compiled[name] = torch.compile(network)  # type: ignore[assignment]
        print_networks(
            f"784-1024-1024-10, batch {batch}, p = {p}, compiled", compiled, x
        )


def print_transformers(p: float = 0.1) -> None:
    networks = {
        "no dropout": transformer(0.0),
        "converted": companion.nn.convert(transformer(p)),
        "torch.nn.Dropout": transformer(p),
    }
    x = torch.randn(16, 128, 256)
    print_networks(f"3 layers of 256, 16 x 128 tokens, p = {p}", networks, x)


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:] == ["fresh"]:
        print_layers("Every output on fresh pages", LARGEST)
        return
    print(
        f"{processor()}; PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    )
    print_layers("One layer", SIZES)
    subprocess.run(
        [sys.executable, __file__, "fresh"], env={**os.environ, **FRESH}, check=True
    )
    torch.set_num_threads(2)
    print_layers("One layer", LARGEST)
    torch.set_num_threads(1)
    print_kernel()
    print_mlps()
    print_transformers()


if __name__ == "__main__":
    main()
