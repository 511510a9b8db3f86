"""Keeps the SDK's own audit code from logging what is recorded already."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from ...operations.operation import current
from ...trail.audit_logger import AuditLogger
from ..wrappers import InstanceAttribute
from .methods import METHODS

__all__ = ["AuditAttribute"]


class AuditAttribute(InstanceAttribute):
    """Stands for the attribute ``audit_logger`` of systems.

    The SDK's methods end with ``if self.audit_logger: await self.audit_logger.log_event(...)``.
    That would be a second event of one operation; and it raises where an entry's privacy level
    is a text, although the entry is stored. So these methods read None while an operation of
    that logger runs. All other code reads the logger.

    Args:
        module: The SDK's module with these methods.
    """

    def __init__(self, module: str) -> None:
        super().__init__("audit_logger")
        self._module = module

    def read(self, holder: Any, value: Any) -> Any:
        operation = current()
        if operation is None or not isinstance(value, AuditLogger):
            return value
        is_recorded = operation.trail is value.trail
        return None if is_recorded and self._is_audited(sys._getframe(2)) else value

    def _is_audited(self, reader: FrameType) -> bool:
        """Return True if the SDK's own code of an audited method reads the attribute."""
        if reader.f_code.co_name not in METHODS:
            return False
        return bool(reader.f_globals.get("__name__") == self._module)
