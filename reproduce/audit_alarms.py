"""How often does the audit fail a right implementation, and how small a mistake does it see?

A thousand audits of a right dropout as they are by default, 400 with a false-alarm rate of 5%
allowed for the whole report, and 40 each of dropouts whose rate is off by a little. The results
stand in audit_alarms.json beside this file. A run that is in it already is not repeated; delete
the file to begin again. Run it with ``make reproduce``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from runs import Run, run_missing

from companion import inverted
from companion.audit import audit
from companion.masks import bernoulli_mask

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "blocks of 20 audits of one layer"
OFF_BY = (0.0004, 0.0006, 0.0008, 0.001, 0.0012, 0.0016)
BEGINNING = {"audits": 2}
SETTINGS: dict[str, Any] = {"p": 0.5, "shape": [64, 256], "audits": 20}


def off_by(
    excess: float, x: np.ndarray, p: float, training: bool, rng: np.random.Generator
) -> np.ndarray:
    """Drop with probability p + excess, and scale as if it were p."""
    if not training or p in (0, 1):
        return inverted.dropout(x, p, training=training, rng=rng)
    mask = bernoulli_mask(x.shape, p + excess, rng=rng)
    return inverted.dropout(x, p, mask=mask)


def run(alpha: float, excess: float, block: int, audits: int | None = None) -> Run:
    """For each audit of one block, the name of the first check that fails, or none."""

    def candidate(
        x: np.ndarray, p: float, training: bool, rng: np.random.Generator
    ) -> np.ndarray:
        return off_by(excess, x, p, training, rng)

    failed = []
    for i in range(audits or SETTINGS["audits"]):
        seed = block * SETTINGS["audits"] + i
        shape = tuple(SETTINGS["shape"])
        report = audit(candidate, p=SETTINGS["p"], shape=shape, alpha=alpha, seed=seed)
        failed.append(report.failures[0].name if report.failures else "")
    return {"failed": failed}


def wanted_runs() -> list[Run]:
    right = [(1e-6, 0.0, 1000), (0.05, 0.0, 400)]
    wrong = [(1e-6, excess, 40) for excess in OFF_BY]
    return [
        {"alpha": alpha, "excess": excess, "block": block}
        for alpha, excess, audits in right + wrong
        for block in range(audits // SETTINGS["audits"])
    ]


def main() -> None:
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "scipy"))


if __name__ == "__main__":
    main()
