"""Which tool of an MCP server does what to which entries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...operations.audited import AuditedOperation
from ...trail.audit_logger import AuditLogger

__all__ = ["TOOLS", "Tool", "Tools"]

SYSTEM = "mcp"
#: ``error.type`` of a call that the server answered with ``isError``.
TOOL_ERROR = "tool_error"


class Tool(NamedTuple):
    """What one tool does.

    Args:
        operation: The operation's name.
        ids: Where its arguments name entries: ``entities[].name``. "" if they name none.
        given: Where its result has the entries that are new, or that the caller gets, likewise.
        check: Another tool that tells, before a deletion, which entries there are, and the
            argument that takes their ids; its result has them where that tool says.
        parts: Where its arguments list what it deletes of entries that stay: their number counts.
    """

    operation: str
    ids: str = ""
    given: str = ""
    check: tuple[str, str] | None = None
    parts: str = ""


#: The tools of ``@modelcontextprotocol/server-memory``.
TOOLS: Mapping[str, Tool] = {
    "create_entities": Tool("STORE", "", "entities[].name"),
    "create_relations": Tool("STORE", "relations[].from"),
    "add_observations": Tool("STORE", "observations[].entityName", "results[].entityName"),
    "delete_entities": Tool("FORGET", "entityNames[]", check=("open_nodes", "names")),
    "delete_observations": Tool(
        "FORGET", "deletions[].entityName", parts="deletions[].observations[]"
    ),
    "delete_relations": Tool("FORGET", "relations[].from", parts="relations[]"),
    "read_graph": Tool("RECALL", "", "entities[].name"),
    "search_nodes": Tool("RECALL", "", "entities[].name"),
    "open_nodes": Tool("RECALL", "names[]", "entities[].name"),
}

_DELETES = re.compile(r"(?i)(^|[_.-])(delete|remove|forget|clear|purge|wipe|reset)")
_READS = re.compile(r"(?i)(^|[_.-])(read|get|list|search|find|open|recall|query|retrieve|fetch)")
_STORES = re.compile(r"(?i)(^|[_.-])(create|add|store|save|put|remember|write|update|set|insert)")
#: Arguments that name entries by themselves, of tools that nobody has described.
_IDS = ("ids[]", "id", "memory_ids[]", "memory_id", "keys[]", "key", "names[]", "name")


class Tools:
    """What the tools of one server do.

    Args:
        audit: Where their calls are recorded.
        described: Further tools, or others of the same names.
        owner: Whose memory it is.
        store: Which of several servers it is.
        private_ids: The names of entities name people: they are hidden where the trail hides ids:
            by hashes (``pseudonymize=``), or encrypted (``erasable=``).
    """

    def __init__(
        self,
        audit: AuditLogger,
        described: Mapping[str, Tool] | None = None,
        *,
        owner: str | None = None,
        store: str | None = None,
        private_ids: bool = True,
    ) -> None:
        self._audit = audit
        self._private = private_ids
        self._described = {**TOOLS, **(described or {})}
        self._owner = owner
        self._store = store
        self._annotations: dict[str, Mapping[str, Any]] = {}
        audit.trail.metrics.expect(SYSTEM)

    def learn(self, name: str, annotations: Mapping[str, Any]) -> None:
        """The server says of a tool whether it only reads, and whether it destroys."""
        self._annotations[name] = annotations

    def is_told(self, name: str) -> bool:
        """True if what a tool does is told without annotations, or with those that are known."""
        return name in self._annotations or self.tool(name).operation != "OTHER"

    def tool(self, name: str) -> Tool:
        """What the tool of that name does: as described, else by its verb, else as the server
        says it."""
        if name in self._described:
            return self._described[name]
        said = self._annotations.get(name, {})
        for words, operation in ((_DELETES, "FORGET"), (_READS, "RECALL"), (_STORES, "STORE")):
            if words.search(name):
                return Tool(operation)
        if said.get("readOnlyHint") is True:
            return Tool("RECALL")
        return Tool("FORGET" if said.get("destructiveHint") is True else "OTHER")

    def operation(self, name: str, arguments: Any, **who: Any) -> AuditedOperation:
        """The operation that a call of a tool is."""
        tool = self.tool(name)
        return self._audit.operation(
            tool.operation,
            system=SYSTEM,
            action=name,
            store=self._store,
            owner=self._owner,
            entry_ids=self.named(name, arguments),
            private_ids=self._private,
            **who,
        )

    def named(self, name: str, arguments: Any) -> list[str]:
        """The ids of the entries that a call names."""
        tool = self.tool(name)
        paths = (tool.ids,) if name in self._described else _IDS
        return [key for path in paths if path for key in _at(path, arguments)]

    def there(self, name: str, result: Any) -> list[str]:
        """The ids of the entries that a result has."""
        return list(_at(self.tool(name).given, result))

    def report(
        self,
        op: AuditedOperation,
        name: str,
        arguments: Any,
        result: Any,
        there: Sequence[str] | None = None,
    ) -> None:
        """Report what a call did, by its *result*, an object of ``structuredContent``.

        *there*: of the entries that it was to delete those that there were; None: not known.
        """
        with op.noting():
            tool = self.tool(name)
            named, given = self.named(name, arguments), self.there(name, result)
            if tool.operation == "STORE":
                op.saved(given if tool.given else named)
            elif tool.operation != "FORGET":
                op.found(given if tool.given else named)
            elif tool.parts:
                op.deleted(number=len(list(_at(tool.parts, arguments))))
                op.note(remaining_ids=named)  # the entries themselves stay
            else:
                op.deleted([key for key in named if there is None or key in there])
            query = arguments.get("query") if isinstance(arguments, Mapping) else None
            said = arguments if tool.operation == "STORE" else result
            texts = {} if tool.operation == "FORGET" else _texts(said, given or named)
            op.content(query=query if isinstance(query, str) else None, texts=texts)


def _at(path: str, value: Any) -> Iterator[str]:
    """The texts at *path* in a JSON value; nothing where there are none."""
    if not path:
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, Mapping):  # counted, where it is a part
            yield _json(value)
        return
    name, _, rest = path.partition(".")
    several = name.endswith("[]")
    found = value.get(name.removesuffix("[]")) if isinstance(value, Mapping) else None
    if several and isinstance(found, list):
        for one in found:
            yield from _at(rest, one)
    elif not several and found is not None:
        yield from _at(rest, found)


def _texts(value: Any, ids: Sequence[str]) -> dict[str, str]:
    """The contents of named entities in a JSON value; without any, all of it, under the one id
    that there is, or none."""
    entities = value.get("entities") if isinstance(value, Mapping) else None
    if not isinstance(entities, list):
        return {ids[0] if len(ids) == 1 else "": _json(value)} if value else {}
    named = (one for one in entities if isinstance(one, Mapping) and "name" in one)
    return {str(one["name"]): _json(one) for one in named}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
