"""Models that nobody here wrote, converted: BERT, GPT-2 and a vision transformer.

Weights are random and sizes small. A converted model must give the same results in evaluation, to
the last bit, and in training two different ones. Printed are the layers that were converted, the
dropouts that could not be reached, and the time of a training step: without dropout, with
PyTorch's and with the companion's.

Needs an environment of its own, with this repository on PYTHONPATH:
``pip install torch==2.13.0 transformers timm numba``. timm imports torchvision, whose wheel is
made for CUDA: beside PyTorch for the CPU alone its operators do not load, and those it asks
for at import are registered here by name.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from side_by_side import medians
from torch import nn

import companion.nn

torchvision = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    torchvision.define(
        f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )

import timm  # type: ignore[import-not-found] # noqa: E402
import transformers  # type: ignore[import-not-found] # noqa: E402

P = 0.1
ROUNDS = 9
WIDTH, HEADS, LAYERS = 256, 8, 2
BATCH, LENGTH, WORDS = 8, 128, 1000
SIDE, PATCH = 96, 8  # 144 patches


def bert(p: float, attention: str) -> nn.Module:
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=WORDS,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            hidden_dropout_prob=p,
            attention_probs_dropout_prob=p,
            attn_implementation=attention,
        )
    )


def gpt2(p: float, attention: str) -> nn.Module:
    return transformers.GPT2Model(
        transformers.GPT2Config(
            vocab_size=WORDS,
            n_positions=LENGTH,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            embd_pdrop=p,
            resid_pdrop=p,
            attn_pdrop=p,
            attn_implementation=attention,
            use_cache=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def vit(p: float, attention: str) -> nn.Module:
    timm.layers.set_fused_attn(attention == "sdpa")
    return timm.models.VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=LAYERS,
        num_heads=HEADS,
        num_classes=10,
        drop_rate=p,
        pos_drop_rate=p,
        proj_drop_rate=p,
        attn_drop_rate=p,
    )


def examples() -> Iterator[tuple[Callable[[float, str], nn.Module], Any]]:
    words = {"input_ids": torch.randint(WORDS, (BATCH, LENGTH))}
    yield bert, words
    yield gpt2, words
    yield vit, torch.randn(BATCH, 3, SIDE, SIDE)


def output(model: nn.Module, example: Any) -> torch.Tensor:
    if isinstance(example, dict):
        return model(**example).last_hidden_state
    return model(example)


def step(model: nn.Module, example: Any) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def run() -> None:
        optimizer.zero_grad()
        output(model, example).square().mean().backward()
        optimizer.step()

    return run


def converted(model: nn.Module, example: Any) -> nn.Module:
    """Return a converted copy, after a look at what it gives."""
    twin = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `unconverted` lists them below
        companion.nn.convert(twin)
    with torch.no_grad():
        assert torch.equal(output(model.eval(), example), output(twin.eval(), example))
        first, second = (output(twin.train(), example) for _ in range(2))
        assert not torch.allclose(first, second)
    model.train()
    return twin


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for make, example in examples():
        for attention in ("sdpa", "eager"):
            theirs = make(P, attention)
            ours = converted(theirs, example)
            layers = Counter(
                type(m).__name__
                for m in ours.modules()
                if type(m).__module__.startswith("companion.")
            )
            print(f"\n{make.__name__}, {attention} attention: {dict(layers)} converted")
            left = companion.nn.unconverted(ours, example)
            functions = Counter(dropout.what for dropout in left)
            for name, count in functions.items():
                print(
                    f"  left: {name} in {count} submodules, {left[0].path} and others"
                )
            models = {"none": make(0.0, attention), "PyTorch's": theirs, "ours": ours}
            runs = {
                name: step(model.train(), example) for name, model in models.items()
            }
            seconds, ratios = medians(runs, ROUNDS)
            for name, time, ratio in zip(runs, seconds, ratios, strict=True):
                print(f"  dropout: {name:<12}{time * 1e3:8.1f} ms a step{ratio:8.3f}")


if __name__ == "__main__":
    main()
