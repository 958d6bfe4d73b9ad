"""Is your dropout right? Checks for any implementation, for an estimator, for a whole model."""

from typing import TYPE_CHECKING, Any

from companion.audit.adapters import Adapter
from companion.audit.estimator import audit_estimator
from companion.audit.layer import audit
from companion.audit.report import AuditReport, Check

if TYPE_CHECKING:
    from companion.audit.model import audit_model

__all__ = ["Adapter", "AuditReport", "Check", "audit", "audit_estimator", "audit_model"]


def __getattr__(name: str) -> Any:
    if name == "audit_model":  # only this one needs PyTorch
        from companion.audit.model import audit_model

        return audit_model
    raise AttributeError(f"module 'companion.audit' has no attribute {name!r}")
