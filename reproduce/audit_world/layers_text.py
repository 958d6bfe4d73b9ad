"""Layers of PyTorch packages for language, speech and sequences: locked masks, words, weights."""

from typing import Any

import torch

from audit_world.cases import Figures
from audit_world.facts_torch import get
from audit_world.torch_cases import CHANNELS, STEPS, case

WORDS = "Words are left out, and those that stay are not scaled, on purpose."
FOR_THE_BATCH = (
    "A column is dropped for the whole batch, as in the layer it was taken from."
)
NAN = "print({}(1.0)(torch.ones(2, 2, 3)).isnan().all())"
WORD_LINES = (
    "x = torch.ones(64, 32, 8)\n"
    "print(f'mean {WordDropout(0.3)(x).mean():.3f}', WordDropout(0.3).eval()(x).mean().item())"
)
COLUMNS = (
    "layer, x = FullEmbeddingDropout(0.3), torch.ones(64, 32, 8)\n"
    "y = layer(x)\n"
    "print('samples alike:', bool((y == y[0]).all()))\n"
    "print('inference the same:', torch.equal(layer.eval()(x), x))\n"
    "print('p = 1 gives NaN:', bool(FullEmbeddingDropout(1.0)(x).isnan().any()))"
)
STABLE = (
    "try:\n"
    "    StableDropout(1.0)(torch.ones(4))\n"
    "except ZeroDivisionError as error:\n"
    "    print('p = 1:', error)\n"
    "print('p = -0.1:', StableDropout(-0.1)(torch.ones(2)).tolist())\n"
    "print('p = nan:', StableDropout(float('nan'))(torch.ones(2)).tolist())"
)
AUGMENTATION = (
    "layer, x = ChannelDrop(0.3).eval(), torch.ones(64, 100, 8)\n"
    "y = layer(x)\n"
    "print('inference the same:', torch.equal(y, x), 'samples alike:', bool((y == y[0]).all()))"
)
TWO_INPUTS = (
    "a, b = IndependentDropout(0.3)(torch.ones(64, 256, 8), torch.ones(64, 256, 8))\n"
    'print(f"mean {a.mean():.3f} and {b.mean():.3f}")'
)
RESIDUAL = (
    "layer, x = ResidualWithLayerDropout(0.3), torch.zeros(1)\n"
    "y = torch.stack([layer(x, torch.ones(1)) for _ in range(10_000)])\n"
    "print(f'mean {y.mean():.3f}, at inference {layer.eval()(x, torch.ones(1)).item():.3f}')"
)
RNN_AT_1 = "print(RNNDropout(1.0)(torch.ones(2, 2, 3)).isnan().all())"
SCALED_TABLE = (
    "table = torch.nn.Embedding.from_pretrained(torch.ones(4, 2))\n"
    "layer = EmbeddingDropout(table, 0.3).eval()\n"
    "word = torch.tensor([0])\n"
    "print([layer(word, scale=2.0)[0, 0].item() for _ in range(3)])"
)
LAST_ROW = (
    "table = torch.nn.Embedding(4, 2)\n"
    "EmbeddingDropout(table, 0.0)(torch.arange(4)).sum().backward()\n"
    "print(table.weight.grad.tolist())"
)
AFTER_REST = (
    "layer, x = WeightDropLinear(4, 4, weight_dropout=0.3), torch.ones(1, 4)\n"
    "layer.eval()(x)\n"
    "try:\n"
    "    layer.train()(x)\n"
    "except TypeError as error:\n"
    "    print(error)"
)
WRAPPED = (
    "layer = WeightDropout(torch.nn.Linear(1000, 1000, bias=False), 0.3, 'weight')\n"
    "layer(torch.ones(1, 1000))\n"
    "print(f'rate {(layer.module.weight == 0).float().mean():.4f}')"
)


def samples_alike(path: str) -> Figures:
    torch.manual_seed(0)
    made, x = get(path)(0.3), torch.ones(CHANNELS)
    y = made(x)
    return {"samples alike": bool((y == y[0]).all())}


def after_rest() -> Figures:
    layer, x = weight_drop(4, 0.3), torch.ones(1, 4)
    layer.eval()(x)
    try:
        layer.train()(x)
    except TypeError as error:
        return {"training after eval()": f"TypeError: {error}"}
    return {"training after eval()": "no error"}


def last_row() -> Figures:
    table = torch.nn.Embedding(4, 2)
    made = get("fastai.text.models.awdlstm:EmbeddingDropout")(table, 0.0)
    made(torch.arange(4)).sum().backward()
    assert table.weight.grad is not None
    return {"gradient of the last row": float(table.weight.grad[-1].sum())}


def two_inputs() -> Figures:
    torch.manual_seed(0)
    x = torch.ones(64, 4096, 2)
    a, b = get("supar.modules.dropout:IndependentDropout")(0.3)(x, x)
    return {
        "rate asked": 0.3,
        "rate": round(float((a == 0).float().mean()), 4),
        "mean": round(float(a.mean()), 4),
        "kept": sorted(set(a[a != 0].tolist())),
        "mean of both": round(float((a + b).mean() / 2), 4),
    }


def one_input(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    dropout = get("supar.modules.dropout:IndependentDropout")(p)
    return dropout.train(training)(x)[0]


def rows_of_a_table(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    table = torch.nn.Embedding(*x.shape)
    del table.weight
    table.weight = x
    layer = get("fastai.text.models.awdlstm:EmbeddingDropout")(table, p)
    return layer.train(training)(torch.arange(len(x)))


def residual() -> Figures:
    torch.manual_seed(0)
    made = get("allennlp.modules.residual_with_layer_dropout:ResidualWithLayerDropout")(
        0.3
    )
    x, branch = torch.zeros(8), torch.ones(8)
    y = torch.stack([made(x, branch) for _ in range(20_000)])
    return {
        "rate asked": 0.3,
        "rate": round(float((y == 0).float().mean()), 4),
        "mean": round(float(y.mean()), 4),
        "mean at inference": round(float(made.eval()(x, branch).mean()), 4),
        "samples alike": bool((y == y[:, :1]).all()),
    }


def scaled_table() -> Figures:
    torch.manual_seed(0)
    table = torch.nn.Embedding.from_pretrained(torch.ones(4096, 2))
    made = get("fastai.text.models.awdlstm:EmbeddingDropout")(table, 0.3)
    words = torch.arange(4096)
    ys = torch.stack([made(words) for _ in range(64)])
    rest = made.eval()
    return {
        "rate asked": 0.3,
        "rate": round(float((ys == 0).float().mean()), 4),
        "mean": round(float(ys.mean()), 4),
        "inference": float((rest(words) - 1).abs().max()),
        "inference with scale=2, three calls": [
            float(rest(words, scale=2.0).mean()) for _ in range(3)
        ],
    }


def dropped_weights(make: Any, weight: str) -> Figures:
    torch.manual_seed(0)
    made, x = make(), torch.ones(1, 1000)
    ys = [made(x)]
    holder, _, last = weight.rpartition(".")
    dropped = getattr(made.get_submodule(holder), last)
    made.eval()
    ys += [made(x), made(x)]
    return {
        "rate asked": 0.3,
        "rate": round(float((dropped == 0).float().mean()), 4),
        "mean": round(float(dropped.double().mean()), 4),
        "inference": float((ys[1] - ys[2]).abs().max()),
    }


def weight_drop(n: int, p: float) -> Any:
    made = get("torchnlp.nn:WeightDropLinear")(n, n, bias=False, weight_dropout=p)
    torch.nn.init.ones_(made.weight_raw)
    return made


def weight_dropout(n: int, p: float) -> Any:
    linear = torch.nn.Linear(n, n, bias=False)
    torch.nn.init.ones_(linear.weight)
    return get("fastai.text.models.awdlstm:WeightDropout")(linear, p, "weight")


CASES = [
    case(
        "transformers",
        "transformers.models.sew_d.modeling_sew_d:StableDropout",
        "edge",
        "transformers/models/sew_d/modeling_sew_d.py:531 divides by 0 at p = 1; line 585 takes a "
        "negative p and NaN for none",
        lines=STABLE,
    ),
    case(
        "transformers",
        "transformers.models.esm.modeling_esmfold:EsmFoldDropout",
        "pass",
        "transformers/models/esm/modeling_esmfold.py:1022: PyTorch's own, of a shared shape",
        shape=(512, 16, 8),
        arguments={"batch_dim": 1},
        options={"shape": (8, 16, 32)},
    ),
    case(
        "speechbrain",
        "speechbrain.nnet.dropout:Dropout2d",
        "pass",
        "speechbrain/nnet/dropout.py:48 to 78: PyTorch's, with the channels brought to its place",
        shape=(512, 8, 32),
        alone=True,
        missing=("speechbrain.utils.logger",),
    ),
    case(
        "speechbrain",
        "speechbrain.nnet.dropout:Dropout2d",
        "pass",
        "speechbrain/nnet/dropout.py:46: the rate is called drop_rate",
        name="Dropout2d(0.3), a layer",
        shape=(512, 8, 32),
        make=lambda: get("speechbrain.nnet.dropout:Dropout2d")(0.3),
        alone=True,
        missing=("speechbrain.utils.logger",),
    ),
    case(
        "speechbrain",
        "speechbrain.augment.time_domain:ChannelDrop",
        "fail",
        "speechbrain/augment/time_domain.py:1212 to 1215: no scale, no regard for training, one "
        "draw for the batch; any p is taken",
        shape=STEPS,
        definition="It is an augmentation of recordings, used in training alone by its caller.",
        lines=AUGMENTATION,
        alone=True,
        missing=("torchaudio",),
    ),
    case(
        "stanza",
        "stanza.models.common.dropout:LockedDropout",
        "edge",
        "stanza/models/common/dropout.py:49: 0 / 0 at p = 1",
        shape=(512, 8, 32),
        lines=NAN.format("LockedDropout"),
        alone=True,
    ),
    case(
        "stanza",
        "stanza.models.common.dropout:WordDropout",
        "fail",
        "stanza/models/common/dropout.py:19 to 21: dropped words are 0, the others as they were; "
        "any p is taken",
        shape=(512, 32, 8),
        definition=WORDS,
        lines=WORD_LINES,
        alone=True,
    ),
    case(
        "stanza",
        "stanza.models.constituency.partitioned_transformer:FeatureDropout",
        "edge",
        "stanza/models/constituency/partitioned_transformer.py:34: NaN passes for no dropout; a "
        "layer's p can be set after it is made",
        shape=(512, 8, 32),
        lines="layer = FeatureDropout(0.5)\nlayer.p = float('nan')\n"
        "print(layer(torch.ones(2, 2, 3)).flatten().tolist())",
        alone=True,
    ),
    case(
        "flair",
        "flair.nn.dropout:LockedDropout",
        "edge",
        "flair/nn/dropout.py:25: 0 / 0 at p = 1",
        shape=(512, 8, 32),
        lines=NAN.format("LockedDropout"),
        alone=True,
    ),
    case(
        "flair",
        "flair.nn.dropout:WordDropout",
        "fail",
        "flair/nn/dropout.py:49 to 52: a mask of 0 and 1",
        shape=(512, 32, 8),
        definition=WORDS,
        lines=WORD_LINES,
        alone=True,
    ),
    case(
        "supar",
        "supar.modules.dropout:SharedDropout",
        "edge",
        "supar/modules/dropout.py:63: 0 / 0 at p = 1",
        shape=(512, 8, 32),
        lines=NAN.format("SharedDropout"),
        alone=True,
    ),
    case(
        "supar",
        "supar.modules.dropout:IndependentDropout",
        "could not run",
        "supar/modules/dropout.py:107 to 113: takes several inputs, returns a list",
        lines=TWO_INPUTS,
        truth=two_inputs,
        alone=True,
    ),
    case(
        "supar",
        "supar.modules.dropout:IndependentDropout",
        "fail",
        "supar/modules/dropout.py:107 to 113: scaled by how many of several inputs are left",
        name="IndependentDropout, in a function of two lines",
        definition="what is left of several inputs makes up for what is dropped of the others",
        lines=TWO_INPUTS,
        truth=two_inputs,
        make=lambda: one_input,
        options={"shape": (64, 32, 8)},
        alone=True,
    ),
    case(
        "allennlp",
        "allennlp.modules.input_variational_dropout:InputVariationalDropout",
        "pass",
        "allennlp/modules/input_variational_dropout.py:31: PyTorch's own, one mask for all steps",
        shape=(512, 8, 32),
        alone=True,
    ),
    case(
        "allennlp",
        "allennlp.modules.residual_with_layer_dropout:ResidualWithLayerDropout",
        "could not run",
        "allennlp/modules/residual_with_layer_dropout.py:59 to 64: takes two tensors",
        lines=RESIDUAL,
        truth=residual,
        alone=True,
    ),
    case(
        "fastai",
        "fastai.text.models.awdlstm:RNNDropout",
        "edge",
        "fastai/text/models/awdlstm.py:22: 0 / 0 at p = 1",
        shape=(512, 8, 32),
        lines=RNN_AT_1,
    ),
    case(
        "fastai",
        "fastai.text.models.awdlstm:EmbeddingDropout",
        "could not run",
        "fastai/text/models/awdlstm.py:79 to 95: drops rows of a table; line 91 scales the table "
        "itself where nothing is dropped",
        lines=SCALED_TABLE,
        truth=scaled_table,
    ),
    case(
        "fastai",
        "fastai.text.models.awdlstm:EmbeddingDropout",
        "fail",
        "fastai/text/models/awdlstm.py:92: no padding index becomes -1, the last row for PyTorch, "
        "which then has no gradient; line 17: 0/0 at p = 1",
        name="EmbeddingDropout, in a function of four lines",
        lines=LAST_ROW,
        truth=last_row,
        make=lambda: rows_of_a_table,
        options={"shape": (64, 16)},
    ),
    case(
        "fastai",
        "fastai.text.models.awdlstm:WeightDropout",
        "pass",
        "fastai/text/models/awdlstm.py:56 to 58: PyTorch's own, of the weights",
        name="WeightDropout of a linear layer",
        lines=WRAPPED,
        make=lambda: weight_dropout(256, 0.3),
        truth=lambda: dropped_weights(
            lambda: weight_dropout(1000, 0.3), "module.weight"
        ),
        options={"p": 0.3},
    ),
    case(
        "pytorch-nlp",
        "torchnlp.nn:LockedDropout",
        "edge",
        "torchnlp/nn/lock_dropout.py:62: 0 / 0 at p = 1",
        shape=(8, 512, 32),
        options={"shape": (8, 64, 32), "batch_axis": 1},
        lines=NAN.format("LockedDropout"),
    ),
    case(
        "pytorch-nlp",
        "torchnlp.nn:WeightDropLinear",
        "fail",
        "torchnlp/nn/weight_drop.py:21: F.dropout gives the parameter itself back at rest, which "
        "then stands in the way of the next dropped weights",
        lines=AFTER_REST,
        make=lambda: weight_drop(256, 0.3),
        truth=after_rest,
        options={"p": 0.3},
    ),
    case(
        "tsai",
        "tsai.models.TabTransformer:FullEmbeddingDropout",
        "fail",
        "tsai/models/TabTransformer.py:76: no regard for training, one mask for the batch, "
        "0 / 0 at p = 1",
        shape=CHANNELS,
        options={"shape": CHANNELS},
        lines=COLUMNS,
        more=lambda: samples_alike("tsai.models.TabTransformer:FullEmbeddingDropout"),
        alone=True,
    ),
    case(
        "pytorch-widedeep",
        "pytorch_widedeep.models.tabular.embeddings_layers:FullEmbeddingDropout",
        "fail",
        "pytorch_widedeep/models/tabular/embeddings_layers.py:75: one mask for the batch; 0 / 0 at "
        "p = 1, which line 69 allows",
        shape=CHANNELS,
        options={"shape": CHANNELS},
        definition=FOR_THE_BATCH,
        lines=COLUMNS,
        more=lambda: samples_alike(
            "pytorch_widedeep.models.tabular.embeddings_layers:FullEmbeddingDropout"
        ),
        alone=True,
        missing=("pytorch_widedeep.wdtypes",),
    ),
]
