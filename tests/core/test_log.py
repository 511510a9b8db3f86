"""What the log gets from a stranger is one short line without secrets."""

from __future__ import annotations

import pytest

from axon_audit_otel.core.errors import harmless
from axon_audit_otel.core.log import logger

WORDS = [
    "two\nlines",
    "\x1b[31mred\x1b[0m",
    "\r2026-01-01 forged",
    "\u202eback\u2066wards",
    "\u2028\u2029\x85\x00\x9b\x7f",
    "x" * 100_000,
    "http://user:quetzal-1@host/",
    "authorization: Bearer quetzal-1-quetzal-1",
    "PRIVATE+KEY+prod+00000000+quetzal-1",
    "-----BEGIN EC PRIVATE KEY-----\nquetzal-1",
    "x" * 1_990 + "PRIVATE+KEY+prod+00000000+quetzal-1",
]


@pytest.mark.parametrize("words", WORDS)
def test_messages(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """In a message, in its arguments, and in an exception's text."""
    logger.warning(words.replace("%", "%%"))
    logger.warning("%s", words)
    try:
        raise ValueError(words)
    except ValueError:
        logger.exception("failed")
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) <= 2_010
    assert "quetzal-1" not in caplog.text
    assert not set("\x1b\r\u202e\u2028\x85\x9b") & set(caplog.text)
    assert len(caplog.text) < 10_000


def test_what_is_harmless(caplog: pytest.LogCaptureFixture) -> None:
    """It comes as it is, with its arguments."""
    logger.warning("%d files in %r, zoë: %s", 3, "/tmp/x", "a+b")
    (record,) = caplog.records
    assert record.args == (3, "/tmp/x", "a+b")
    assert harmless("an error: zoë (3)") == "an error: zoë (3)"
