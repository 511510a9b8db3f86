"""What takes Loki's place in the preview, as no package ships one: OTLP in, Loki's JSON out.

Keeps log records as Loki's OTLP endpoint would: ``service_name`` is a label, what else a
record or its resource has is structured metadata, with ``_`` for what a label cannot hold. Of
LogQL it knows what the dashboards use: comparisons, with ``or`` between them, and
``line_format`` with plain fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = ["LogStore"]

_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|\||[^|"`]+')
_COMPARISON = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*["`]([^"`]*)["`]')


class _Line(NamedTuple):
    nanoseconds: int
    text: str
    labels: dict[str, str]


class LogStore:
    """Log records, in memory."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []

    def add(self, body: bytes) -> None:
        """Take an OTLP export request."""
        for of_resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            resource = _labels(of_resource.resource.attributes)
            for scope in of_resource.scope_logs:
                for record in scope.log_records:
                    labels = {**resource, **_labels(record.attributes)}
                    labels["detected_level"] = record.severity_text.lower() or "unknown"
                    if record.trace_id:
                        labels["trace_id"] = record.trace_id.hex()
                        labels["span_id"] = record.span_id.hex()
                    at = record.time_unix_nano or record.observed_time_unix_nano
                    self._lines.append(_Line(at, _text(record.body), labels))

    def get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        """The answer of Loki's HTTP API to a GET of *path*."""
        if path == "/loki/api/v1/query_range":
            streams = self._query(**parameters)
            return {"status": "success", "data": {"resultType": "streams", "result": streams}}
        label = path.removeprefix("/loki/api/v1/label/").removesuffix("/values")
        values = {line.labels[label] for line in self._lines if label in line.labels}
        return {"status": "success", "data": sorted(values)}

    def _query(
        self, query: str, start: str, end: str, limit: str = "100", **_: str
    ) -> list[dict[str, Any]]:
        selector, *stages = _stages(query)
        filters = [stage for stage in stages if not stage.startswith("line_format")]
        formats = [stage for stage in stages if stage.startswith("line_format")]
        found = [
            line
            for line in self._lines
            if int(start) <= line.nanoseconds <= int(end)
            and all(_passes(line.labels, stage) for stage in [selector, *filters])
        ]
        found.sort(key=lambda line: line.nanoseconds, reverse=True)
        return [
            {"stream": line.labels, "values": [[str(line.nanoseconds), _formatted(line, formats)]]}
            for line in found[: int(limit)]
        ]


def _stages(query: str) -> list[str]:
    """What stands between the pipes that are in no string."""
    stages = [""]
    for piece in _PIECE.findall(query):
        if piece == "|":
            stages.append("")
        else:
            stages[-1] += piece
    return [stage.strip() for stage in stages]


def _passes(labels: dict[str, str], stage: str) -> bool:
    verdicts = []
    for name, operator, wanted in _COMPARISON.findall(stage):
        value = labels.get(name, "")
        equal = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
        verdicts.append(equal == operator.startswith("="))
    return any(verdicts) if re.search(r'["`]\s+or\s', stage) else all(verdicts)


def _formatted(line: _Line, formats: list[str]) -> str:
    text = line.text
    for stage in formats:
        template = stage.removeprefix("line_format").strip()[1:-1]
        text = re.sub(r"\{\{\s*\.(\w+)\s*\}\}", lambda m: line.labels.get(m[1], ""), template)
    return text


def _labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {re.sub(r"\W", "_", one.key): _text(one.value) for one in attributes}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return "[" + ",".join(f'"{_text(one)}"' for one in value.array_value.values) + "]"
    if kind == "kvlist_value":
        return str({one.key: _text(one.value) for one in value.kvlist_value.values})
    return "" if kind is None else str(getattr(value, kind))
