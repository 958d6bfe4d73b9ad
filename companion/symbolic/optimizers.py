"""An optimiser whose steps are part of the graph."""

from collections.abc import Sequence

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable

from companion.symbolic.graph import shared


def adam(
    loss: Variable, params: Sequence[SharedVariable], learning_rate: float = 0.002
) -> list[tuple[SharedVariable, Variable]]:
    """Return one step of Adam as pairs for the ``updates`` of ``pytensor.function``.

    Parameters
    ----------
    loss : symbolic scalar
        What to make smaller.
    params : sequence of shared variables
        What to change, all of one floating dtype.
    learning_rate : float
        The step size, called alpha in [1]_.

    Returns
    -------
    list of (shared variable, its next value)
        The parameters, and the optimiser's own state.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1
       and the reordering at the end of section 2.

    Examples
    --------
    >>> w = pytensor.shared(np.float64(1.0))
    >>> step = pytensor.function([], w, updates=adam(w**2, [w], learning_rate=0.1))
    >>> _ = step()
    >>> float(w.get_value().round(6))
    0.9
    """
    dtype = params[0].dtype
    rate, beta1, beta2, epsilon = np.array([learning_rate, 0.9, 0.999, 1e-8], dtype)
    one = np.ones((), dtype)
    t = pytensor.shared(np.zeros((), dtype), name="t")
    rate = rate * pt.sqrt(one - beta2 ** (t + one)) / (one - beta1 ** (t + one))
    updates = [(t, t + one)]
    for param, grad in zip(params, pt.grad(loss, params), strict=True):
        m, v = (shared(np.zeros_like(param.get_value()), name) for name in "mv")
        next_m = beta1 * m + (one - beta1) * grad
        next_v = beta2 * v + (one - beta2) * grad**2
        change = rate * next_m / (pt.sqrt(next_v) + epsilon)
        updates += [(m, next_m), (v, next_v), (param, param - change)]
    return updates
