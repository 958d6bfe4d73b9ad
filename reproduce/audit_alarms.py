"""How often does the audit fail a right implementation, and how small a mistake does it see?

A thousand audits of right dropouts, forty of each of 25, as audits are by default; 400 of one
with a false-alarm rate of 5% allowed for the whole report; and 40 each of dropouts whose rate is
off by a little, 20 where whole samples are dropped. The results
stand in audit_alarms.json beside this file. A run that is in it already is not repeated; delete
the file to begin again. Run it with ``make reproduce``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from audit_right import RIGHT
from runs import Run, run_missing

from companion import inverted
from companion.audit import audit
from companion.masks import bernoulli_mask

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "blocks of 20 audits of one dropout"
OFF_BY = (0.0004, 0.0006, 0.0008, 0.001, 0.0012, 0.0016)
USUAL = "NumPy, inverted"  # the one whose rate is off
BEGINNING = {"audits": 2}
SETTINGS: dict[str, Any] = {"audits": 20}


def off_by(excess: float, whole: bool) -> Callable[..., np.ndarray]:
    """Drop units, or whole samples, with probability p + excess, and scale as if it were p."""

    def candidate(
        x: np.ndarray, p: float, training: bool, rng: np.random.Generator
    ) -> np.ndarray:
        if not training or p in (0, 1):
            return inverted.dropout(x, p, training=training, rng=rng)
        shared = range(1, x.ndim) if whole else ()
        mask = bernoulli_mask(x.shape, p + excess, rng=rng, shared_axes=tuple(shared))
        return inverted.dropout(x, p, mask=mask)

    return candidate


def run(
    alpha: float, dropout: str, excess: float, block: int, audits: int | None = None
) -> Run:
    """For each audit of one block, the name of the first check that fails, or none."""
    failed = []
    for i in range(audits or SETTINGS["audits"]):
        candidate, options = RIGHT[dropout].make(), RIGHT[dropout].options
        if excess:
            candidate = off_by(excess, whole=dropout == "paths")
        seed = block * SETTINGS["audits"] + i
        report = audit(candidate, alpha=alpha, seed=seed, **options)
        failures = report.failures
        failed.append(failures[0].name if failures else report.obstacle)
    return {"failed": failed}


def wanted_runs() -> list[Run]:
    blocks = [(1e-6, name, 0.0, 40) for name in RIGHT]
    blocks += [(0.05, USUAL, 0.0, 400)]
    blocks += [(1e-6, USUAL, e, 40) for e in OFF_BY]
    blocks += [(1e-6, "paths", e, 20) for e in OFF_BY]
    return [
        {"alpha": alpha, "dropout": name, "excess": excess, "block": block}
        for alpha, name, excess, audits in blocks
        for block in range(audits // SETTINGS["audits"])
    ]


def main() -> None:
    packages = ("numpy", "scipy", "torch", "pytensor", "keras")
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, packages)


if __name__ == "__main__":
    main()
