"""Damage to an archive, of any kind, drawn by chance: what an accident or an intruder can do."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from forgery import begin_later, kill, lines_of, plant, remove, rewrite, write_manifest

#: What each is called with: the archive, and what draws. Returns what was done, in words.
Mutation = Callable[[Path, random.Random], str]


class NotHereError(Exception):
    """The archive has nothing of that kind."""


def files_of(archive: Path, *patterns: str) -> list[Path]:
    """The files whose names match one of *patterns*, by name; locks and keys left out."""
    chosen = {file for pattern in patterns or ("*",) for file in archive.glob(pattern)}
    return sorted(file for file in chosen if file.is_file() and not file.name.startswith("."))


def _any(archive: Path, chance: random.Random, *patterns: str) -> Path:
    """One of those files."""
    files = files_of(archive, *patterns)
    if not files:
        raise NotHereError(patterns)
    return chance.choice(files)


# --- bytes and lines ---------------------------------------------------------------------------


def bit(archive: Path, chance: random.Random) -> str:
    """One bit of one byte is another."""
    file = _any(archive, chance)
    content = bytearray(file.read_bytes())
    at = chance.randrange(len(content))
    content[at] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return f"{file.name}: a bit of byte {at} of {len(content)}"


def bytes_inserted(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    content = file.read_bytes()
    at = chance.randrange(len(content) + 1)
    new = chance.choice([b"\n", b" ", b"\0" * 9, b"},{", b'"', chance.randbytes(5)])
    file.write_bytes(content[:at] + new + content[at:])
    return f"{file.name}: {new!r} at {at} of {len(content)}"


def truncated(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    content = file.read_bytes()
    at = chance.choice([0, len(content) - 1, chance.randrange(len(content))])
    file.write_bytes(content[:at])
    return f"{file.name}: cut off after {at} of {len(content)} bytes"


def lines_cut_off(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    lines = lines_of(file)
    kept = chance.randrange(len(lines))
    file.write_bytes(b"".join(lines[:kept]))
    return f"{file.name}: {kept} of {len(lines)} lines left"


def line_removed(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    lines = lines_of(file)
    at = chance.randrange(len(lines))
    del lines[at]
    file.write_bytes(b"".join(lines))
    return f"{file.name}: line {at + 1} removed"


def lines_swapped(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    lines = lines_of(file)
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    file.write_bytes(b"".join(lines))
    return f"{file.name}: lines {one + 1} and {other + 1} swapped"


def line_duplicated(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    lines = lines_of(file)
    at = chance.randrange(len(lines))
    lines.insert(chance.choice([at, len(lines), chance.randrange(len(lines))]), lines[at])
    file.write_bytes(b"".join(lines))
    return f"{file.name}: line {at + 1} twice"


def line_of_another(archive: Path, chance: random.Random) -> str:
    source, file = _any(archive, chance), _any(archive, chance)
    lines = lines_of(file)
    at = chance.randrange(len(lines) + 1)
    lines.insert(at, chance.choice(lines_of(source)))
    file.write_bytes(b"".join(lines))
    return f"{file.name}: a line of {source.name} before line {at + 1}"


# --- files -------------------------------------------------------------------------------------


def file_removed(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    file.unlink()
    return f"{file.name} removed"


def file_renamed(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    new = _new_name(file, chance)
    file.rename(file.with_name(new))
    return f"{file.name} renamed {new}"


def file_copied(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    new = _new_name(file, chance)
    shutil.copy(file, file.with_name(new))
    return f"{file.name} copied as {new}"


def files_exchanged(archive: Path, chance: random.Random) -> str:
    one, other = _any(archive, chance), _any(archive, chance)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return f"{one.name} and {other.name} exchanged"


def file_over_another(archive: Path, chance: random.Random) -> str:
    one, other = _any(archive, chance), _any(archive, chance)
    other.write_bytes(one.read_bytes())
    return f"{one.name} over {other.name}"


def directory_in_place(archive: Path, chance: random.Random) -> str:
    file = _any(archive, chance)
    file.unlink()
    file.mkdir()
    return f"{file.name} is a directory"


def _new_name(file: Path, chance: random.Random) -> str:
    stem, *ending = file.name.split(".")
    stem = chance.choice([f"{stem}_9", "other", "audit_2020_01_01_000000", stem + "-2"])
    return ".".join([stem, *ending])


# --- what an intruder writes ---------------------------------------------------------------------


def manifest_value(archive: Path, chance: random.Random) -> str:
    """A value in the manifest is another; the lines after it are hashed anew."""

    def change(records: list[dict[str, Any]]) -> str:
        record = chance.choice(records)
        name = chance.choice(sorted(record))
        record[name] = _other(record[name], chance)
        return f"{name} of a line is now {record[name]!r}"

    return _rechain_manifest(archive, chance, change)


def manifest_line(archive: Path, chance: random.Random) -> str:
    """A line of the manifest is removed, moved or repeated; those after it are hashed anew."""

    def change(records: list[dict[str, Any]]) -> str:
        at = chance.randrange(len(records))
        record = records[at]
        how = chance.choice(["removed", "moved", "repeated"])
        if how != "repeated":
            del records[at]
        if how != "removed":
            records.insert(chance.randrange(len(records) + 1), dict(record))
        return f"line {at + 1} {how}"

    return _rechain_manifest(archive, chance, change)


def file_unsealed(archive: Path, chance: random.Random) -> str:
    """A sealed file is removed, and its seal with it."""

    def change(records: list[dict[str, Any]]) -> str:
        record = _drawn_seal(archive, records, chance)
        records[:] = [other for other in records if other.get("file") != record["file"]]
        remove(archive, record["file"])
        return f"{record['file']} removed with its seal"

    return _rechain_manifest(archive, chance, change)


def oldest_removed(archive: Path, chance: random.Random) -> str:
    """The trail begins later: the oldest files, their seals and the manifest's first line are
    gone."""
    manifest = _any(archive, chance, "*.manifest")
    count = chance.randrange(1, len(lines_of(manifest)))
    begin_later(manifest, count)
    return f"{manifest.name}: the first {count} lines and their files removed, hashed anew"


def deletion_forged(archive: Path, chance: random.Random) -> str:
    """A file is removed, as if retention had done it."""

    def change(records: list[dict[str, Any]]) -> str:
        record = _drawn_seal(archive, records, chance)
        deletion = {"kind": "delete", "file": record["file"], "sha256": record["sha256"]}
        deletion |= {"reason": "retention: 1d", "deleted_at": record["sealed_at"]}
        records.append(deletion)
        if chance.random() < 0.8:
            remove(archive, record["file"])
        return f"{record['file']} deleted in the name of retention"

    return _rechain_manifest(archive, chance, change)


def newest_removed(archive: Path, chance: random.Random) -> str:
    """The newest events are gone, with all that speaks of them but perhaps the checkpoints."""
    manifest = _any(archive, chance, "*.manifest")
    lines = lines_of(manifest)
    count = chance.randrange(1, len(lines) + 1)
    for line in lines[-count:]:
        remove(archive, json.loads(line).get("file", "none"))
    manifest.write_bytes(b"".join(lines[:-count]))
    for name in ("journal", "checkpoint", "checkpoints"):
        if chance.random() < 0.6:
            manifest.with_suffix(f".{name}").unlink(missing_ok=True)
    if chance.random() < 0.5:
        kill(manifest)
    return f"{manifest.name}: its last {count} lines, their files, and what is newer, removed"


def rewritten(archive: Path, chance: random.Random) -> str:
    """An event is another, and all hashes, seals and last lines are made to fit."""
    manifest, journal = archive / "default.manifest", archive / "default.journal"
    compressed = list(archive.glob("*.zst"))
    if compressed or not (manifest.is_file() and journal.is_file()):
        raise NotHereError("a journal and plain files")
    if not journal.read_bytes().endswith(b"\n"):
        raise NotHereError("a journal of whole lines")
    if any(b'"delete"' in line for line in lines_of(manifest)):
        raise NotHereError("all files")
    number = chance.randrange(1, 34)

    def change(event: dict[str, Any]) -> None:
        if event["sequence"] == number:
            event["user_id"] = "mallory"

    rewrite(archive, change)
    for name in ("checkpoint", "checkpoints"):
        if chance.random() < 0.3:
            (archive / f"default.{name}").unlink(missing_ok=True)
    return f"event {number} and all hashes rewritten"


def planted(archive: Path, chance: random.Random) -> str:
    """A file that says that its writer was killed before it could list it."""
    manifest = _any(archive, chance, "*.manifest")
    records = [json.loads(line) for line in lines_of(manifest)]
    last = records[-1].get("last_sequence", 0)
    number = chance.choice([1, 3, last + 1, last + 2])
    deleted = {record["file"] for record in records if record["kind"] == "delete"}
    name = chance.choice(["audit_2030_01_01_000000.json", *sorted(deleted)])
    plant(manifest, name, number)
    if chance.random() < 0.7:
        kill(manifest)
    return f"{name}, of event {number}, planted behind event {last}"


def checkpoint_value(archive: Path, chance: random.Random) -> str:
    """A line of the checkpoints says something else."""
    file = _any(archive, chance, "*.checkpoint", "*.checkpoints")
    lines = lines_of(file)
    at = chance.randrange(len(lines))
    old = lines[at]
    new = [old.replace(b"1", b"2"), b"\n", b"0\n", b"events 1\n", b"", old + old, b"x" + old]
    lines[at] = chance.choice([*new, old[:-1] + b" \n", old[: len(old) // 2]])
    file.write_bytes(b"".join(lines))
    return f"{file.name}: line {at + 1} is {lines[at][:60]!r} instead of {old[:60]!r}"


def checkpoints_older(archive: Path, chance: random.Random) -> str:
    """Checkpoints are removed, from one of the ends of their list."""
    file = _any(archive, chance, "*.checkpoints")
    head, *notes = file.read_bytes().split(b"axon-audit/")
    kept = chance.randrange(len(notes) + 1)
    notes = notes[:kept] if chance.random() < 0.5 else notes[len(notes) - kept :]
    file.write_bytes(head + b"".join(b"axon-audit/" + note for note in notes))
    return f"{file.name}: {kept} notes left"


def writer_killed(archive: Path, chance: random.Random) -> str:
    """Its newest file is sealed and not listed yet."""
    manifest = _any(archive, chance, "*.manifest")
    manifest.write_bytes(b"".join(lines_of(manifest)[:-1]))
    if chance.random() < 0.5:
        kill(manifest)
    manifest.with_suffix(".journal").unlink(missing_ok=True)
    if chance.random() < 0.5:
        for name in ("checkpoint", "checkpoints"):
            manifest.with_suffix(f".{name}").unlink(missing_ok=True)
    return f"{manifest.name}: its last line and the journal removed"


def linked(archive: Path, chance: random.Random) -> str:
    """A sealed file has the journal's name as well."""
    file = _any(archive, chance, "audit_*")
    journal = archive / "default.journal"
    journal.unlink(missing_ok=True)
    os.link(file, journal)
    return f"{file.name} is the journal as well"


def _rechain_manifest(
    archive: Path, chance: random.Random, change: Callable[[list[dict[str, Any]]], str]
) -> str:
    manifest = _any(archive, chance, "*.manifest")
    records = [json.loads(line) for line in lines_of(manifest)]
    done = change(records)
    write_manifest(manifest, records, reseal=chance.random() < 0.8)
    if chance.random() < 0.3:
        for name in ("checkpoint", "checkpoints"):
            manifest.with_suffix(f".{name}").unlink(missing_ok=True)
    return f"{manifest.name}: {done}, hashed anew"


def _drawn_seal(
    archive: Path, records: Iterable[dict[str, Any]], chance: random.Random
) -> dict[str, Any]:
    seals = [r for r in records if r["kind"] == "seal" and (archive / r["file"]).is_file()]
    if not seals:
        raise NotHereError("a seal")
    return chance.choice(seals)


def _other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int):
        return chance.choice([value + 1, value - 1, 0, -1, 2**62])
    if isinstance(value, str):
        return chance.choice([value[:-1], value + "0", value[::-1], "", "a/b"])
    return "0" * 64


#: All of them; the commonest are there several times.
MUTATIONS: list[Mutation] = [
    *(bit, bit, bytes_inserted, truncated, lines_cut_off),
    *(line_removed, lines_swapped, line_duplicated, line_of_another),
    *(file_removed, file_renamed, file_copied, files_exchanged, file_over_another),
    *(directory_in_place, manifest_value, manifest_line, file_unsealed, oldest_removed),
    *(deletion_forged, newest_removed, rewritten, planted, checkpoint_value, checkpoints_older),
    *(writer_killed, linked),
]
