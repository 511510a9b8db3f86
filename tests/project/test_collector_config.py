"""The collectors' files and the records that this package makes agree with each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from axon_audit_otel.core import semconv
from axon_audit_otel.events.log_attributes import ATTRIBUTES, add_place, attributes_of

CONFIG = Path(__file__).parents[2] / "collector-config"
#: Attributes of users in other names, which applications give their own spans.
OF_OTHERS = {"enduser.id", "enduser.pseudo.id", "user.email"}
#: Free text: what was not masked in the application is masked there.
TEXTS = {semconv.AXON_PURPOSE}


def _of_a_record() -> set[str]:
    """Every attribute that the log record of an event can have."""
    event = {
        **dict.fromkeys(ATTRIBUTES, "x"),
        "event_id": "x",
        "operation": "STORE",
        "status": "SUCCESS",
        "session_id": "x",
        "entry_ids": ["x"],
        "duration_ms": 1.0,
    }
    clear = attributes_of({**event, "user_id": "x"}, "trail")
    hashed = attributes_of({**event, "user_id": f"{semconv.PSEUDONYM_PREFIX}x"}, "trail")
    add_place(clear, 2, "x", "x", "x")
    return {*clear, *hashed}


@pytest.mark.parametrize("name", ["all-in-one.yaml", "gateway.yaml"])
def test_ids_stay_what_they_are(name: str) -> None:
    """No id of a record is masked, though it may look like the number of a card."""
    redaction = yaml.safe_load((CONFIG / name).read_text("utf-8"))["processors"]["redaction"]
    assert set(redaction["ignored_keys"]) == (_of_a_record() - TEXTS) | OF_OTHERS
    assert redaction["ignored_keys"] == sorted(redaction["ignored_keys"])
