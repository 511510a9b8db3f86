"""File systems that cannot do everything: SMB and NFS shares, FUSE, exFAT. What is not needed is
done without; what is needed and missing is told once, at the start."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from axon import MemorySystem
from conftest import Make, archived

from axon_audit_otel import ArchiveError, AuditLogger, AuditUnavailableError, verify
from axon_audit_otel.archive.checkpoints import new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

UNSUPPORTED = [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP]
FAILED = [errno.EIO, errno.EDQUOT, errno.ESTALE]


def name_of(code: int) -> str:
    """``EINVAL``, for the test's name."""
    return errno.errorcode[code]


def refuse(code: int, when: Callable[..., bool] = lambda *_: True, real: Any = None) -> Any:
    """A call that fails with *code* when that is so, and does what *real* does otherwise."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    return call


def is_directory(file: int) -> bool:
    """Return True if a descriptor is a directory's."""
    return stat.S_ISDIR(os.fstat(file).st_mode)


def log(audit: AuditLogger, number: int = 3) -> None:
    """Record some events."""
    for _ in range(number):
        asyncio.run(audit.log_event("STORE", user_id="alice"))


def numbers(where: Path) -> list[int]:
    """Of the events of an archive."""
    return [event.sequence for event in archived(where)]


# --- forcing to stable storage ------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["degrade", "block"])
@pytest.mark.parametrize("code", UNSUPPORTED, ids=name_of)
def test_directories_that_cannot_be_synced(
    make_audit: Make,
    config: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    on_failure: str,
) -> None:
    """``durability="disk"``: the files are synced, and that suffices; keys can be destroyed."""
    monkeypatch.setattr(os, "fsync", refuse(code, is_directory, os.fsync))
    where = tmp_path / "logs"
    audit = make_audit(3, where, durability="disk", on_failure=on_failure, erasable=True)
    memory = MemorySystem(config, audit_logger=audit)
    for _ in range(7):
        asyncio.run(memory.store("tea", user_id="alice"))
    audit.erase_user("alice")
    audit.close()
    assert audit.get_statistics()["failures"] == {}
    assert numbers(where) == list(range(1, audit.total_events_logged + 1))
    assert verify(where).findings == []


@pytest.mark.parametrize("code", FAILED, ids=name_of)
def test_directories_whose_sync_fails(
    make_audit: Make,
    config: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """A device that fails is no file system that cannot: it is counted, and an operation that
    must be recorded is refused."""
    audit = make_audit(3, tmp_path / "logs", durability="disk", on_failure="block")
    memory = MemorySystem(config, audit_logger=audit)
    monkeypatch.setattr(os, "fsync", refuse(code, is_directory, os.fsync))
    with pytest.raises(AuditUnavailableError):
        asyncio.run(memory.store("tea"))
    assert audit.get_statistics()["failures"]
    monkeypatch.undo()
    asyncio.run(memory.store("tea"))
    audit.close()
    assert verify(tmp_path / "logs").findings == []


@pytest.mark.parametrize("code", UNSUPPORTED, ids=name_of)
def test_files_that_cannot_be_synced(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """``durability="disk"`` cannot be kept, and is refused at the start with the directory and a
    way out; without it nothing is missing, and nothing fails."""
    monkeypatch.setattr(os, "fsync", refuse(code))
    monkeypatch.setattr(os, "fdatasync", refuse(code))
    where = tmp_path / "logs"
    with pytest.raises(ArchiveError) as caught:
        make_audit(3, where, durability="disk")
    for words in (str(where), "cannot force files", "durability='process'"):
        assert words in str(caught.value)
    audit = make_audit(3, where, signing_key=new_key("auditor"), max_archive_bytes=10**6)
    log(audit, 7)
    audit.export_to_file(tmp_path / "export.json")
    audit.close()
    assert audit.get_statistics()["failures"] == {}
    assert numbers(where) == list(range(1, 8))


@pytest.mark.parametrize("code", UNSUPPORTED, ids=name_of)
def test_no_fdatasync(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Without fdatasync whole files are synced."""
    synced: list[int] = []
    real = os.fsync

    def sync(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        real(file)

    monkeypatch.setattr(os, "fdatasync", refuse(code))
    monkeypatch.setattr(os, "fsync", sync)
    audit = make_audit(10, tmp_path, durability="disk")
    log(audit)
    (journal,) = tmp_path.glob("*.journal")
    assert journal.stat().st_ino in synced
    assert audit.trail.source.durable == 3
    assert audit.get_statistics()["failures"] == {}


def test_system_without_fdatasync(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has none."""
    monkeypatch.delattr(os, "fdatasync")
    audit = make_audit(10, tmp_path, durability="disk")
    log(audit)
    assert audit.trail.source.durable == 3
    assert audit.get_statistics()["failures"] == {}


# --- locks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [errno.ENOLCK, *UNSUPPORTED, errno.EIO, errno.EACCES, errno.ESTALE], ids=name_of
)
@pytest.mark.parametrize("options", [{}, {"erasable": True}, {"on_failure": "block"}], ids=str)
def test_no_locks(
    make_audit: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    options: dict[str, Any],
) -> None:
    """One error at the start, which names the directory and the cause; no other name is tried."""
    monkeypatch.setattr(fcntl, "flock", refuse(code))
    where = tmp_path / "logs"
    with pytest.raises(ArchiveError) as caught:
        make_audit(auto_export_path=where, **options)
    assert str(where) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    if code in (errno.ENOLCK, *UNSUPPORTED) and "erasable" not in options:
        assert "no file locks" in str(caught.value)
        assert "local_lock=all" in str(caught.value)
    assert len(list(where.glob(".*.lock"))) <= 1


def test_locks_end_later(make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that comes back without locks: a failure that is tried again, and no names."""
    where = tmp_path / "logs"
    audit = make_audit(auto_export_path=where)
    log(audit)
    where.rename(tmp_path / "moved")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
        log(audit, 20)
        assert len(list(where.glob(".*.lock"))) <= 1
        assert audit.get_statistics()["failures"]["journal"] >= 1
    audit.close()
    assert numbers(where) == list(range(1, 24))


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [errno.EPERM, errno.EXDEV, errno.EMLINK, *UNSUPPORTED], ids=name_of
)
def test_no_hard_links(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Files are sealed without them."""
    monkeypatch.setattr(os, "link", refuse(code))
    audit = make_audit(3, tmp_path)
    log(audit, 9)
    audit.close()
    assert audit.get_statistics()["failures"] == {}
    assert len(list(tmp_path.glob("audit_*.json"))) == 3
    assert numbers(tmp_path) == list(range(1, 10))


def test_no_hard_links_and_a_rename_that_fails(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name that was taken for the file is given back."""
    audit = make_audit(auto_export_path=tmp_path)
    log(audit)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse(errno.EPERM))
        patch.setattr(os, "replace", refuse(errno.EIO))
        with pytest.raises(ArchiveError):
            audit.seal()
    assert list(tmp_path.glob("audit_*.json")) == []
    audit.close()
    assert numbers(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EBUSY], ids=name_of)
def test_a_name_that_cannot_be_taken_away(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """While a sealed file is still called a journal, too, nothing is written to it."""
    audit = make_audit(auto_export_path=tmp_path)
    log(audit)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse(code))
        assert audit.seal() is not None
        sealed = contents(tmp_path)
        for _ in range(3):
            log(audit, 1)
            audit.trail._keeper._retry_at = 0.0  # type: ignore[union-attr]
        assert contents(tmp_path) == sealed
    log(audit)
    audit.close()
    assert numbers(tmp_path) == list(range(1, 10))
    assert verify(tmp_path).ok


def contents(where: Path) -> dict[str, bytes]:
    """The events in the sealed files of a directory."""
    return {path.name: path.read_bytes() for path in where.glob("audit_*.json")}


# --- numbers and sizes of files -----------------------------------------------------------------


#: Of a `os.stat_result` these have no other name to be given by.
_BY_POSITION = {f"st_{name}" for name in ("mode", "ino", "dev", "nlink", "uid", "gid", "size")}


def _altered(status: os.stat_result, **values: int) -> os.stat_result:
    fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
    order = ("mode", "ino", "dev", "nlink", "uid", "gid", "size", "atime", "mtime", "ctime")
    fields |= values
    rest = {name: value for name, value in fields.items() if name not in _BY_POSITION}
    return os.stat_result([int(fields[f"st_{name}"]) for name in order], rest)


def _with_stats(
    monkeypatch: pytest.MonkeyPatch,
    named: Callable[[os.stat_result], os.stat_result],
    opened: Callable[[os.stat_result], os.stat_result],
) -> None:
    """Let every look at a file, by name or by descriptor, say something else."""
    real, real_fstat = os.stat, os.fstat

    def look(path: Any, **kwargs: Any) -> os.stat_result:
        return (opened if isinstance(path, int) else named)(real(path, **kwargs))

    monkeypatch.setattr(os, "stat", look)
    monkeypatch.setattr(Path, "stat", lambda path, **kwargs: look(str(path), **kwargs))
    monkeypatch.setattr(os, "fstat", lambda file: opened(real_fstat(file)))


_numbers = count(1)


def _new(status: os.stat_result) -> os.stat_result:
    return _altered(status, st_ino=next(_numbers))


def _zero(status: os.stat_result) -> os.stat_result:
    return _altered(status, st_ino=0)


def _same(status: os.stat_result) -> os.stat_result:
    return status


def _other_device(status: os.stat_result) -> os.stat_result:
    return _altered(status, st_dev=4711)


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize(
    ("named", "opened"),
    [(_new, _new), (_zero, _zero), (_new, _same), (_other_device, _same), (_zero, _same)],
    ids=["new each time", "all 0", "new by name", "another device by name", "0 by name"],
)
class TestNumbers:
    """Numbers of files that say nothing."""

    def test_nothing_is_taken_for_replaced(
        self,
        make_audit: Make,
        config: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        named: Any,
        opened: Any,
        durability: str,
    ) -> None:
        """No failure, no second name, no event missing or twice."""
        _with_stats(monkeypatch, named, opened)
        audit = make_audit(5, tmp_path, durability=durability, on_failure="block")
        memory = MemorySystem(config, audit_logger=audit)
        for _ in range(12):
            asyncio.run(memory.store("tea"))
        audit.trail.tick()
        audit.close()
        assert audit.get_statistics()["failures"] == {}
        monkeypatch.undo()
        assert numbers(tmp_path) == list(range(1, 13))
        (writer,) = verify(tmp_path).writers
        assert writer.gaps == []

    def test_a_cut_is_noticed_all_the_same(
        self,
        make_audit: Make,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        named: Any,
        opened: Any,
        durability: str,
    ) -> None:
        """The size tells, and what memory has is written again, once."""
        _with_stats(monkeypatch, named, opened)
        audit = make_audit(auto_export_path=tmp_path, durability=durability)
        log(audit, 5)
        (journal,) = tmp_path.glob("*.journal")
        os.truncate(journal, 0)
        log(audit, 5)
        audit.close()
        assert sum(audit.get_statistics()["failures"].values()) == 1
        monkeypatch.undo()
        assert numbers(tmp_path) == list(range(1, 11))


def test_numbers_change_at_times(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has another number after a while (its server forgot it) is the same file."""
    forgotten: list[int] = []

    def numbered(status: os.stat_result) -> os.stat_result:
        return _altered(status, st_ino=status.st_ino + len(forgotten))

    _with_stats(monkeypatch, numbered, _same)
    audit = make_audit(4, tmp_path)
    for number in range(10):
        log(audit, 1)
        forgotten.append(number)
    audit.close()
    assert audit.get_statistics()["failures"] == {}
    monkeypatch.undo()
    assert numbers(tmp_path) == list(range(1, 11))


@pytest.mark.parametrize("wrong", [0, 10**9])
def test_sizes_that_lag(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    """A size that is not that of the content is not taken for a cut journal."""

    def sized(status: os.stat_result) -> os.stat_result:
        if stat.S_ISREG(status.st_mode) and status.st_size > 100:
            return _altered(status, st_size=wrong)
        return status

    audit = make_audit(auto_export_path=tmp_path)
    log(audit, 2)
    with monkeypatch.context() as patch:
        _with_stats(patch, sized, sized)
        log(audit, 10)
        assert audit.get_statistics()["failures"] == {}
    audit.close()
    assert numbers(tmp_path) == list(range(1, 13))


@pytest.mark.parametrize("code", UNSUPPORTED, ids=name_of)
def test_files_that_cannot_be_cut(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A partly written line that cannot be cut off does not stop the journal."""
    audit = make_audit(auto_export_path=tmp_path)
    log(audit, 2)
    real = os.write

    def half(file: int, data: bytes) -> int:
        real(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse(code))
        with patch.context() as full:
            full.setattr(os, "write", half)
            log(audit, 1)
        audit.trail._keeper._retry_at = 0.0  # type: ignore[union-attr]
        log(audit, 2)
        assert numbers(tmp_path) == [1, 2, 3, 4, 5]
    audit.close()
    assert numbers(tmp_path) == [1, 2, 3, 4, 5]
    assert verify(tmp_path).findings == []


# --- at the start -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [errno.EROFS, errno.EACCES, errno.ESTALE, errno.EDQUOT, errno.ENOSPC, errno.EIO],
    ids=name_of,
)
def test_nothing_can_be_made(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """One error, with the directory and the cause."""
    where = tmp_path / "logs"
    where.mkdir()
    writes = lambda path, flags=0, *_: bool(flags & os.O_CREAT)  # noqa: E731
    monkeypatch.setattr(os, "open", refuse(code, writes, os.open))
    with pytest.raises(ArchiveError) as caught:
        make_audit(auto_export_path=where)
    assert str(where) in str(caught.value)
    assert os.strerror(code) in str(caught.value)


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EBADF], ids=name_of)
def test_a_descriptor_that_is_no_good_any_more(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The server forgot it, or a daemon closed all there are: the file is opened again, and no
    event waits."""
    audit = make_audit(auto_export_path=tmp_path)
    log(audit, 3)
    (journal,) = tmp_path.glob("*.journal")
    old = {
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.exists() and link.samefile(journal)
    }
    real = os.write
    monkeypatch.setattr(os, "write", refuse(code, lambda file, _: file in old, real))
    log(audit, 1)
    assert numbers(tmp_path) == [1, 2, 3, 4]
    monkeypatch.undo()
    audit.close()
    assert numbers(tmp_path) == [1, 2, 3, 4]
    assert verify(tmp_path).findings == []
