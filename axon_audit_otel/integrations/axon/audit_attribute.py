"""Keeps the SDK's own audit code from logging what is recorded already."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from ...operations.operation import current
from ...trail.audit_logger import AuditLogger
from .methods import METHODS

__all__ = ["AuditAttribute"]

_NAME = "audit_logger"


class AuditAttribute:
    """Stands for the attribute ``audit_logger`` of a class of systems while it is set there.

    The SDK's methods end with ``if self.audit_logger: await self.audit_logger.log_event(...)``.
    That would be a second event of one operation; and it raises where an entry's privacy level
    is a text, although the entry is stored. So these methods read None while an operation of
    that logger runs. Everybody else reads the logger.

    Args:
        module: The SDK's module with these methods.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._classes: list[type] = []

    def attach(self, cls: type) -> None:
        """Be that attribute of *cls*."""
        setattr(cls, _NAME, self)
        self._classes.append(cls)

    def detach(self) -> None:
        """Be it no longer."""
        for cls in self._classes:
            if vars(cls).get(_NAME) is self:
                delattr(cls, _NAME)

    def __get__(self, system: Any, owner: type | None = None) -> Any:
        if system is None:
            raise AttributeError(_NAME)
        try:
            audit = system.__dict__[_NAME]
        except KeyError:
            raise AttributeError(_NAME) from None
        operation = current()
        if operation is None or not isinstance(audit, AuditLogger):
            return audit
        is_recorded = operation.trail is audit.trail
        return None if is_recorded and self._is_audited(sys._getframe(1)) else audit

    def __set__(self, system: Any, audit: Any) -> None:
        system.__dict__[_NAME] = audit

    def __delete__(self, system: Any) -> None:
        del system.__dict__[_NAME]

    def _is_audited(self, reader: FrameType) -> bool:
        """Whether the SDK's own code of an audited method reads the attribute."""
        if reader.f_code.co_name not in METHODS:
            return False
        return bool(reader.f_globals.get("__name__") == self._module)
