"""Whole models of public packages, small and without a download: audit_model on each.

A model is a piece of code that makes `model` and its input `x`, and a call of it.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from audit_world.cases import Case, Verdict
from audit_world.sources import stub

PASSES = 10
GATED = "every dropout is an nn.Dropout, or asks self.training"
TOKENS = "x = torch.randn(2, 8, 16)"
IDS = "x = {'input_ids': torch.arange(3, 19).reshape(2, 8)}"
PICTURE = "x = torch.randn(2, 3, 32, 32)"
GRAPH = (
    "x = (torch.randn(6, 8), torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]))"
)


def run(code: str, missing: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the code of a model from a fixed seed, beside stubs of what is missing."""
    stub(*missing)
    names: dict[str, Any] = {"torch": torch}
    torch.manual_seed(0)
    exec(code, names)
    return names


def model_of(code: str, missing: tuple[str, ...]) -> Any:
    return run(code, missing)["model"]


def options_of(code: str, missing: tuple[str, ...]) -> dict[str, Any]:
    return {"example_input": run(code, missing)["x"]}


def passes(code: str, call: str, missing: tuple[str, ...]) -> dict[str, Any]:
    """How far apart are ten forward passes at rest, and ten in training?"""
    names = run(code, missing)
    model = names["model"]
    found: dict[str, Any] = {}
    for mode in ("eval", "train"):
        getattr(model, mode)()
        try:
            outs = [_out(call, names, seed) for seed in range(PASSES)]
        except Exception as error:
            found[f"a pass in {mode}()"] = f"{type(error).__name__}: {error}"
            continue
        apart = max(float((out - outs[0]).abs().max()) for out in outs)
        found[f"passes in {mode}() differ by"] = round(apart, 4)
    rates = {
        m.p for m in model.modules() if type(m).__module__ == "torch.nn.modules.dropout"
    }
    return found | {"rates of its nn.Dropout": sorted(rates)}


def _out(call: str, names: dict[str, Any], seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return eval(call, names)


def case(
    package: str,
    name: str,
    code: str,
    confirmed: str = GATED,
    expected: Verdict = "pass",
    call: str = "model(x)",
    missing: tuple[str, ...] = (),
    definition: str = "",
) -> Case:
    lines = f"""import torch
torch.manual_seed(0)
{code}
model.eval()
with torch.no_grad():
    outs = [{call} for _ in range({PASSES})]
print(max((out - outs[0]).abs().max().item() for out in outs))"""
    return Case(
        package,
        name,
        partial(model_of, code, missing),
        expected,
        partial(passes, code, call, missing),
        lines,
        confirmed,
        partial(options_of, code, missing),
        definition,
        "audit_model",
    )


def of_transformers(
    name: str, example: str, config: str, attention: str = "", confirmed: str = GATED
) -> Case:
    """A model of random weights, from a configuration that is small."""
    settings = (
        name.removesuffix("Model").removesuffix("ForConditionalGeneration") + "Config"
    )
    kind = f"attn_implementation='{attention}'" if attention else ""
    code = f"""from transformers import {name}, {settings}
model = {name}._from_config({settings}({config}){", " + kind if kind else ""})
{example}"""
    title = f"{name}, {attention}" if attention else name
    call = "model(**x)[0]"
    return case("transformers", title, code, confirmed, call=call)


SMALL = (
    "hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32"
)
VISION = "import torch\nx = {'pixel_values': torch.randn(2, 3, 32, 32)}".removeprefix(
    "import torch\n"
)
BOTH = (
    "ids = torch.arange(3, 19).reshape(2, 8)\n"
    "x = {'input_ids': ids, 'decoder_input_ids': ids}"
)
T5 = "vocab_size=99, d_model=16, d_ff=32, num_layers=2, num_heads=2"
SOUND = "x = {'input_values': torch.randn(2, 16_000)}"
FLASH = (
    "dropout_p is given to scaled_dot_product_attention, which has no mode of its own"
)
LAYERS = "whole layers are dropped without regard for self.training"

CASES = [
    of_transformers("BertModel", IDS, "vocab_size=99, " + SMALL, "eager"),
    of_transformers("BertModel", IDS, "vocab_size=99, " + SMALL, "sdpa"),
    of_transformers("GPT2Model", IDS, "vocab_size=99, n_embd=16, n_layer=2, n_head=2"),
    of_transformers("T5ForConditionalGeneration", BOTH, T5),
    replace(
        of_transformers("T5Model", BOTH, T5),
        expected="fail",
        confirmed="transformers/models/t5/modeling_t5.py:746: a dropout is the last layer",
        definition="dropout on the output of a body, which has a head behind it",
    ),
    of_transformers(
        "DebertaV2Model", IDS, "vocab_size=99, relative_attention=True, " + SMALL
    ),
    of_transformers(
        "DistilBertModel",
        IDS,
        "vocab_size=99, dim=16, n_layers=2, n_heads=2, hidden_dim=32",
    ),
    of_transformers(
        "ViTModel",
        VISION,
        f"image_size=32, patch_size=8, hidden_dropout_prob=0.1, {SMALL}",
    ),
    of_transformers(
        "SwinModel",
        VISION,
        "image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], "
        "window_size=4, hidden_dropout_prob=0.1",
    ),
    of_transformers("Wav2Vec2Model", SOUND, f"num_conv_pos_embeddings=16, {SMALL}"),
    case(
        "torch-geometric",
        "GCN(dropout=0.5)",
        f"from torch_geometric.nn import GCN\nmodel = GCN(8, 16, 2, 4, dropout=0.5)\n{GRAPH}",
        call="model(*x)",
    ),
    case(
        "torch-geometric",
        "GAT(dropout=0.5)",
        f"from torch_geometric.nn import GAT\nmodel = GAT(8, 16, 2, 4, dropout=0.5)\n{GRAPH}",
        call="model(*x)",
    ),
    case(
        "torch-geometric",
        "GATConv(dropout=0.5)",
        "from torch_geometric.nn import GATConv\n"
        f"model = GATConv(8, 4, heads=2, dropout=0.5)\n{GRAPH}",
        call="model(*x)",
    ),
    case(
        "torch-geometric",
        "MLP(dropout=0.5)",
        "from torch_geometric.nn import MLP\n"
        "model = MLP([8, 16, 4], dropout=0.5)\nx = torch.randn(6, 8)",
    ),
    case(
        "torch-geometric",
        "MLP(dropout=0.5, plain_last=False)",
        "from torch_geometric.nn import MLP\n"
        "model = MLP([8, 16, 4], dropout=0.5, plain_last=False)\nx = torch.randn(6, 8)",
        "torch_geometric/nn/models/mlp.py: the last layer is dropped like the others, as asked",
        "fail",
        definition="dropout on the output, which is asked for and meant for more layers behind it",
    ),
    case(
        "monai",
        "UNet(dropout=0.1)",
        "from monai.networks.nets import UNet\n"
        "model = UNet(2, 3, 2, (4, 8, 8), (2, 2), dropout=0.1)\n" + PICTURE,
    ),
    case(
        "monai",
        "ViT(dropout_rate=0.1)",
        "from monai.networks.nets import ViT\n"
        "model = ViT(3, 32, 8, 16, 32, 2, 2, dropout_rate=0.1, spatial_dims=2)\n"
        + PICTURE,
        call="model(x)[0]",
    ),
    case(
        "monai",
        "SABlock(dropout_rate=0.5)",
        "from monai.networks.blocks import SABlock\nmodel = SABlock(16, 2, 0.5)\n"
        + TOKENS,
        "monai/networks/blocks/selfattention.py: an nn.Dropout is the last layer of the block",
        "fail",
        definition="dropout on the output of a block, which has a residual connection behind it",
    ),
    case(
        "monai",
        "SABlock(dropout_rate=0.5, use_flash_attention=True)",
        "from monai.networks.blocks import SABlock\n"
        "model = SABlock(16, 2, 0.5, use_flash_attention=True)\n" + TOKENS,
        "monai/networks/blocks/selfattention.py:192: " + FLASH,
        "fail",
    ),
    case(
        "monai",
        "CrossAttentionBlock(dropout_rate=0.5, use_flash_attention=True)",
        "from monai.networks.blocks import CrossAttentionBlock\n"
        "model = CrossAttentionBlock(16, 2, 0.5, use_flash_attention=True)\n" + TOKENS,
        "monai/networks/blocks/crossattention.py:168: " + FLASH,
        "fail",
    ),
    case(
        "monai",
        "TransformerBlock(dropout_rate=0.1, use_flash_attention=True)",
        "from monai.networks.blocks import TransformerBlock\n"
        "model = TransformerBlock(16, 32, 2, 0.1, use_flash_attention=True)\n" + TOKENS,
        "monai/networks/blocks/selfattention.py:192: " + FLASH,
        "fail",
    ),
    case(
        "monai",
        "DecoderOnlyTransformer",
        "from monai.networks.nets import DecoderOnlyTransformer\n"
        "model = DecoderOnlyTransformer(99, 8, 16, 2, 2, embedding_dropout_rate=0.1)\n"
        "x = torch.arange(16).reshape(2, 8)",
        "monai/networks/nets/transformer.py:91: the rate of the blocks is 0 and cannot be set",
    ),
    case(
        "vit-pytorch",
        "ViT, defaults",
        "from vit_pytorch.vit import ViT\n"
        "model = ViT(image_size=32, patch_size=8, num_classes=4, dim=16, depth=2, heads=2, "
        "mlp_dim=32)\n" + PICTURE,
        "vit_pytorch/vit.py: dropout is off by default",
        missing=("torchvision",),
    ),
    case(
        "vit-pytorch",
        "ViT(dropout=0.1, emb_dropout=0.1)",
        "from vit_pytorch.vit import ViT\n"
        "model = ViT(image_size=32, patch_size=8, num_classes=4, dim=16, depth=2, heads=2, "
        "mlp_dim=32, dropout=0.1, emb_dropout=0.1)\n" + PICTURE,
        missing=("torchvision",),
    ),
    case(
        "vit-pytorch",
        "CCT(dropout_rate=0.1, stochastic_depth_rate=0.1)",
        "from vit_pytorch.cct import CCT\n"
        "model = CCT(32, embedding_dim=16, num_layers=2, num_heads=2, num_classes=4, "
        "dropout_rate=0.1, stochastic_depth_rate=0.1)\n" + PICTURE,
        missing=("torchvision",),
    ),
    case(
        "vit-pytorch",
        "ViViT(dropout=0.1, use_flash_attn=True)",
        "from vit_pytorch.vivit import ViViT\n"
        "model = ViViT(image_size=16, image_patch_size=8, frames=4, frame_patch_size=2, "
        "num_classes=4, dim=16, spatial_depth=1, temporal_depth=1, heads=2, mlp_dim=32, "
        "dropout=0.1, use_flash_attn=True)\nx = torch.randn(2, 3, 4, 16, 16)",
        "vit_pytorch/vivit.py:68, and vivit_with_moss.py:93: " + FLASH,
        "fail",
        missing=("torchvision",),
    ),
    case(
        "vit-pytorch",
        "ViViT(dropout=0.1, use_flash_attn=False)",
        "from vit_pytorch.vivit import ViViT\n"
        "model = ViViT(image_size=16, image_patch_size=8, frames=4, frame_patch_size=2, "
        "num_classes=4, dim=16, spatial_depth=1, temporal_depth=1, heads=2, mlp_dim=32, "
        "dropout=0.1, use_flash_attn=False)\nx = torch.randn(2, 3, 4, 16, 16)",
        missing=("torchvision",),
    ),
    case(
        "vit-pytorch",
        "CaiT(layer_dropout=0.3)",
        "from vit_pytorch.cait import CaiT\n"
        "model = CaiT(image_size=32, patch_size=8, num_classes=4, dim=16, depth=4, cls_depth=2, "
        "heads=2, mlp_dim=32, layer_dropout=0.3)\n" + PICTURE,
        "vit_pytorch/cait.py:117: " + LAYERS,
        "fail",
        missing=("torchvision",),
    ),
    case(
        "vit-pytorch",
        "XCiT(layer_dropout=0.3)",
        "from vit_pytorch.xcit import XCiT\n"
        "model = XCiT(image_size=32, patch_size=8, num_classes=4, dim=16, depth=4, cls_depth=2, "
        "heads=2, mlp_dim=32, layer_dropout=0.3)\n" + PICTURE,
        "vit_pytorch/xcit.py:183, 206: " + LAYERS,
        "fail",
        missing=("torchvision",),
    ),
    case(
        "conformer",
        "Conformer(attn_dropout=0.5, ff_dropout=0.5, conv_dropout=0.5)",
        "from conformer import Conformer\n"
        "model = Conformer(16, depth=2, dim_head=8, heads=2, attn_dropout=0.5, ff_dropout=0.5, "
        "conv_dropout=0.5)\n"
        "print({m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)})\n"
        + TOKENS,
        "conformer/conformer.py:235: the three arguments are never handed on to the blocks, so "
        "every rate is 0; the model as it was made is right, and the note on p = 0 shows it",
    ),
    case(
        "x-transformers",
        "TransformerWrapper(Decoder(layer_dropout=0.2, ...))",
        "from x_transformers import Decoder, TransformerWrapper\n"
        "layers = Decoder(dim=16, depth=2, heads=2, layer_dropout=0.2, attn_dropout=0.1, "
        "ff_dropout=0.1)\n"
        "model = TransformerWrapper(num_tokens=99, max_seq_len=8, attn_layers=layers, "
        "emb_dropout=0.1)\nx = torch.arange(16).reshape(2, 8)",
    ),
]
