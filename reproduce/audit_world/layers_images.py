"""Layers of PyTorch packages for images: paths, blocks and patches."""

from typing import Any

import torch

from audit_world.cases import Figures
from audit_world.facts_torch import get
from audit_world.torch_cases import FEWER, IMAGES, PATHS, SUMMED, case, fewer_tokens

FLOORED = (
    "x = torch.ones(65536, 2, dtype=torch.bfloat16)\n"
    "rate = torch.stack([{0}(0.1)(x) == 0 for _ in range(64)]).float().mean()\n"
    "print(f'rate {{rate:.4f}} for 0.1', {0}(1.0)(x[:1]).tolist())"
)
SIMPLE_BLOCKS = (
    "y = DropBlock2D(0.1, 5)(torch.ones(512, 1, 14, 14))\n"
    "print(f'rate {(y == 0).float().mean():.4f} for 0.1')\n"
    "print(DropBlock2D(0.1, 5)(torch.ones(8, 1, 14, 14).half()).dtype)"
)
UNSCALED_BLOCKS = (
    "y = DropBlock2D(1, 0.3)(torch.ones(512, 1, 14, 14))\n"
    "print(f'mean {y.mean():.3f} in training,', end=' ')\n"
    "y = DropBlock2D(1, 0.3).eval()(torch.ones(512, 1, 14, 14))\n"
    "print(f'{y.mean():.3f} at inference')"
)
SURVIVAL = (
    "depth, branch = StochasticDepth(0.8), torch.ones(1)\n"
    "y = torch.stack([depth(torch.zeros(1), branch) for _ in range(10_000)])\n"
    "print(f'mean {y.mean():.3f} in training,', end=' ')\n"
    "print('1 at inference', depth.eval()(torch.zeros(1), branch).item() == 1)"
)
SAMPLES = (
    "try:\n"
    "    Dropsample(0.3)(torch.ones(8, 6, 8, 8))\n"
    "except RuntimeError as error:\n"
    "    print(error)\n"
    "y = Dropsample(0.3)(torch.ones(8, 6, 4, 4))\n"
    "print('all samples alike:', bool((y == y[0]).all()))"
)
FLOAT32 = (
    "print(DropPath(0.1)(torch.ones(4, 2, dtype=torch.float16)).dtype)\n"
    "print(DropPath(1.0)(torch.ones(4, 2)).tolist())"
)


def survives() -> Figures:
    torch.manual_seed(0)
    depth, branch = get("torchregularize:StochasticDepth")(0.8), torch.ones(8, 1)
    y = torch.stack([depth(torch.zeros(8, 1), branch) for _ in range(20_000)])
    rest = depth.eval()(torch.zeros(8, 1), branch)
    return {
        "rate asked": 0.2,
        "rate": round(float((y == 0).float().mean()), 4),
        "mean": round(float(y.mean()), 4),
        "mean at inference": float(rest.mean()),
        "samples alike": bool((y == y[:, :1]).all()),
    }


def residual(x: torch.Tensor, p: float, training: bool) -> Any:
    depth = get("torchregularize:StochasticDepth")(1 - p).train(training)
    return depth(torch.zeros_like(x), x)


def sample_shapes() -> Figures:
    found: Figures = {}
    torch.manual_seed(0)
    for width in (3, 4, 8):
        made, x = (
            get("vit_pytorch.max_vit:Dropsample")(0.3),
            torch.ones(8, 6, width, width),
        )
        try:
            y = made(x)
            found[f"width {width}"] = f"samples alike: {bool((y == y[0]).all())}"
        except RuntimeError as error:
            found[f"width {width}"] = str(error)
    return found


CASES = [
    *(
        case(
            "transformers",
            f"transformers.models.{model}.modeling_{model}:{name}",
            "edge",
            f"transformers/models/{model}/modeling_{model}.py:{line}: {SUMMED}; any p is taken",
            shape=PATHS,
            lines=FLOORED.format(name),
        )
        for model, name, line in (
            ("timesformer", "TimesformerDropPath", 270),
            ("swin", "SwinDropPath", 59),
        )
    ),
    case(
        "tsai",
        "tsai.models.layers:DropPath",
        "edge",
        f"tsai/models/layers.py:502: {SUMMED}; any p is taken",
        shape=PATHS,
        lines=FLOORED.format("DropPath"),
        alone=True,
    ),
    case(
        "mmcv-lite",
        "mmcv.cnn.bricks.drop:DropPath",
        "edge",
        f"mmcv/cnn/bricks/drop.py:23 to 25: {SUMMED}; any p is taken",
        shape=PATHS,
        lines=FLOORED.format("DropPath"),
        alone=True,
        missing=("mmengine",),
    ),
    case(
        "mmcv-lite",
        "mmcv.cnn.bricks.drop:Dropout",
        "pass",
        "mmcv/cnn/bricks/drop.py:62: PyTorch's own",
        alone=True,
        missing=("mmengine",),
    ),
    case(
        "kornia",
        "kornia.models.common:DropPath",
        "pass",
        "kornia/models/common.py:143",
        shape=PATHS,
        alone=True,
    ),
    case(
        "kornia",
        "kornia.feature.dedode.transformer.layers.drop_path:DropPath",
        "pass",
        "kornia/feature/dedode/transformer/layers/drop_path.py:41; line 36 sets the wrong name, "
        "so its default of None raises",
        name="dedode DropPath",
        shape=PATHS,
        alone=True,
    ),
    case(
        "vit-pytorch",
        "vit_pytorch.cct:DropPath",
        "edge",
        "vit_pytorch/cct.py:159: keep_mask.float(), so float16 becomes float32, and line 159 "
        "divides by 0 at p = 1; any p is taken",
        shape=PATHS,
        lines=FLOAT32,
        alone=True,
    ),
    case(
        "vit-pytorch",
        "vit_pytorch.max_vit:Dropsample",
        "fail",
        "vit_pytorch/max_vit.py:87: FloatTensor((batch, 1, 1, 1)) is a vector of four numbers",
        options={"shape": (8, 6, 4, 4)},
        lines=SAMPLES,
        truth=sample_shapes,
        alone=True,
    ),
    *(
        case(
            package,
            path,
            "could not run",
            where + ": tokens are taken out, so the shape changes",
            lines=FEWER,
            truth=lambda path=path: fewer_tokens(path),  # type: ignore[misc]
            alone=True,
            missing=missing,
        )
        for package, path, where, missing in (
            (
                "vit-pytorch",
                "vit_pytorch.vit_with_patch_dropout:PatchDropout",
                "vit_pytorch/vit_with_patch_dropout.py:31",
                (),
            ),
            (
                "open-clip-torch",
                "open_clip.transformer:PatchDropout",
                "open_clip/transformer.py:84",
                ("ftfy", "open_clip.utils"),
            ),
            (
                "x-clip",
                "x_clip.x_clip:PatchDropout",
                "x_clip/x_clip.py:151",
                ("torchvision",),
            ),
        )
    ),
    case(
        "dropblock",
        "dropblock:DropBlock2D",
        "fail",
        "dropblock/dropblock.py:76: the paper's gamma without its border, so the rate is .081 at "
        ".1; line 46 makes a float32 mask, so float16 becomes float32",
        p=0.1,
        shape=IMAGES,
        arguments={"block_size": 5},
        options={"shape": (8, 16, 14, 14), "p": 0.1},
        lines=SIMPLE_BLOCKS,
    ),
    case(
        "torchregularize",
        "torchregularize:DropBlock2D",
        "fail",
        "torchregularize/dropblock.py:20 to 24: nothing is scaled, in training or at inference; "
        "the mask is float32",
        name="DropBlock2D",
        shape=IMAGES,
        rate="drop_prob",
        arguments={"block_size": 3},
        options={"shape": (8, 16, 14, 14)},
        lines=UNSCALED_BLOCKS,
    ),
    case(
        "torchregularize",
        "torchregularize:StochasticDepth",
        "fail",
        "torchregularize/stochastic_depth.py:14: the branch is whole at inference and whole in "
        "training where it survives; one draw for the batch",
        name="StochasticDepth, its branch",
        options={"shape": (64, 2)},
        lines=SURVIVAL,
        make=lambda: residual,
        truth=survives,
    ),
]
