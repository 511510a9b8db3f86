"""One person in a trail: the names under which events may have him, and where they do."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.semconv import ERASABLE_PREFIX, PSEUDONYM_PREFIX
from ..events.identifiers import checked_id, digest_of, is_digest
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.policy import PrivacyPolicy
from ..verification.erasure import stands_for

__all__ = ["Person", "is_hidden"]


def is_hidden(name: str) -> bool:
    """True if *name* stands for a person: hashed, encrypted, or a digest."""
    return name.startswith((PSEUDONYM_PREFIX, ERASABLE_PREFIX)) or is_digest(name)


class Person:
    """A person, as the events of an archive name him.

    Args:
        user_id: The id, as the application has it; or what stands for it in events: its hash, or
            the token of a person whose keys are destroyed (``erasable:<token>``).
        policy: Knows the other names, as far as it has the secret and the keys.

    Attributes:
        id: The id.
        names: All names under which events may have been recorded.
        is_erased: True if the id is the token of a person whose keys are destroyed.

    Raises:
        InvalidEventError: If *user_id* is no id.
        ArchiveError: If the keys cannot be read.
    """

    def __init__(self, user_id: str, policy: PrivacyPolicy) -> None:
        self.id = checked_id("user_id", user_id)
        forms = policy.forms(self.id)
        found = (policy.asking(Query(subject_id=form)).keys["subject_id"] for form in forms)
        self.names = frozenset((*forms, *(name for some in found for name in some)))
        self._parts = frozenset(map(stands_for, self.names))
        self._digests = frozenset(map(digest_of, self.names))
        self.is_erased = self.id.startswith(ERASABLE_PREFIX)
        self._has_tokens = any(part.startswith(ERASABLE_PREFIX) for part in self._parts)

    def has_name(self, name: str | None) -> bool:
        """True if *name* is one of the person's, as recorded or readable."""
        if name is None or name in self.names:
            return name is not None
        return self._has_tokens and stands_for(name) in self._parts

    def is_among(self, subjects: Iterable[str]) -> bool:
        """True if one of the *subjects* of an event is the person, by name."""
        if not self.names.isdisjoint(subjects):
            return True
        return self._has_tokens and any(map(self.has_name, subjects))

    def is_digested_in(self, event: AuditEvent) -> bool:
        """True if a digest in the subjects of *event*, which could not name all, is his."""
        subjects = event.subjects
        return bool(subjects) and is_digest(subjects[-1]) and not self._digests.isdisjoint(subjects)

    def is_subject(self, event: AuditEvent) -> bool:
        """True if *event*, as recorded, says that it touched data of the person."""
        if event.subject_id is not None and self.has_name(event.subject_id):
            return True
        subjects = event.subjects
        return bool(subjects) and (self.is_among(subjects) or self.is_digested_in(event))

    def is_actor(self, event: AuditEvent) -> bool:
        """True if the person did it, as a user or an agent, or it was done for him."""
        actors = event.user_id, event.agent_id, event.on_behalf_of
        if self._has_tokens:
            return any(map(self.has_name, actors))
        return not self.names.isdisjoint(actors)
