"""Every figure the chapters draw: same size of type, colour-blind-safe, white ground."""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError:
    raise ImportError(
        'companion.plots needs Matplotlib: pip install "dropout-companion[plots]"'
    ) from None

from companion.plots.comparisons import gain_grid, gains, p_curves, rate_curves
from companion.plots.counters import avalanche, bits_and_bound, philox_round
from companion.plots.graphs import (
    language_models,
    layer_in_two_modes,
    memory,
    random_graph,
)
from companion.plots.masks import (
    dropped_layer,
    feature_maps,
    mask_grid,
    masked_network,
    survivors,
    thinned_networks,
)
from companion.plots.reports import detection, tallies, verdicts
from companion.plots.scaling import (
    ensemble_sizes,
    mean_and_variance,
    preactivations,
    reliability,
    running_moments,
    scale_sweep,
    scalings,
    thinned_predictions,
)
from companion.plots.style import (
    BLACK,
    BLUE,
    DROPPED,
    GREEN,
    GREY,
    KEPT,
    ORANGE,
    PALE,
    PURPLE,
    STYLE,
    WIDTH,
    WITH,
    WITHOUT,
)
from companion.plots.text import describe, describe_in_notebooks
from companion.plots.training import (
    gradient_errors,
    paired_differences,
    pairing,
    places,
    repeated_predictions,
    stored_curves,
    two_joints,
    variance_shift,
)

__all__ = [
    "BLACK",
    "BLUE",
    "DROPPED",
    "GREEN",
    "GREY",
    "KEPT",
    "ORANGE",
    "PALE",
    "PURPLE",
    "STYLE",
    "WIDTH",
    "WITH",
    "WITHOUT",
    "avalanche",
    "bits_and_bound",
    "describe",
    "detection",
    "dropped_layer",
    "ensemble_sizes",
    "feature_maps",
    "gain_grid",
    "gains",
    "gradient_errors",
    "language_models",
    "layer_in_two_modes",
    "mask_grid",
    "masked_network",
    "mean_and_variance",
    "memory",
    "p_curves",
    "paired_differences",
    "pairing",
    "philox_round",
    "places",
    "preactivations",
    "random_graph",
    "rate_curves",
    "reliability",
    "repeated_predictions",
    "running_moments",
    "scale_sweep",
    "scalings",
    "stored_curves",
    "survivors",
    "tallies",
    "thinned_networks",
    "thinned_predictions",
    "two_joints",
    "variance_shift",
    "verdicts",
]

describe_in_notebooks()
