"""Events in OCSF, held against its published schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from axon_audit_otel.evidence.siem.ocsf import VERSION


@cache
def validator() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(VERSION))
    return Draft202012Validator(schema.get_class_schema("datastore_activity"))


def faults(made: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(made)]


@pytest.fixture(name="demo", scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the demo."""
    from click.testing import CliRunner

    from axon_audit_otel.cli.main import main

    directory = tmp_path_factory.mktemp("demo") / "archive"
    assert CliRunner().invoke(main, ["demo", "--output", str(directory), "--json"]).exit_code == 0
    return directory


def test_the_demo(demo: Path, cli: Cli, tmp_path: Path) -> None:
    """Every event of the demo's archive is valid."""
    cli("export", demo, tmp_path / "out.jsonl", "--format", "ocsf")
    made = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(made) > 90
    assert [fault for one in made for fault in faults(one)] == []
