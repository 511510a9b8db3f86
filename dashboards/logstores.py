"""The stores of log records that the audit events are asked of: Loki and VictoriaLogs.

Each answers the same three questions in its own language. Users and agents are in the records,
not in the metrics: as labels they would make a series each.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import loki
from grafana_foundation_sdk.models.common import DataSourceRef

from axon_audit_otel.core import semconv

from .pages import EVERY, log_choice

__all__ = ["COLUMNS", "LOKI", "VICTORIA_LOGS", "LogStore"]

#: The columns of a table of events, in this order, and the attribute that each is.
COLUMNS = {
    "operation": semconv.AXON_OPERATION,
    "status": semconv.AXON_STATUS,
    "who": semconv.AUDIT_ACTOR_ID,
    "whose": semconv.AXON_SUBJECT_ID,
    "entries": "entries",  # counted by the query
    "agent": semconv.GEN_AI_AGENT_ID,
    "system": semconv.AXON_SYSTEM,
    "error": semconv.ERROR_TYPE,
    "trace": "trace_id",
    "event": semconv.LOG_RECORD_UID,
}
_MOVING = "FORGET", "EXPORT", "IMPORT"
_CLUSTER, _NAMESPACE = "k8s.cluster.name", "k8s.namespace.name"
_ROWS = 200
_MOST = 10


class LogStore:
    """What the dashboard asks of a store of log records.

    Attributes:
        name: What people call it.
        kind: The data source's plugin.
        traces: The plugin of the trace store that usually stands beside it.
        moving: Events that delete or move data, as a part of a query.
        failed: Those that did not succeed.
        notable: Both.
        several: How an operation on entries of several persons counts, in words.
    """

    name: str
    kind: str
    traces: str
    moving: str
    failed: str
    notable: str
    several: str

    @property
    def variable(self) -> str:
        """The variable with the data source."""
        return self.name.lower()

    @property
    def source(self) -> DataSourceRef:
        """The chosen data source."""
        return DataSourceRef(type_val=self.kind, uid=f"${{{self.variable}}}")

    def service(self) -> Any:
        """A variable with the services whose records there are."""
        raise NotImplementedError

    def rows(self, which: str = "") -> Any:
        """The newest events, with `COLUMNS`."""
        raise NotImplementedError

    def top(self, attribute: str, which: str = "") -> Any:
        """Number of events in the shown time: the ten values of *attribute* with most."""
        raise NotImplementedError

    def top_subjects(self) -> Any:
        """The same of the persons whose entries were touched."""
        raise NotImplementedError

    def top_deleted(self, attribute: str) -> Any:
        """The same of the entries that FORGET deleted."""
        raise NotImplementedError

    def over_time(self, attribute: str, which: str = "") -> Any:
        """Number of events each interval, likewise."""
        raise NotImplementedError

    def of_event(self, event: str) -> dict[str, Any]:
        """A query for the whole of one event, for Explore."""
        raise NotImplementedError


def _in_loki(attribute: str) -> str:
    return attribute.replace(".", "_")


class _Loki(LogStore):
    """LogQL. Loki keeps attributes as structured metadata, with `_` in place of dots."""

    name, kind, traces = "Loki", "loki", "tempo"
    several = "Persons whose entries were touched by the same operation stand together."
    moving = f'| axon_operation=~"{"|".join(_MOVING)}"'
    failed = '| axon_status!="SUCCESS"'
    notable = f"{moving} or {failed.removeprefix('| ')}"

    #: A Loki of before April 2026 does not keep an event's name; a checkpoint has no operation.
    #: Lines that name no system are of any: what a trail says of itself.
    _events = (
        '{service_name=~"$service"}'
        f' | event_name=~"{semconv.EVENT_NAME}|" | axon_operation!=""'
        f' | {_in_loki(_CLUSTER)}=~"$cluster" | {_in_loki(_NAMESPACE)}=~"$namespace"'
        ' | axon_audit_trail=~"$trail" | axon_system=~"$system|" | audit_actor_id=~"$user"'
    )
    _counted = (
        '| json entry_ids="entry_ids"'
        " | label_format entries=`{{if .entry_ids}}{{len (fromJson .entry_ids)}}{{else}}0{{end}}`"
    )

    #: One person, or several without brackets and quotes.
    _whose = r'{{regexReplaceAll "[\\[\\]\"]" (or .axon_subject_id .axon_subject_ids) ""}}'

    def service(self) -> Any:
        return log_choice(
            "service", "Service", "The service.name of the log records.", "service_name"
        )

    def _query(self, expression: str, kind: str) -> loki.Dataquery:
        return loki.Dataquery().expr(expression).query_type(kind).datasource(self.source)

    def rows(self, which: str = "") -> Any:
        shown = ", ".join(
            f"{name}=`{self._whose if name == 'whose' else f'{{{{.{_in_loki(attribute)}}}}}'}`"
            for name, attribute in COLUMNS.items()
            if name != "entries"
        )
        made = f"{self._events} {which} {self._counted} | label_format {shown}"
        return self._query(" ".join(made.split()), "range").max_lines(_ROWS)

    def _most(self, attribute: str, counted: str) -> str:
        return f"topk({_MOST}, sum by ({_in_loki(attribute)}) ({counted}))"

    def _of(self, attribute: str, which: str) -> str:
        return " ".join(f'{self._events} | {_in_loki(attribute)}!="" {which}'.split())

    def top(self, attribute: str, which: str = "") -> Any:
        counted = f"count_over_time({self._of(attribute, which)} [$__range])"
        legend = f"{{{{{_in_loki(attribute)}}}}}"
        return self._query(self._most(attribute, counted), "instant").legend_format(legend)

    def top_subjects(self) -> Any:
        named = f'{self._events} | label_format whose=`{self._whose}` | whose!=""'
        counted = f"count_over_time({named} [$__range])"
        return self._query(self._most("whose", counted), "instant").legend_format("{{whose}}")

    def top_deleted(self, attribute: str) -> Any:
        which = f'| axon_operation="FORGET" {self._counted} | unwrap entries'
        counted = f"sum_over_time({self._of(attribute, which)} [$__range])"
        legend = f"{{{{{_in_loki(attribute)}}}}}"
        return self._query(self._most(attribute, counted), "instant").legend_format(legend)

    def over_time(self, attribute: str, which: str = "") -> Any:
        counted = f"count_over_time({self._of(attribute, which)} [$__interval])"
        legend = f"{{{{{_in_loki(attribute)}}}}}"
        return self._query(self._most(attribute, counted), "range").legend_format(legend)

    def of_event(self, event: str) -> dict[str, Any]:
        uid = _in_loki(semconv.LOG_RECORD_UID)
        return {"expr": f'{{service_name=~".+"}} | {uid}="{event}"', "queryType": "range"}


@dataclass
class _LogsQuery:
    """A query of the plugin `victoriametrics-logs-datasource`, as its panels keep it."""

    expression: str
    kind: str  # instant: rows; stats: one value; statsRange: over time
    source: DataSourceRef
    legend_format: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def ref_id(self, letter: str) -> _LogsQuery:
        """Name it within its panel."""
        self.more["refId"] = letter
        return self

    def build(self) -> _LogsQuery:
        """As the other builders do."""
        return self

    def to_json(self) -> dict[str, Any]:
        """The query as JSON."""
        return {
            "datasource": self.source,
            "editorMode": "code",
            "expr": self.expression,
            "legendFormat": self.legend_format,
            "queryType": self.kind,
            **self.more,
        }


def _quoted(attribute: str) -> str:
    return json.dumps(attribute)


class _VictoriaLogs(LogStore):
    """LogsQL. VictoriaLogs keeps attributes by their own names."""

    name, kind, traces = "VictoriaLogs", "victoriametrics-logs-datasource", "jaeger"
    several = "An operation on entries of several persons counts for each of them."
    moving = f"{_quoted(semconv.AXON_OPERATION)}:in({','.join(_MOVING)})"
    failed = f"!{_quoted(semconv.AXON_STATUS)}:=SUCCESS"
    notable = f"({moving} or {failed})"

    _events = (
        f"event_name:={_quoted(semconv.EVENT_NAME)}"
        f" {_quoted(semconv.SERVICE_NAME)}:in($service)"
        f" {_quoted(_CLUSTER)}:in($cluster) {_quoted(_NAMESPACE)}:in($namespace)"
        f" {_quoted(semconv.AXON_AUDIT_TRAIL)}:in($trail)"
        f' ({_quoted(semconv.AXON_SYSTEM)}:in($system) or {_quoted(semconv.AXON_SYSTEM)}:"")'
        f' {_quoted(semconv.AUDIT_ACTOR_ID)}:~"$user"'
    )
    _counted = "| unpack_json from _msg fields (entry_ids) | json_array_len(entry_ids) as entries"
    _one, _several = _quoted(semconv.AXON_SUBJECT_ID), _quoted(semconv.AXON_SUBJECT_IDS)
    _whose = f'| format if ({_one}:"") "<{semconv.AXON_SUBJECT_IDS}>" as {_one}'

    def service(self) -> Any:
        asked = {"field": semconv.SERVICE_NAME, "query": "*", "refId": "service"}
        return log_choice(
            "service",
            "Service",
            "The service.name of the log records.",
            "",
            store=self.source,
            asked={**asked, "type": "fieldValue"},
            every=EVERY,
        )

    def _query(self, expression: str, kind: str, **more: Any) -> _LogsQuery:
        return _LogsQuery(" ".join(expression.split()), kind, self.source, more=more)

    def rows(self, which: str = "") -> Any:
        names = ", ".join(f"{_quoted(a)} as {name}" for name, a in COLUMNS.items() if a != name)
        return self._query(
            f"{self._events} {which} {self._counted}"
            f' {self._whose} | replace_regexp ("[\\\\[\\\\]\\"]", "") at {self._one}'
            f" | sort by (_time desc) limit {_ROWS} | copy {names}"
            f" | fields _time, {', '.join(COLUMNS)}",
            "instant",
            maxLines=_ROWS,
        )

    def _most(self, attribute: str, counted: str, which: str, name: str, named: bool = True) -> str:
        present = f"{_quoted(attribute)}:*" if named else ""
        return (
            f"{self._events} {present} {which}"
            f" | stats by ({_quoted(attribute)}) {counted} as {name}"
        )

    def _top(self, attribute: str, counted: str, which: str, name: str, named: bool = True) -> Any:
        most = self._most(attribute, counted, which, name, named)
        made = self._query(f"{most} | sort by ({name} desc) limit {_MOST}", "stats")
        made.legend_format = f"{{{{{attribute}}}}}"
        return made

    def top(self, attribute: str, which: str = "") -> Any:
        return self._top(attribute, "count()", which, "operations")

    def top_subjects(self) -> Any:
        which = f"| unroll ({self._several}) {self._whose} | filter {self._one}:*"
        return self._top(semconv.AXON_SUBJECT_ID, "count()", which, "operations", named=False)

    def top_deleted(self, attribute: str) -> Any:
        which = f"{_quoted(semconv.AXON_OPERATION)}:=FORGET {self._counted}"
        return self._top(attribute, "sum(entries)", which, "deleted")

    def over_time(self, attribute: str, which: str = "") -> Any:
        most = self._most(attribute, "count()", which, "operations")
        first = f"first {_MOST} by (operations desc) partition by (_time)"
        made = self._query(f"{most} | {first}", "statsRange")
        made.legend_format = f"{{{{{attribute}}}}}"
        return made

    def of_event(self, event: str) -> dict[str, Any]:
        uid = _quoted(semconv.LOG_RECORD_UID)
        return {"expr": f'{uid}:="{event}"', "queryType": "instant"}


LOKI: LogStore = _Loki()
VICTORIA_LOGS: LogStore = _VictoriaLogs()
