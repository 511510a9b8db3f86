"""When the journal becomes a sealed file, by size and by age; compression of what is sealed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import events_in, sealed_files, until

from axon_audit_otel import AuditConfigError, AuditLogger

Make = Callable[..., AuditLogger]


def _names(directory: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.endswith(suffix))


class TestSize:
    async def test_full_by_size(self, make_audit: Make, tmp_path: Path) -> None:
        """A journal is sealed by the event that makes it `max_file_bytes` large, and not before:
        every file has that size, and without its last event had not."""
        audit = make_audit(auto_export_path=tmp_path, max_file_bytes=5_000)
        for _ in range(100):
            await audit.log_event("STORE", "alice")
        files = sealed_files(tmp_path)
        assert len(files) > 2
        for file in files:
            *_, last, closing = file.read_bytes().splitlines(keepends=True)
            size = file.stat().st_size - len(closing)
            assert size - len(last) < 5_000 <= size

    async def test_count_and_size(self, make_audit: Make, tmp_path: Path) -> None:
        """Whichever limit comes first: small events are counted, a large one is weighed."""
        audit = make_audit(max_events=3, auto_export_path=tmp_path, max_file_bytes=4_000)
        for size in (1, 1, 1, 5_000, 1, 1):
            await audit.log_event("STORE", metadata={"text": "x" * size})
        assert [len(events_in(file)) for file in sealed_files(tmp_path)] == [3, 1]

    async def test_rotation_off(self, make_audit: Make, tmp_path: Path) -> None:
        """Without rotation, neither size nor age seals anything."""
        audit = make_audit(
            max_events=2,
            auto_export_path=tmp_path,
            enable_rotation=False,
            max_file_bytes=1,
            max_file_age=0.000_001,
        )
        for _ in range(5):
            await audit.log_event("STORE")
        audit.trail.tick()
        assert sealed_files(tmp_path) == []


class TestAge:
    async def test_sealed_by_the_next_event(self, make_audit: Make, tmp_path: Path) -> None:
        """An event that comes when the journal is too old is the last one in it."""
        audit = make_audit(auto_export_path=tmp_path, max_file_age=timedelta(microseconds=1))
        for _ in range(3):
            await audit.log_event("STORE")
        assert [len(events_in(file)) for file in sealed_files(tmp_path)] == [1, 1, 1]

    async def test_sealed_though_nothing_happens(self, make_audit: Make, tmp_path: Path) -> None:
        """A journal that nobody writes to is sealed when its time has come."""
        audit = make_audit(auto_export_path=tmp_path, max_file_age=0.05)
        await audit.log_event("STORE")
        await until(lambda: sealed_files(tmp_path))
        assert not _names(tmp_path, ".journal")

    async def test_young_and_empty_journals_are_left(
        self, make_audit: Make, tmp_path: Path
    ) -> None:
        """No file is made of nothing, nor before its time."""
        audit = make_audit(auto_export_path=tmp_path, max_file_age="1h")
        audit.trail.tick()
        await audit.log_event("STORE")
        audit.trail.tick()
        assert sealed_files(tmp_path) == []


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("1048576", 1_048_576),
            ("64MiB", 64 * 1024**2),
            ("64mib", 64 * 1024**2),
            ("64 Mi", 64 * 1024**2),
            ("10MB", 10_000_000),
            ("10m", 10_000_000),
            ("1.5 GiB", 3 * 512 * 1024**2),
            ("512 kB", 512_000),
            ("2T", 2_000_000_000_000),
            ("100B", 100),
        ],
    )
    def test_sizes(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, text: str, meant: int
    ) -> None:
        """Sizes are bytes, or have a unit: with an i powers of 1,024, without it of 1,000."""
        assert make_audit(max_file_bytes=text).settings.max_file_bytes == meant
        monkeypatch.setenv("AXON_AUDIT_MAX_FILE_BYTES", text)
        assert make_audit().settings.max_file_bytes == meant
        assert make_audit(max_file_bytes=7).settings.max_file_bytes == 7

    @pytest.mark.parametrize(
        ("text", "meant"),
        [("90", 90), ("0.5", 0.5), ("30s", 30), ("15m", 900), ("24h", 86_400), ("7 D", 604_800)],
    )
    def test_durations(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, text: str, meant: float
    ) -> None:
        """Durations are seconds, or have a unit."""
        assert make_audit(max_file_age=text).settings.max_file_age == meant
        monkeypatch.setenv("AXON_AUDIT_MAX_FILE_AGE", text)
        assert make_audit().settings.max_file_age == meant
        assert make_audit(max_file_age=timedelta(hours=1)).settings.max_file_age == 3600

    @pytest.mark.parametrize(
        "value", [0, -1, True, 1.5, "0", "-5", "MiB", "5 parsecs", "5iB", "1e3", "٣", 1 << 80, []]
    )
    def test_sizes_that_cannot_be(self, make_audit: Make, value: Any) -> None:
        """The message shows what was given, and what may be."""
        with pytest.raises(AuditConfigError, match=r"max_file_bytes=.*64MiB"):
            make_audit(max_file_bytes=value)

    @pytest.mark.parametrize(
        "value",
        [
            *(0, -1, True, "0h", "-5m", "h", "1y", "soon", "1e3", float("nan"), float("inf")),
            *(10**400, timedelta(0), timedelta(days=-1), []),
        ],
    )
    def test_durations_that_cannot_be(self, make_audit: Make, value: Any) -> None:
        """The message shows what was given, and what may be."""
        with pytest.raises(AuditConfigError, match=r"max_file_age=.*24h"):
            make_audit(max_file_age=value)
