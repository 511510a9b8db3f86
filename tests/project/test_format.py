"""docs/format.md says what the code does: its tables and lists are those of the code."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from axon_audit_otel.archive import attested, intents, reader, writer_lock
from axon_audit_otel.archive import format as layout
from axon_audit_otel.archive.manifest import (
    DeleteRecord,
    HeadRecord,
    OtherWriter,
    SealRecord,
    TrailRecord,
    WritersRecord,
)
from axon_audit_otel.archive.takeover import Adopted, Recovery
from axon_audit_otel.core.files import LINE_LIMIT
from axon_audit_otel.events import draft, identifiers, model
from axon_audit_otel.privacy import (
    box,
    encryption,
    entry_ids,
    erased_tokens,
    key_files,
    keyring,
    redaction,
)
from axon_audit_otel.shipping import acknowledgements
from axon_audit_otel.shipping.witnesses import Refusal
from axon_audit_otel.trail.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of one section."""
    return re.split(r"\n##+ ", PAGE.partition(f"# {title}\n")[2])[0]


def table(text: str) -> list[list[str]]:
    """The cells of the rows of the tables in *text*, without heads."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    rules = [at for at, row in enumerate(rows) if row[0] == "---"]
    return [row for at, row in enumerate(rows) if at not in rules and at + 1 not in rules]


def named(text: str) -> list[str]:
    """The words between backticks."""
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize(
    "record", [TrailRecord, SealRecord, DeleteRecord, HeadRecord, WritersRecord]
)
def test_manifest(record: type) -> None:
    """The fields of each kind of line, in their order."""
    (row,) = [
        cells
        for cells in table(section("Manifest"))
        if cells[0] == f"`{record.__struct_config__.tag}`"
    ]
    fields = list(record.__struct_fields__)
    if record is WritersRecord:
        fields[1:1] = OtherWriter.__struct_fields__
    assert named(row[1]) == fields


def test_closing_line() -> None:
    """The fields of the last line of a sealed file."""
    rows = table(section("Journal and sealed files"))
    assert [name for row in rows for name in named(row[0])] == list(
        layout.Closing.__struct_fields__
    )


def test_records() -> None:
    """What a trail says of itself, and with which facts."""
    rows = {named(row[0])[0]: named(row[1]) for row in table(section("Records"))}
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "axon_audit_otel").rglob("*.py")
    )
    recorded = set(re.findall(r'"record": "(\w+)"', source)) | {"start", "hold", "access"}
    assert recorded == rows.keys()
    for name, facts in {"unclean_end": Recovery, "adopted": Adopted}.items():
        assert rows[name] == list(facts.__struct_fields__)
    assert rows["witness_refused"] == list(Refusal._fields)


def test_operations() -> None:
    """The operations that are listed, and the outcomes."""
    words = named(section("An event"))
    assert {*model.OperationType.__members__, *model.EventStatus.__members__} <= {*words}


def test_encrypted_events() -> None:
    """The facts that stay open beside a box, and the fields that it takes."""
    said = section("Encrypted events")
    open_facts = said.partition("no personal data: ")[2].partition("\n\n")[0].partition(". ")[0]
    assert {*named(open_facts)} == box.ENTRY_FACTS | encryption._OPEN
    assert {*box.Facts.__struct_fields__} <= {*named(said)}
    *persons, last = encryption._PERSONS
    listed = ", ".join(f"`{name}`" for name in persons)
    assert f"{listed} and `{last}`, in this order" in " ".join(said.split())
    assert f"multiple of {box._PADDING} bytes" in said.replace("\n", " ")
    assert f"multiple of {keyring._PADDING} bytes" in said.replace("\n", " ")


def test_encrypted_ids_of_entries() -> None:
    """What they are made of."""
    said = section("Encrypted entry ids").replace("\n", " ")
    assert f"`{entry_ids.PREFIX}TOKEN:ID`" in said
    assert f"multiple of {entry_ids._PADDING} bytes" in said
    assert f"cut to {entry_ids._MAC}" in said


def test_sizes() -> None:
    """Sizes in bytes, of slots, records and files."""
    said = section("The attested state")
    assert f"slots of {attested._SLOT} bytes" in said
    assert len(attested.State._fields) + 1 == len(table(said))
    assert f"`{key_files._MAGIC.decode()}`" in section("Keyring")
    assert f"less than {key_files._RECORD} bytes" in section("Keyring").replace("\n", " ")
    assert f"has {acknowledgements._SIZE} bytes" in section("Acknowledgements")


def test_limits() -> None:
    """Each limit is the one that the code has."""
    said = dict(table(section("Limits")))
    numbers = {what: re.findall(r"\d[\d,]*", limit) for what, limit in said.items()}

    def limit(word: str) -> int:
        (found,) = [values[0] for what, values in numbers.items() if what.startswith(word)]
        return int(found.replace(",", ""))

    assert limit("a line that is read") << 20 == LINE_LIMIT
    assert limit("the line of an event") << 10 == Settings.default("max_event_bytes")
    assert limit("an id") == identifiers.MAX_ID
    assert limit("`subjects`") == draft._SEVERAL_MOST
    assert limit("items in") == box._MOST_TEXTS
    assert limit("levels of") == redaction.MAX_DEPTH
    assert model.LAST_NUMBER == 2**63 - 1
    assert writer_lock._LAST_TO_CONTINUE == 2**62
    assert limit("a closing line") == reader._LAST_LINE
    assert limit("an intent") == intents._LONGEST
    assert limit("a file of keys") << 20 == key_files._MOST == erased_tokens._MOST
    assert limit("writers of one trail") == writer_lock.MAX_WRITERS


def test_every_file_is_named() -> None:
    """Every file of the vectors is one of those that the page names."""
    names = [name for row in table(section("The directory")) for name in named(row[0])]
    patterns = [re.sub(r"NAME|<\w+>", "*", name) for name in names]
    patterns += [f"{pattern}.zst" for pattern in patterns if pattern.startswith("audit_")]
    there = {path.name for path in (ROOT / "tests" / "vectors").glob("*/archive/*")}
    assert len(there) > 20
    assert [name for name in there if not any(fnmatch(name, one) for one in patterns)] == []


def test_every_link_leads_somewhere() -> None:
    """The links within the page."""
    titles = re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
