"""When the journal becomes a sealed file, by size and by age; compression of what is sealed."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Make, Run, events_in, only, sealed_files, until

from axon_audit_otel import AuditConfigError, AuditEvent, AuditLogger, verify

pytestmark = pytest.mark.usefixtures("without_start_record")


def _names(directory: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.endswith(suffix))


async def _log(audit: AuditLogger, count: int) -> list[AuditEvent]:
    return [await audit.log_event("STORE", f"user{number}") for number in range(count)]


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

    @pytest.mark.slow
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


def _decompressed(content: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.decompress(content)
    from backports import zstd

    return zstd.decompress(content)


def _compressed(directory: Path) -> list[Path]:
    return sorted(directory.glob("audit_*.json.zst"))


class TestCompression:
    async def test_what_is_sealed_is_compressed(
        self, make_audit: Make, cli: Callable[..., Any], tmp_path: Path
    ) -> None:
        """A sealed file becomes a smaller one with ``.zst`` at the end of its name, readable by
        its owner only, and nothing else is left of it; queries and verify are as before."""
        audit = make_audit(auto_export_path=tmp_path, compress=True)
        logged = await _log(audit, 100)
        sealed = audit.seal()
        assert sealed is not None
        assert _names(tmp_path, "") == [
            ".default.lock",
            f"{sealed.name}.zst",
            "default.manifest",
        ]
        (compressed,) = _compressed(tmp_path)
        assert compressed.stat().st_mode & 0o777 == 0o600
        content = _decompressed(compressed.read_bytes())
        assert len(content) > 3 * compressed.stat().st_size
        assert [event["sequence"] for event in json.loads(content)["events"]] == [*range(1, 101)]
        await audit.clear()
        assert audit.query_events(archived=True) == logged[::-1]
        assert verify(tmp_path).ok
        lines = cli("query", compressed, "--json").stdout_bytes.splitlines()
        assert lines == [event.to_json() for event in logged[::-1]]

    async def test_the_manifest_speaks_of_the_content(
        self, make_audit: Make, tmp_path: Path
    ) -> None:
        """Name, size and digest in the manifest are those of the file before."""
        audit = make_audit(auto_export_path=tmp_path, compress=True)
        await audit.log_event("STORE")
        sealed = audit.seal()
        assert sealed is not None
        lines = only(tmp_path, "*.manifest").read_bytes().splitlines()
        record = json.loads(lines[-1])
        content = _decompressed(_compressed(tmp_path)[0].read_bytes())
        assert record["file"] == sealed.name
        assert record["bytes"] == len(content)
        assert record["sha256"] == hashlib.sha256(content).hexdigest()

    @pytest.mark.slow
    async def test_files_of_before(self, make_audit: Make, tmp_path: Path) -> None:
        """Files that were sealed without compression are compressed in the background when it
        is switched on."""
        first = make_audit(max_events=2, auto_export_path=tmp_path, name="same")
        logged = await _log(first, 20)
        first.close()
        del first
        gc.collect()
        audit = make_audit(auto_export_path=tmp_path, name="same", compress=True)
        logged.append(await audit.log_event("STORE"))
        await until(lambda: len(_compressed(tmp_path)) == 10)
        assert sealed_files(tmp_path) == []
        assert audit.query_events(archived=True) == logged[::-1]

    @pytest.mark.slow
    async def test_full_journals_are_compressed(self, make_audit: Make, tmp_path: Path) -> None:
        """So is what was sealed because it was full, a moment later."""
        audit = make_audit(max_events=2, auto_export_path=tmp_path, compress=True)
        for _ in range(6):
            await audit.log_event("STORE")
        await until(lambda: len(_compressed(tmp_path)) == 3)
        assert sealed_files(tmp_path) == []

    async def test_names_are_not_used_again(self, make_audit: Make, tmp_path: Path) -> None:
        """A file that is sealed within the same second as one that is compressed by then gets
        a name of its own."""
        audit = make_audit(auto_export_path=tmp_path, compress=True)
        names = set()
        for _ in range(10):
            await audit.log_event("STORE")
            sealed = audit.seal()
            assert sealed is not None
            names.add(sealed.name)
        assert len(names) == len(_compressed(tmp_path)) == 10

    async def test_altered_file(
        self, make_audit: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A file that was changed after its seal is left as it is, for verify to find."""
        audit = make_audit(max_events=1, auto_export_path=tmp_path, compress=True)
        await audit.log_event("STORE", "alice")
        (sealed,) = sealed_files(tmp_path)
        sealed.write_bytes(sealed.read_bytes().replace(b"alice", b"mallo"))
        audit.trail.tick()
        assert [*_names(tmp_path, ".json"), *_names(tmp_path, ".zst")] == [sealed.name]
        assert not _names(tmp_path, ".tmp")
        assert [finding.kind for finding in verify(tmp_path).findings] == ["altered"]
        assert "not what was sealed" in caplog.text

    async def test_both_are_there(self, make_audit: Make, tmp_path: Path) -> None:
        """A writer that died between making the one and removing the other leaves both: every
        event is found once, and the next writer tidies up."""
        audit = make_audit(auto_export_path=tmp_path, compress=True, name="same")
        logged = await _log(audit, 3)
        sealed = audit.seal()
        assert sealed is not None
        (compressed,) = _compressed(tmp_path)
        sealed.write_bytes(_decompressed(compressed.read_bytes()))
        await audit.clear()
        assert audit.query_events(archived=True) == logged[::-1]
        assert verify(tmp_path).ok
        audit.close()
        del audit
        gc.collect()
        audit = make_audit(auto_export_path=tmp_path, compress=True, name="same")
        logged.append(await audit.log_event("STORE"))
        audit.trail.tick()
        assert not sealed.exists()
        assert audit.query_events(archived=True) == logged[::-1]

    @pytest.mark.slow
    def test_followed(self, make_audit: Make, tmp_path: Path) -> None:
        """`tail --follow` shows each event once and in order, while files are sealed and
        compressed."""
        audit = make_audit(max_events=10, auto_export_path=tmp_path, compress=True)
        asyncio.run(_log(audit, 1))
        command = [sys.executable, "-m", "axon_audit_otel", "tail", "--follow", "--json"]
        with subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE) as process:
            guard = threading.Timer(60, process.kill)  # a lost event must not hang the run
            guard.start()
            assert process.stdout is not None
            shown = [process.stdout.readline()]
            for _ in range(100):
                asyncio.run(_log(audit, 10))
                audit.trail.tick()
            shown += [process.stdout.readline() for _ in range(1000)]
            guard.cancel()
            process.kill()
        assert [json.loads(line)["sequence"] for line in shown] == [*range(1, 1002)]

    @pytest.mark.slow
    def test_missing_package(self, run_script: Run, tmp_path: Path) -> None:
        """Where nothing can compress, that is said at once; reading says what is missing."""
        path = tmp_path / "audit_1.json.zst"
        path.write_bytes(b"\x28\xb5\x2f\xfd and so on")
        said = run_script(
            """
            import sys
            sys.modules["compression.zstd"] = sys.modules["backports.zstd"] = None
            from axon_audit_otel import AuditConfigError, AuditLogger
            try:
                AuditLogger(compress=True)
            except AuditConfigError as exc:
                print(exc)
            from axon_audit_otel.cli.main import main
            main(["query", sys.argv[1]])
            """,
            path,
            code=1,
            COLUMNS=300,
        )
        assert "compress=True" in said
        assert "pip install 'axon-audit-otel[zstd]'" in said

    @pytest.mark.parametrize(("text", "meant"), [("true", True), ("0", False)])
    def test_setting(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, text: str, meant: bool
    ) -> None:
        """It is off unless it is switched on, also from the environment."""
        assert make_audit().settings.compress is False
        monkeypatch.setenv("AXON_AUDIT_COMPRESS", text)
        assert make_audit().settings.compress is meant
