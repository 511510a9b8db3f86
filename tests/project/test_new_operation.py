"""Who adds an operation is told of every table that must know it (CONTRIBUTING.md)."""

from __future__ import annotations

from axon_audit_otel import OperationType
from axon_audit_otel.core.semconv import SPAN_ATTRIBUTES
from axon_audit_otel.evidence.dossier_words import OPERATIONS
from axon_audit_otel.evidence.siem.ocsf import ACTIVITIES

#: Not what somebody does to a memory.
RECORDS = {OperationType.AUDIT.value, OperationType.OTHER.value}
#: Several activities at once: OCSF has none for it.
WITHOUT_ACTIVITY = {OperationType.TRANSACTION.value}


def test_tables_of_operations() -> None:
    """Each operation has words for people, attributes of its span and an activity of OCSF."""
    every = {operation.value for operation in OperationType}
    assert set(OPERATIONS) == every
    assert set(SPAN_ATTRIBUTES) == every - RECORDS
    assert set(ACTIVITIES) == every - RECORDS - WITHOUT_ACTIVITY
