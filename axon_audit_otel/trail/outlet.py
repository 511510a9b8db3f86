"""The way of a trail's events to OpenTelemetry."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol
from weakref import ref

from ..events.draft import Draft

__all__ = ["Outlet"]

_UNSENT = 10_000  # events that wait for a logger provider at most


class RecordSender(Protocol):
    """Sends log records."""

    @property
    def provider(self) -> Any:
        """The logger provider that they go through; None: none."""

    def send_unsent(self) -> None:
        """Send what is `unsent`. Never raises."""


class Outlet:
    """Events that the trail recorded by itself, until OpenTelemetry has seen them.

    Attributes:
        unsent: They wait for a provider, and for the trail's lock to be released.
        unsent_lost: How many of them had to leave, since the last look.
    """

    def __init__(self) -> None:
        self.unsent: deque[Draft] = deque()
        self.unsent_lost = 0
        self._sender: ref[RecordSender] | None = None

    def connect(self, sender: RecordSender) -> None:
        """Let *sender* send, as long as it lives."""
        self._sender = ref(sender)

    @property
    def provider(self) -> Any:
        """The logger provider that records go through; None: none."""
        sender = None if self._sender is None else self._sender()
        return None if sender is None else sender.provider

    def add(self, draft: Draft) -> None:
        """Have *draft* sent when the lock is released."""
        if len(self.unsent) >= _UNSENT:
            self.unsent.popleft()
            self.unsent_lost += 1
        self.unsent.append(draft)

    def send(self) -> None:
        """Send what waits; under no lock."""
        sender = None if self._sender is None else self._sender()
        if sender is not None:
            sender.send_unsent()

    def begin_after_fork(self) -> None:
        """With nothing that waits: the parent sends it."""
        self.unsent.clear()
        self.unsent_lost = 0
