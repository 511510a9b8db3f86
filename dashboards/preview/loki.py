"""What takes Loki's place in the preview, as no package ships one: OTLP in, Loki's JSON out.

Keeps log records as Loki's OTLP endpoint would: ``service_name`` is a label, what else a
record or its resource has is structured metadata, with ``_`` for what a label cannot hold. Of
LogQL it knows what the dashboards use: comparisons, with ``or`` between them, ``json`` with a
field, ``label_format`` with three kinds of templates, ``unwrap``, and
``topk(n, sum by (label) (count_over_time(...)))``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = ["LogStore"]

_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|\||[^|"`]+')
_COMPARISON = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*["`]([^"`]*)["`]')
_METRIC = re.compile(
    r"topk\((\d+), sum by \((\w+)\) \((count|sum)_over_time\((.*) \[(\d+)s\]\)\)\)", re.DOTALL
)
_SECOND = 1_000_000_000  # nanoseconds


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
                    if record.event_name:
                        labels["event_name"] = record.event_name
                    if record.trace_id:
                        labels["trace_id"] = record.trace_id.hex()
                        labels["span_id"] = record.span_id.hex()
                    at = record.time_unix_nano or record.observed_time_unix_nano
                    self._lines.append(_Line(at, _text(record.body), labels))

    def get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        """The answer of Loki's HTTP API to a GET of *path*.

        Raises:
            ValueError: If the query is one that it does not know.
        """
        if path.startswith("/loki/api/v1/query"):
            kind, found = self._query(path.endswith("_range"), **parameters)
            return {"status": "success", "data": {"resultType": kind, "result": found}}
        label = path.removeprefix("/loki/api/v1/label/").removesuffix("/values")
        values = {line.labels[label] for line in self._lines if label in line.labels}
        return {"status": "success", "data": sorted(values)}

    def _query(self, over_time: bool, query: str, **given: str) -> tuple[str, list[Any]]:
        if not (metric := _METRIC.fullmatch(query)):
            return "streams", self._streams(query, **given)
        number, label, counting, pipeline, seconds = metric.groups()
        window = int(seconds) * _SECOND

        def counts(end: int) -> list[tuple[str, float]]:
            found: dict[str, float] = {}
            for line in self._passing(pipeline, end - window, end):
                many = 1.0 if counting == "count" else float(line.labels["unwrapped"])
                name = line.labels.get(label, "")
                found[name] = found.get(name, 0.0) + many
            return sorted(found.items(), key=lambda one: -one[1])[: int(number)]

        if not over_time:
            end = int(float(given["time"]))
            return "vector", [
                {"metric": {label: name}, "value": [end / _SECOND, str(many)]}
                for name, many in counts(end)
            ]
        series: dict[str, list[Any]] = {}
        step = int(float(given["step"]) * _SECOND)
        for end in range(int(given["start"]), int(given["end"]) + 1, step):
            for name, many in counts(end):
                series.setdefault(name, []).append([end / _SECOND, str(many)])
        return "matrix", [{"metric": {label: n}, "values": v} for n, v in series.items()]

    def _streams(self, query: str, start: str, end: str, limit: str = "100", **_: str) -> list[Any]:
        found = self._passing(query, int(start), int(end))
        found.sort(key=lambda line: line.nanoseconds, reverse=True)
        return [
            {"stream": line.labels, "values": [[str(line.nanoseconds), line.text]]}
            for line in found[: int(limit)]
        ]

    def _passing(self, query: str, start: int, end: int) -> list[_Line]:
        """The lines of that time that come through the whole pipeline, with its labels."""
        stages = _stages(query)
        passed = []
        for line in self._lines:
            if start < line.nanoseconds <= end:
                labels: dict[str, str] | None = line.labels
                for stage in stages:
                    labels = labels and _after(stage, labels, line.text)
                if labels is not None:
                    passed.append(line._replace(labels=labels))
        return passed


def _stages(query: str) -> list[str]:
    """What stands between the pipes that are in no string."""
    stages = [""]
    for piece in _PIECE.findall(query):
        if piece == "|":
            stages.append("")
        else:
            stages[-1] += piece
    return [stage.strip() for stage in stages]


def _after(stage: str, labels: dict[str, str], text: str) -> dict[str, str] | None:
    """The labels of a line behind *stage*; None if it does not come through."""
    word, _, rest = stage.partition(" ")
    if word == "json":
        ((label, _, name),) = _COMPARISON.findall(rest)
        found = json.loads(text).get(name)
        return labels if found is None else {**labels, label: json.dumps(found)}
    if word == "label_format":
        made = {name: _filled(template, labels) for name, template in _templates(rest)}
        return {**labels, **{name: value for name, value in made.items() if value}}
    if word == "unwrap":
        return {**labels, "unwrapped": labels[rest]} if rest in labels else None
    return labels if _passes(labels, stage) else None


def _templates(text: str) -> list[tuple[str, str]]:
    found = re.findall(r"(\w+)=`([^`]*)`", text)
    if ", ".join(f"{name}=`{template}`" for name, template in found) != text:
        raise ValueError(f"a label_format that is not known here: {text}")
    return found


def _filled(template: str, labels: dict[str, str]) -> str:
    if plain := re.fullmatch(r"\{\{\.(\w+)\}\}", template):
        return labels.get(plain[1], "")
    replaced = r'\{\{regexReplaceAll ("(?:[^"\\]|\\.)+") \(or \.(\w+) \.(\w+)\) ""\}\}'
    if without := re.fullmatch(replaced, template):
        text = labels.get(without[2]) or labels.get(without[3], "")
        return re.sub(json.loads(without[1]), "", text)
    counted = r"\{\{if \.(\w+)\}\}\{\{len \(fromJson \.\1\)\}\}\{\{else\}\}0\{\{end\}\}"
    if listed := re.fullmatch(counted, template):
        return str(len(json.loads(labels.get(listed[1], "[]"))))
    raise ValueError(f"a template that is not known here: {template}")


def _passes(labels: dict[str, str], stage: str) -> bool:
    verdicts = []
    for name, operator, wanted in _COMPARISON.findall(stage):
        value = labels.get(name, "")
        equal = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
        verdicts.append(equal == operator.startswith("="))
    if not verdicts:
        raise ValueError(f"a stage that is not known here: {stage}")
    return any(verdicts) if re.search(r'["`]\s+or\s', stage) else all(verdicts)


def _labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {re.sub(r"\W", "_", one.key): _text(one.value) for one in attributes}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return "[" + ",".join(f'"{_text(one)}"' for one in value.array_value.values) + "]"
    if kind == "kvlist_value":
        return str({one.key: _text(one.value) for one in value.kvlist_value.values})
    return "" if kind is None else str(getattr(value, kind))
