"""Layers of PyTorch packages that drop at inference on purpose, or take what is no tensor."""

from typing import Any

import torch

from audit_world.cases import Figures
from audit_world.facts_torch import facts, get
from audit_world.torch_cases import case

MONTE_CARLO = "It drops at inference on purpose: Monte Carlo dropout."
STILL_DROPS = (
    "y = {0}(0.3).eval()(torch.ones(1000, 1000))\n"
    "print(f'rate {{(y == 0).float().mean():.4f}} at inference')"
)
NO_CHAIN = (
    "print('train() returns', {}(0.3).train())\n"
    "try:\n"
    "    ConsistentMCDropout(0.3)(torch.ones(4, 8))\n"
    "    layer = ConsistentMCDropout(0.3)\n"
    "    layer.eval()\n"
    "    layer(torch.ones(4, 8))\n"
    "except TypeError as error:\n"
    "    print('inference by itself:', error)"
)
PAIR = (
    "y, kl = Dropout(0.3)((torch.ones(1000, 1000), 0.0))\n"
    "print(f'rate {(y == 0).float().mean():.4f}, mean {y.mean():.4f}, kl {kl}')"
)
COMPLEX = (
    "from cplxmodule.cplx import Cplx\n"
    "x = torch.ones(1000, 1000)\n"
    "y = CplxDropout(0.3)(Cplx(x, x))\n"
    "print(f'rate {(y.real == 0).float().mean():.4f}, parts alike', bool((y.real == y.imag).all()))"
)
EMPTY = (
    "from cplxmodule.cplx import Cplx\n"
    "x = torch.ones(0, 8)\n"
    "try:\n"
    "    CplxDropout(0.3)(Cplx(x, x))\n"
    "except RuntimeError as error:\n"
    "    print(error)"
)
WRITES = (
    "layer, x = ConcreteLinearDropout(), torch.ones(4)\n"
    "layer(x.unsqueeze(0), torch.nn.Linear(4, 1))\n"
    "print(x)"
)
KEPT_MASK = (
    "layer, x = Dropout(0.3), torch.ones(64, 256)\n"
    "print('the same mask in the next call:', torch.equal(layer(x), layer(x)))"
)
EDGES = (
    "edges = torch.randint(100, (2, 100_000))\n"
    "kept, mask = dropout_edge(edges, p=0.3)\n"
    "print(f'kept {kept.shape[1] / edges.shape[1]:.4f} of the edges')"
)
LAYERS = (
    "y = LayerDropout(0.3)(lambda x: x + 1, torch.zeros(100_000, 1))\n"
    "print(f'left out for {(y == 0).float().mean():.4f} of the samples')"
)
SEQUENCE = (
    "y, mask = dropout_seq(torch.ones(8, 64, 4), None, 0.5)\n"
    "print('64 tokens become', y.shape[1])"
)


class Concrete(torch.nn.Module):
    """Concrete dropout of a layer that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = get("concretedropout.pytorch:ConcreteLinearDropout")()
        self.layer = torch.nn.Identity()
        self.layer.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.dropout(x, self.layer)


def first_of_pair(x: torch.Tensor, p: float, training: bool) -> Any:
    return get("bayesian_torch.layers.dropout:Dropout")(p).train(training)((x, 0.0))[0]


def real_part(x: torch.Tensor, p: float, training: bool) -> Any:
    pair = get("cplxmodule.cplx:Cplx")(x, x)
    return get("cplxmodule.nn:CplxDropout")(p).train(training)(pair).real


def facts_of(f: Any) -> Figures:
    return facts(lambda p: lambda x, training: f(x, p, training))


def consistent() -> Figures:
    path = "baal.bayesian.consistent_dropout:ConsistentDropout"
    made, x = get(path)(0.3).eval(), torch.ones(64, 256)
    alike = torch.equal(made(x), made(x))
    return {"inference repeats its mask": alike}


def in_inference() -> Figures:
    made = get("batchbald_redux.consistent_mc_dropout:ConsistentMCDropout")(0.3)
    get("batchbald_redux.consistent_mc_dropout:BayesianModule").k = 4
    nothing = made.eval()
    y = made(torch.ones(64, 256))
    get("batchbald_redux.consistent_mc_dropout:BayesianModule").k = None
    return {
        "eval() returns": repr(nothing),
        "rate at inference, four samples": round(float((y == 0).float().mean()), 4),
        "training returns": repr(made.train()),
    }


def soft() -> Figures:
    torch.manual_seed(0)
    made, x = Concrete(), torch.ones(1000, 1000)
    with torch.no_grad():
        y = made(x)
    return {
        "rate asked": 0.1,
        "under a half": round(float((y < 0.5).float().mean()), 4),
        "mean": round(float(y.mean()), 4),
        "input was 1 and is": sorted(round(v, 3) for v in x.flatten()[:4].tolist()),
        "inference": float((made.eval()(torch.ones(4, 4)) - 1).abs().max()),
    }


def kept_mask() -> Figures:
    torch.manual_seed(0)
    made, x = (
        get("spikingjelly.activation_based.layer:Dropout")(0.3),
        torch.ones(1000, 1000),
    )
    y, again = made(x), made(x)
    made.reset()
    return {
        "rate asked": 0.3,
        "rate": round(float((y == 0).float().mean()), 4),
        "mean": round(float(y.mean()), 4),
        "the same in the next call": torch.equal(y, again),
        "the same after reset()": torch.equal(y, made(x)),
        "inference": float((made.eval()(x) - x).abs().max()),
    }


def edges() -> Figures:
    torch.manual_seed(0)
    drop, index = (
        get("torch_geometric.utils:dropout_edge"),
        torch.randint(100, (2, 1_000_000)),
    )
    kept, mask = drop(index, p=0.3)
    return {
        "rate asked": 0.3,
        "rate": round(1 - kept.shape[1] / index.shape[1], 4),
        "mask agrees": torch.equal(index[:, mask], kept),
        "inference": torch.equal(drop(index, p=0.3, training=False)[0], index),
    }


def left_out() -> Figures:
    torch.manual_seed(0)
    made, x = (
        get("torchtune.modules.layer_dropout:LayerDropout")(0.3),
        torch.zeros(1_000_000, 1),
    )
    y = made(lambda x: x + 1, x)
    rest = made.eval()(lambda x: x + 1, x)
    return {
        "rate asked": 0.3,
        "rate": round(float((y == 0).float().mean()), 4),
        "kept": y.unique()[1:].tolist(),
        "inference": rest.unique().tolist(),
    }


def fewer() -> Figures:
    torch.manual_seed(0)
    y, _ = get("perceiver_pytorch.perceiver_io:dropout_seq")(
        torch.ones(8, 64, 4), None, 0.5
    )
    return {"tokens": 64, "kept": y.shape[1]}


def sentence() -> Figures:
    dropout = get("sentence_transformers.sentence_transformer.modules.dropout:Dropout")

    def f(x: torch.Tensor, p: float, training: bool) -> Any:
        return dropout(p).train(training)({"sentence_embedding": x})[
            "sentence_embedding"
        ]

    return facts_of(f)


BAYESIAN = "bayesian_torch.layers.dropout:Dropout"
CASES = [
    *(
        case(
            package,
            path,
            "fail",
            where,
            definition=MONTE_CARLO,
            lines=STILL_DROPS.format(path.split(":")[1]),
            more=more,
            alone=True,
        )
        for package, path, where, more in (
            (
                "baal",
                "baal.bayesian.dropout:Dropout",
                "baal/bayesian/dropout.py:41: training is True whatever the mode",
                None,
            ),
            (
                "baal",
                "baal.bayesian.consistent_dropout:ConsistentDropout",
                "baal/bayesian/consistent_dropout.py:45 to 47: a mask of inference, kept until "
                "eval() is called again",
                consistent,
            ),
            (
                "mc-dropout-pytorch",
                "mc_dropout_pytorch.mc_dropout_pytorch:MCDropout",
                "mc_dropout_pytorch/mc_dropout_pytorch.py:84: training is True whatever the mode",
                None,
            ),
        )
    ),
    case(
        "darts",
        "darts.utils.torch:MonteCarloDropout",
        "pass",
        "darts/utils/torch.py:44 and 50: off at inference until it is asked for",
        alone=True,
        missing=("darts.logging", "darts.utils.utils"),
    ),
    case(
        "batchbald-redux",
        "batchbald_redux.consistent_mc_dropout:ConsistentMCDropout",
        "fail",
        "batchbald_redux/consistent_mc_dropout.py:69 to 72: train() returns nothing; line 86 takes "
        "the number of samples from the model around it",
        definition=MONTE_CARLO,
        lines=NO_CHAIN.format("ConsistentMCDropout"),
        more=in_inference,
    ),
    case(
        "bayesian-torch",
        BAYESIAN,
        "could not run",
        "bayesian_torch/layers/dropout.py:25: takes and returns a pair",
        lines=PAIR,
        truth=lambda: facts_of(first_of_pair),
    ),
    case(
        "bayesian-torch",
        BAYESIAN,
        "pass",
        "bayesian_torch/layers/dropout.py:25: PyTorch's own",
        name="Dropout, in a function of two lines",
        lines=PAIR,
        make=lambda: first_of_pair,
        truth=lambda: facts_of(first_of_pair),
    ),
    case(
        "cplxmodule",
        "cplxmodule.nn:CplxDropout",
        "could not run",
        "cplxmodule/nn/modules/extra.py:15: takes a complex tensor of its own",
        lines=COMPLEX,
        truth=lambda: facts_of(real_part),
    ),
    case(
        "cplxmodule",
        "cplxmodule.nn:CplxDropout",
        "edge",
        "cplxmodule/nn/modules/extra.py:22: reshape(0, -1) of a batch without samples",
        name="CplxDropout, in a function of two lines",
        lines=EMPTY,
        make=lambda: real_part,
        truth=lambda: facts_of(real_part),
    ),
    case(
        "concretedropout",
        "concretedropout.pytorch:ConcreteLinearDropout",
        "could not run",
        "concretedropout/pytorch.py:80: takes a layer beside the tensor",
        lines=WRITES,
        truth=soft,
    ),
    case(
        "concretedropout",
        "concretedropout.pytorch:ConcreteLinearDropout",
        "fail",
        "concretedropout/pytorch.py:59 and 60: x *= and x /= write to the caller's tensor",
        name="ConcreteLinearDropout, in a module",
        lines=WRITES,
        make=Concrete,
        truth=soft,
    ),
    case(
        "spikingjelly",
        "spikingjelly.activation_based.layer:Dropout",
        "fail",
        "spikingjelly/activation_based/layer/dropout.py:109: a mask that is there is used again; "
        "p in [0, 1) by line 90",
        definition="The mask of a simulation stays until reset() is called, by its own words.",
        lines=KEPT_MASK,
        truth=kept_mask,
    ),
    case(
        "sentence-transformers",
        "sentence_transformers.sentence_transformer.modules.dropout:Dropout",
        "could not run",
        "sentence_transformers/sentence_transformer/modules/dropout.py:23: takes and returns a "
        "dictionary, with PyTorch's dropout of one entry",
        lines="x = {'sentence_embedding': torch.ones(1000, 1000)}\n"
        "y = Dropout(0.3)(x)['sentence_embedding']\n"
        'print(f"rate {(y == 0).float().mean():.4f}, mean {y.mean():.4f}")',
        truth=sentence,
    ),
    case(
        "torch-geometric",
        "torch_geometric.utils:dropout_edge",
        "could not run",
        "torch_geometric/utils/dropout.py:205 to 218: takes pairs of nodes and returns fewer",
        lines=EDGES,
        truth=edges,
    ),
    case(
        "torchtune",
        "torchtune.modules.layer_dropout:LayerDropout",
        "could not run",
        "torchtune/modules/layer_dropout.py:56: takes a function beside the tensor",
        lines=LAYERS,
        truth=left_out,
        alone=True,
        missing=("torchao",),
    ),
    case(
        "perceiver-pytorch",
        "perceiver_pytorch.perceiver_io:dropout_seq",
        "could not run",
        "perceiver_pytorch/perceiver_io.py:43 to 67: takes and returns a sequence and its mask",
        lines=SEQUENCE,
        truth=fewer,
    ),
]
