"""PyTorch's own layers, and those of packages: units, channels, paths and blocks."""

import torch

from audit_world.cases import Figures
from audit_world.facts_torch import get, layer, mean_rate
from audit_world.torch_cases import (
    CHANNELS,
    FEWER,
    IMAGES,
    PATHS,
    SUMMED,
    case,
    fewer_tokens,
)

CONNECTED = (
    "x = torch.ones(65536, 1, 1, 2, dtype=torch.bfloat16)\n"
    "rate = torch.stack([drop_connect(x, 0.1, True) == 0 for _ in range(64)]).float().mean()\n"
    "print(f'rate {rate:.4f} for 0.1', drop_connect(x[:1], 1.0, True).flatten().tolist())"
)
CHANNEL_DROPOUT = (
    "layer = _ChannelDropout(0.01)\n"
    "y = layer(torch.ones(64, 32, 8))\n"
    "print(f'rate {(y == 0).float().mean():.4f} for 0.01, alike', bool((y == y[0]).all()))\n"
    "try:\n"
    "    _ChannelDropout(1.0)(torch.ones(64, 32, 8))\n"
    "except ZeroDivisionError as error:\n"
    "    print('p = 1:', error)"
)
BLOCKS = (
    "for side in (8, 14, 28):\n"
    "    y = DropBlock2d(0.1)(torch.ones(512, 1, side, side))\n"
    "    print(f'{side} x {side}: rate {(y == 0).float().mean():.3f} for 0.1')"
)
VISION = "torchvision.utils"
SPATIAL = (
    "y = SpatialDropout(0.5)(torch.ones(1, 4, 8))  # a sample, 4 channels, 8 steps\n"
    "print((y[0] != 0).int())"
)


def moments(name: str, shape: tuple[int, ...]) -> Figures:
    """Mean and deviation of normal inputs, before and after."""
    torch.manual_seed(0)
    made, x = getattr(torch.nn, name)(0.3), torch.randn(4096, *shape[1:])
    y = made(x)
    saturated = (
        -1.7580993408473766 * (1 / (0.7 * (1 + 0.3 * 1.7580993408473766**2))) ** 0.5
    )
    shift = -saturated * 0.3
    share = torch.isclose(y, torch.tensor(saturated + shift), atol=1e-4).float().mean()
    return {
        "rate asked": 0.3,
        "rate": round(float(share), 4),
        "mean": [round(float(x.mean()), 4), round(float(y.mean()), 4)],
        "deviation": [round(float(x.std()), 4), round(float(y.std()), 4)],
        "inference": float((made.eval()(x) - x).abs().max()),
    }


def blocks_by_size() -> Figures:
    rates = {}
    for side, block in ((8, 7), (14, 7), (28, 7), (14, 5)):
        make = layer("timm.layers.drop:DropBlock2d", block_size=block)
        rates[f"{side} x {side}, block {block}"] = mean_rate(
            make, 0.1, (512, 1, side, side)
        )
    return {"rate at .1": rates}


def channels_for_the_batch() -> Figures:
    torch.manual_seed(0)
    path = "braindecode.models.brainmodule:_ChannelDropout"
    y = get(path)(0.3)(torch.ones(64, 32, 8))
    rates = {
        f"rate at {p}": mean_rate(layer(path), p, (64, 32, 8)) for p in (0.01, 0.05)
    }
    return {"samples alike": bool((y == y[0]).all()), **rates}


def what_is_whole() -> Figures:
    """Are channels or steps dropped as a whole?"""
    torch.manual_seed(0)
    y = (
        get("espnet2.asr.preencoder.sinc:SpatialDropout")(0.3)(torch.ones(64, 32, 8))
        != 0
    )
    return {
        "channels of one value": round(
            float((y == y[..., :1]).all(-1).float().mean()), 3
        ),
        "steps of one value": round(float((y == y[:, :1]).all(1).float().mean()), 3),
    }


CASES = [
    case("torch", "torch.nn:Dropout", "pass", "torch/nn/functional.py, dropout"),
    case(
        "torch",
        "torch.nn.functional:dropout",
        "pass",
        "torch/nn/functional.py, dropout",
    ),
    case(
        "torch",
        "torch.nn:Dropout1d",
        "pass",
        "torch/nn/functional.py, dropout1d: one draw a channel",
        shape=(64, 128, 8),
    ),
    case(
        "torch",
        "torch.nn:Dropout2d",
        "pass",
        "torch/nn/functional.py, dropout2d: one draw a channel",
        shape=(64, 128, 4, 4),
    ),
    case(
        "torch",
        "torch.nn:Dropout3d",
        "pass",
        "torch/nn/functional.py, dropout3d: one draw a channel",
        shape=(64, 128, 2, 2, 2),
    ),
    case(
        "torch",
        "torch.nn:AlphaDropout",
        "pass",
        "torch/nn/functional.py, alpha_dropout: SELU's saturation for what is dropped",
        lines="x = torch.randn(1000, 1000)\ny = AlphaDropout(0.3)(x)\n"
        'print(f"mean {y.mean():.3f}, deviation {y.std():.3f}")',
        truth=lambda: moments("AlphaDropout", (64, 256)),
    ),
    case(
        "torch",
        "torch.nn:FeatureAlphaDropout",
        "pass",
        "torch/nn/functional.py, feature_alpha_dropout: the same for whole channels",
        lines="x = torch.randn(1000, 1000, 4)\ny = FeatureAlphaDropout(0.3)(x)\n"
        'print(f"mean {y.mean():.3f}, deviation {y.std():.3f}")',
        truth=lambda: moments("FeatureAlphaDropout", (64, 32, 8)),
    ),
    case(
        "torchvision",
        "torchvision.ops.stochastic_depth:StochasticDepth",
        "pass",
        "torchvision/ops/stochastic_depth.py:37 to 44: one draw a sample, divided by what survives",
        name="StochasticDepth, row",
        shape=PATHS,
        arguments={"mode": "row"},
        alone=True,
        missing=(VISION,),
    ),
    case(
        "torchvision",
        "torchvision.ops.stochastic_depth:StochasticDepth",
        "fail",
        "torchvision/ops/stochastic_depth.py:39: one draw for the whole batch",
        name="StochasticDepth, batch",
        shape=(2, 2),
        arguments={"mode": "batch"},
        definition='Its mode "batch" says that it zeroes the entire input.',
        lines='y = StochasticDepth(0.5, "batch")(torch.ones(8, 2))\n'
        "print('all samples alike:', bool((y == y[0]).all()))",
        alone=True,
        missing=(VISION,),
    ),
    case(
        "torchvision",
        "torchvision.ops.drop_block:DropBlock2d",
        "edge",
        "torchvision/ops/drop_block.py:43: gamma as in the paper; at p = 1 nothing like all is "
        "dropped",
        p=0.5,
        shape=IMAGES,
        arguments={"block_size": 7},
        options={"shape": (8, 16, 14, 14)},
        alone=True,
        missing=(VISION,),
    ),
    case(
        "timm",
        "timm.layers.drop:DropPath",
        "pass",
        "timm/layers/drop.py:172: bernoulli_, divided in place",
        shape=PATHS,
        alone=True,
    ),
    case(
        "timm",
        "timm.layers.drop:drop_path",
        "pass",
        "timm/layers/drop.py:172",
        shape=PATHS,
        alone=True,
    ),
    case(
        "timm",
        "timm.layers.drop:DropBlock2d",
        "fail",
        "timm/layers/drop.py:56 and 62: gamma counts the places where a block fits, and blocks are "
        "drawn at all places",
        p=0.1,
        shape=IMAGES,
        options={"shape": (8, 16, 14, 14), "p": 0.1},
        lines=BLOCKS,
        more=blocks_by_size,
        alone=True,
    ),
    case(
        "timm",
        "timm.layers.drop:DropBlock2d",
        "pass",
        "timm/layers/drop.py:56: with blocks of one the two numbers of places agree; line 87 "
        "divides by the share that is kept in the call",
        name="DropBlock2d, single units",
        p=0.1,
        shape=IMAGES,
        arguments={"block_size": 1, "couple_channels": False},
        options={"shape": (8, 16, 14, 14)},
        alone=True,
    ),
    case(
        "timm",
        "timm.layers.patch_dropout:PatchDropout",
        "could not run",
        "timm/layers/patch_dropout.py:39 to 47: tokens are taken out, so the shape changes",
        lines=FEWER,
        truth=lambda: fewer_tokens("timm.layers.patch_dropout:PatchDropout"),
        alone=True,
    ),
    case(
        "monai",
        "monai.networks.layers.drop_path:DropPath",
        "pass",
        "monai/networks/layers/drop_path.py:41",
        shape=PATHS,
    ),
    case(
        "monai",
        "monai.networks.nets.efficientnet:drop_connect",
        "edge",
        f"monai/networks/nets/efficientnet.py:776 to 783: {SUMMED}, and NaN passes line 760",
        shape=PATHS,
        lines=CONNECTED,
    ),
    case(
        "segmentation-models-pytorch",
        "segmentation_models_pytorch.encoders._efficientnet:drop_connect",
        "edge",
        f"segmentation_models_pytorch/encoders/_efficientnet.py:426 to 432: {SUMMED}",
        shape=(65536, 1, 1, 2),
        lines=CONNECTED,
        alone=True,
    ),
    case(
        "braindecode",
        "braindecode.functional.functions:drop_path",
        "pass",
        "braindecode/functional/functions.py:71",
        shape=PATHS,
        alone=True,
    ),
    case(
        "braindecode",
        "braindecode.models.brainmodule:_ChannelDropout",
        "fail",
        "braindecode/models/brainmodule.py:883: max(1, int(n p)) channels, the same for the whole "
        "batch; line 893 divides by 0 at p = 1, which line 825 allows",
        shape=(64, 32, 8),
        options={"shape": (64, 32, 8)},
        lines=CHANNEL_DROPOUT,
        more=channels_for_the_batch,
        alone=True,
        missing=("mne", "torchaudio", "braindecode.models.base"),
    ),
    case(
        "espnet",
        "espnet2.asr.state_spaces.components:DropoutNd",
        "pass",
        "espnet2/asr/state_spaces/components.py:103 to 106; p in [0, 1) by its own words",
        shape=(512, 32, 8),
        alone=True,
    ),
    case(
        "espnet",
        "espnet2.asr.state_spaces.components:StochasticDepth",
        "edge",
        "espnet2/asr/state_spaces/components.py:49: 0 / 0 at p = 1, which line 32 allows",
        shape=PATHS,
        arguments={"mode": "row"},
        lines='print(StochasticDepth(1.0, "row")(torch.ones(2, 2)).tolist())',
        alone=True,
    ),
    case(
        "espnet",
        "espnet2.enh.layers.swin_transformer:DropPath",
        "pass",
        "espnet2/enh/layers/swin_transformer.py:37",
        shape=PATHS,
        alone=True,
    ),
    case(
        "espnet",
        "espnet2.asr.preencoder.sinc:SpatialDropout",
        "fail",
        "espnet2/asr/preencoder/sinc.py:279 brings the steps to where dropout2d expects the "
        "channels, so steps are dropped; its lines 256 and 273 speak of full channels of (B, C, D)",
        shape=CHANNELS,
        options={"shape": CHANNELS, "kind": "channels"},
        lines=SPATIAL,
        more=what_is_whole,
        alone=True,
        missing=("typeguard", "espnet2.layers.sinc_conv"),
    ),
]
