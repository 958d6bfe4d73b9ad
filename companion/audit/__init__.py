"""Is your dropout right? Checks for any implementation, for an estimator, for a whole model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from companion.audit.adapters import Adapter
    from companion.audit.estimator import audit_estimator
    from companion.audit.layer import audit
    from companion.audit.model import audit_model
    from companion.audit.report import AuditReport, Check

__all__ = ["Adapter", "AuditReport", "Check", "audit", "audit_estimator", "audit_model"]

_HOMES = {  # imported when they are used: one needs PyTorch, and pytest loads the plugin of all
    "Adapter": "adapters",
    "AuditReport": "report",
    "Check": "report",
    "audit": "layer",
    "audit_estimator": "estimator",
    "audit_model": "model",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"companion.audit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'companion.audit' has no attribute {name!r}")
