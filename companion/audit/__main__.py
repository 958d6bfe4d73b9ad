"""Audit an implementation by its name: python -m companion.audit package.module:name."""

import argparse
import importlib
import json
import sys
from functools import reduce
from typing import Any

from companion.audit import audit, audit_estimator


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return 0 if it passed, 1 if it failed, 2 if it could not be made."""
    parser = argparse.ArgumentParser(
        prog="python -m companion.audit",
        description="Is this dropout right? Exit status: 0 passed, 1 failed, 2 could not run.",
    )
    parser.add_argument("name", help="what to audit: package.module:name")
    parser.add_argument(
        "--p", type=float, default=0.5, help="drop probability (default 0.5)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    try:
        candidate = _named(given.name)
        check = audit_estimator if hasattr(candidate, "get_params") else audit
        report = check(candidate, p=given.p)
    except Exception as error:
        print(f"companion.audit could not run: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report.to_dict(), indent=2) if given.json else report)
    return 0 if report.passed else 1


def _named(name: str) -> Any:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ValueError(f"name must be package.module:name; got {name!r}")
    return reduce(getattr, path.split("."), importlib.import_module(module))


if __name__ == "__main__":
    sys.exit(main())
