"""For pytest, which loads it by itself: a dropout that is audited in one line of a test.

The fixture `audit_dropout` audits what it is given, and fails the test with the report::

    def test_my_dropout(audit_dropout):
        audit_dropout(MyDropout, shape=(8, 16, 10, 10))

The marker `dropout` does so with what the test returns::

    @pytest.mark.dropout(p=0.1, skip={"DR202": "the caller checks p"})
    def test_my_dropout():
        return MyDropout

What is given besides goes to `companion.audit.audit`. Failures at the edges alone are warnings;
with ``edges=True`` they fail the test too.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from companion.audit.report import AuditReport


class DropoutWarning(UserWarning):
    """A dropout fails at the edges alone."""


@pytest.fixture(scope="session")
def audit_dropout() -> "Callable[..., AuditReport]":
    """Audit a layer, function or estimator; fail the test with the report if it is not right."""
    return _audit


def _audit(candidate: Any, *, edges: bool = False, **settings: Any) -> "AuditReport":
    __tracebackhide__ = True
    from companion.audit.process import audited  # what needs SciPy, when it is needed

    report = audited(candidate, settings)
    if report.obstacle or report.core or (edges and report.edges):
        pytest.fail(str(report), pytrace=False)
    if report.edges:
        warnings.warn(str(report), DropoutWarning, stacklevel=2)
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "dropout(edges=False, p=None, shape=None, skip=None, ...): audit the dropout that the "
        "test returns; the arguments are those of companion.audit.audit.",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    __tracebackhide__ = True
    marker = pyfuncitem.get_closest_marker("dropout")
    if marker is None:
        return (yield)
    test, returned = pyfuncitem.obj, []
    pyfuncitem.obj = lambda **given: returned.append(test(**given))
    try:
        result = yield
    finally:
        pyfuncitem.obj = test
    _audit(*returned, **marker.kwargs)
    return result
