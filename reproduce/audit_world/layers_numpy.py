"""Layers of packages made with NumPy alone: one reader's, one course's, one product's."""

from functools import partial
from typing import Any

from audit_world import numpy_steps as steps
from audit_world.cases import Case, Verdict

WIDE = {"dtypes": ("float64",)}  # every tensor of the package is of this dtype
NARROW = {"dtypes": ("float32",)}


def case(
    package: str,
    name: str,
    step: steps.Step,
    expected: Verdict,
    lines: str,
    confirmed: str,
    **more: Any,
) -> Case:
    make, truth = partial(steps.OnNumPy, step), partial(steps.figures, step)
    if step is steps.nano_keras:  # a layer a row
        truth = partial(steps.figures, step, n=200)
    if step is steps.minigrad_2d:
        truth = partial(steps.figures, step, shape=(2000, 50, 2, 2))
    return Case(package, name, make, expected, truth, lines, confirmed, **more)


def forward(layer: str, *more: str) -> str:
    """Lines that drop among ones and print the share of zeros, and the largest and mean value."""
    start = ["import numpy as np", *more, "np.random.seed(0)"]
    end = f"y = {layer}", "print((y == 0).mean(), y.max(), y.mean())"
    return "\n".join([*start, *end])


HASHABLE = "import collections, collections.abc\ncollections.Hashable = collections.abc.Hashable"
AT_ONE = "all p = 1 gives is 0 / 0: NaN"

CASES = [
    case(
        "caspian-ml",
        "Dropout",
        steps.caspian,
        "fail",
        """import numpy as np
from caspian.layers import Dropout
layer = Dropout(0.3)
print(layer(np.ones(8), True), layer.backward(np.ones(8)))""",
        "caspian/layers/Dropout.py:62: 1.0 / 1.0 - chance for 1.0 / (1.0 - chance), so survivors "
        "are multiplied by 1 - p; :85: the gradient is masked, not scaled",
    ),
    case(
        "numpy-ml",
        "wrappers.Dropout",
        steps.numpy_ml,
        "fail",
        HASHABLE
        + """
import numpy as np
from numpy_ml.neural_nets.layers import Flatten
from numpy_ml.neural_nets.wrappers import Dropout
layer = Dropout(Flatten("first"), 0.5)
print(layer.forward(np.ones((1, 8))), layer.backward(np.ones((1, 8))))""",
        "numpy_ml/neural_nets/wrappers/wrappers.py:231: backward scales the gradient and never "
        "applies the mask; :210: the scale is put on what the wrapped layer returns, bias and all",
    ),
    case(
        "neograd",
        "Dropout",
        steps.neograd,
        "fail",
        """import numpy as np
import neograd
from neograd.nn.layers import Dropout
print(Dropout(0.5)(neograd.tensor(np.ones(8))).data)""",
        "neograd/nn/layers/misc.py:108: returns inputs.data, not the result, so nothing is ever "
        "dropped; :122: the gradient function of the mask is overwritten by the identity",
        options=WIDE,
    ),
    case(
        "nano-keras",
        "Dropout, weights of the identity",
        steps.nano_keras,
        "fail",
        """import numpy as np
from audit_world.numpy_steps import nano_keras
y, back = nano_keras(np.ones((1, 8)), 0.5, True)
print(y, back(np.ones((1, 8))))""",
        "nano_keras/layers/Dropout.py:81-84: backpropagate scales by 1 / (1 - p) and never "
        "applies the mask, for the input as for the weights",
        options={"shape": (16, 64)},
    ),
    case(
        "dpln",
        "nn.Dropout",
        steps.dpln,
        "fail",
        """import numpy as np
import dpln
from dpln import nn
model = nn.Sequential(nn.Dropout(0.5))
print(hasattr(model, "eval"), hasattr(model, "training"), model(dpln.Tensor(np.ones(8))).data)""",
        "dpln/nn/modules/dropout.py:13: calls F.dropout without `training`, which is True by "
        "default, and no module has a mode: a model that was trained goes on dropping",
    ),
    case(
        "neuralflow-cpu",
        "Dropout",
        steps.neuralflow,
        "edge",
        """import numpy as np
from neuralflow.model import Dropout
layer = Dropout(0.5)
print(layer(np.ones(8)), end=" ")
layer.train_flg = False
print(layer(np.ones(8)))""",
        "neuralflow/model.py:910, 912: dropout as it was first written down, multiplied by the "
        "mask in training and by 1 - p at rest; no rate is refused",
    ),
    case(
        "neuralnetlib",
        "Dropout",
        steps.neuralnetlib,
        "edge",
        forward(
            "Dropout(0.3).forward_pass(np.ones(100_000))",
            "from neuralnetlib.layers import Dropout",
        ),
        "neuralnetlib/layers.py:336-341: masks drawn, divided by 1 - p and kept for the gradient; "
        "p <= 0 and p >= 1 are taken as 0 and 1; the mask is float64, and so the result",
    ),
    case(
        "neuralnetlib",
        "Dropout(adaptive=True)",
        steps.neuralnetlib_adaptive,
        "fail",
        """import numpy as np
from neuralnetlib.layers import Dropout
np.random.seed(0)
layer = Dropout(0.5, adaptive=True)
for x in np.ones(100_000), np.random.standard_normal(100_000):
    print((layer.forward_pass(x) == 0).mean())""",
        "neuralnetlib/regularizers.py:160-162: the rate falls with the variance of the input and "
        "is kept between 0.1 and 0.9",
        definition="an adaptive rate, which is not the one that was asked for",
    ),
    case(
        "kronyx",
        "Dropout",
        steps.kronyx,
        "edge",
        forward(
            "Dropout(0.3).forward(np.ones(100_000))",
            "from kronyx.layers import Dropout",
        ),
        "kronyx/layers.py:138-139: right; :114 refuses p < 0 and p >= 1, as documented, and lets "
        "NaN through",
    ),
    case(
        "kerasN",
        "Dropout",
        steps.kerasn,
        "edge",
        forward(
            "Dropout(0.3).forward(np.ones(100_000))",
            "from kerasN.layers import Dropout",
        ),
        f"kerasN/layers/dropout.py:32-43: right; {AT_ONE}; no rate is refused",
    ),
    case(
        "knoxtinytorch",
        "Dropout",
        steps.tinytorch,
        "edge",
        forward(
            "Dropout(0.3).forward(np.ones(100_000))",
            "from tinytorch.layers import Dropout",
        ),
        f"tinytorch/layers.py:59-68: right; {AT_ONE}; no rate is refused; the mask is float64",
    ),
    case(
        "blocknn",
        "Dropout",
        steps.blocknn,
        "edge",
        forward(
            "Dropout(0.3).forward(np.ones(100_000))",
            "from blocknn.layers import Dropout",
        ),
        f"blocknn/layers.py:85-89: right; {AT_ONE}; no rate is refused; the mask is float64",
    ),
    case(
        "maji-nn",
        "Dropout",
        steps.maji,
        "edge",
        forward(
            "layer.output",
            "from maji.neural_network import Dropout",
            "layer = Dropout(0.3)",
            "layer.forward(np.ones(100_000), True)",
        ),
        f"maji/neural_network.py:83-88: right; {AT_ONE}; the mask is float64",
    ),
    case(
        "mpneuralnetwork",
        "Dropout",
        steps.mpneuralnetwork,
        "edge",
        forward(
            "Dropout(0.3).forward(np.ones(100_000))",
            "from mpneuralnetwork.layers import Dropout",
        ),
        f"mpneuralnetwork/layers/layer1d.py:186: right; {AT_ONE}; the mask is float32",
    ),
    case(
        "mayini-framework",
        "Dropout",
        steps.mayini,
        "edge",
        """import numpy as np
from mayini.nn import Dropout
from mayini.tensor import Tensor
print(Dropout(0.3)(Tensor(np.ones(8))).data, Dropout(1.0)(Tensor(np.ones(3))).data)""",
        "mayini/nn/modules.py:546-552: right; :537 takes p = 1, which gives 0 / 0: NaN; the mask "
        "is float32",
    ),
    case(
        "dezero",
        "functions.dropout",
        steps.dezero,
        "edge",
        forward(
            "dropout(np.ones(100_000), 0.3).data",
            "np.int = int",
            "from dezero.functions import dropout",
        ),
        f"dezero/functions.py:516-518: right; {AT_ONE}; no rate is refused",
    ),
    case(
        "neutro",
        "Dropout",
        steps.neutro,
        "edge",
        forward(
            "Dropout(0.3).forward(Tensor(np.ones(100_000)), training=True).data",
            "from neutro.autograd import Tensor",
            "from neutro.layers import Dropout",
        ),
        f"neutro/layers/core/dropout.py:34-37: right; {AT_ONE}",
        options=WIDE,
    ),
    case(
        "euclid-ml",
        "Dropout",
        steps.euclid,
        "edge",
        forward(
            "Dropout(0.3)(Tensor(np.ones(100_000))).data",
            "from euclid.core.tensor import Tensor",
            "from euclid.neural_network.layers.dropout import Dropout",
        ),
        f"euclid/neural_network/layers/dropout.py:19-26: right; {AT_ONE}; no rate is refused",
        options=NARROW,
    ),
    case(
        "nnetflow",
        "Dropout",
        steps.nnetflow,
        "edge",
        forward(
            "Dropout(0.3)(Tensor(np.ones(100_000))).data",
            "from nnetflow.engine import Tensor",
            "from nnetflow.layers import Dropout",
        ),
        "nnetflow/layers.py:549-550: right; :542 asserts p < 1 and says [0.0, 1.0]; the mask is "
        "float32, for an input of float16 as well",
    ),
    case(
        "neuroforge-dl",
        "Dropout",
        steps.neuroforge,
        "pass",
        forward(
            "Dropout(0.3)(Tensor(np.ones(100_000))).data",
            "from neuroforge.core.tensor import Tensor",
            "from neuroforge.nn.layers.dropout import Dropout",
        ),
        "neuroforge/nn/layers/dropout.py:21-31: right; :14 refuses what is not in [0, 1)",
        options=NARROW,
        files=("neuroforge/nn/layers/dropout.py",),
    ),
    case(
        "mangograd",
        "Dropout",
        steps.mangograd,
        "pass",
        forward(
            "Dropout(0.3)(Tensor(np.ones(100_000))).data",
            "from mangograd.nn import Dropout",
            "from mangograd.tensor import Tensor",
        ),
        "mangograd/nn.py:144-151: right; :132 refuses what is not in [0, 1)",
        options=WIDE,
    ),
    case(
        "minigrad-framework",
        "Dropout",
        steps.minigrad,
        "pass",
        forward(
            "Dropout(0.3)(Tensor(np.ones(100_000))).data",
            "from minigrad.nn.dropout import Dropout",
            "from minigrad.tensor import Tensor",
        ),
        "minigrad/nn/dropout.py:48-60: right; :34 refuses what is not in [0, 1)",
    ),
    case(
        "minigrad-framework",
        "Dropout2D",
        steps.minigrad_2d,
        "pass",
        forward(
            "Dropout2D(0.3)(Tensor(np.ones((1000, 100, 2, 2)))).data",
            "from minigrad.nn.dropout import Dropout2D",
            "from minigrad.tensor import Tensor",
        ),
        "minigrad/nn/dropout.py:89-100: whole channels, each sample its own",
        options={"shape": (16, 64, 3, 3)},
    ),
]
