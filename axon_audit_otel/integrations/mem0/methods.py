"""Describes the methods of mem0's `Memory` and `AsyncMemory`: what each call is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from ...operations.audited import AuditedOperation

__all__ = ["METHODS", "PERSONS", "SYSTEM", "Method", "note_texts_left", "payload_of", "persons_in"]

SYSTEM = "mem0"
#: The parameters that name whose memories these are: the owner, the agent, the session.
PERSONS = ("user_id", "agent_id", "run_id")


class Method(NamedTuple):
    """One method.

    Args:
        operation: What it does.
        named: The parameter with the id of the one entry that it is about; "" if there is none.
        filtered: True if ``filters=`` names the persons, and not parameters of its own.
        after: Reports what the caller gets.
    """

    operation: str
    named: str = ""
    filtered: bool = False
    after: Callable[[AuditedOperation, Any], None] = lambda op, result: None


def _found(op: AuditedOperation, result: Any) -> None:
    """Report the entries in a result: one, a list of them, or ``{"results": [...]}``."""
    items = result.get("results", [result]) if isinstance(result, Mapping) else result or ()
    texts = {}
    for item in items:
        if isinstance(item, Mapping) and item.get("id") is not None:
            op.found(item["id"], owner=item.get("user_id"))
            texts[item["id"]] = item.get("memory") or ""
    op.content(texts=texts)


def _past(op: AuditedOperation, result: Any) -> None:
    """Report what the history of an entry gives: its texts, also of one that is deleted."""
    changes = [one for one in result or () if isinstance(one, Mapping)]
    op.found({one["memory_id"] for one in changes if one.get("memory_id") is not None})
    op.note(changes=len(changes))


METHODS: Mapping[str, Method] = {
    "add": Method("STORE"),
    "get": Method("RECALL", "memory_id", after=_found),
    "get_all": Method("RECALL", filtered=True, after=_found),
    "search": Method("RECALL", filtered=True, after=_found),
    "update": Method("STORE", "memory_id"),
    "delete": Method("FORGET", "memory_id"),
    "delete_all": Method("FORGET"),
    "history": Method("RECALL", "memory_id", after=_past),
    "reset": Method("FORGET"),
}


def persons_in(filters: Any, field: str = "user_id") -> list[str]:
    """The persons whom ``filters=`` names, also inside of AND, OR and lists; not those in NOT.
    Without the blanks around their ids, which mem0 takes away."""
    if not isinstance(filters, Mapping):
        return []
    found: list[str] = []
    for name, value in filters.items():
        if name == field:
            values = value.get("in", value.get("eq")) if isinstance(value, Mapping) else value
            several = values if isinstance(values, (list, tuple, set)) else [values]
            found += [str(one).strip() for one in several if one is not None and one != "*"]
        elif name in ("AND", "OR") and isinstance(value, (list, tuple)):
            found += [person for one in value for person in persons_in(one, field)]
    return list(dict.fromkeys(found))


def payload_of(item: Any) -> Mapping[str, Any]:
    """The payload of a record of a vector store; {} if it has none."""
    payload = getattr(item, "payload", None)
    return payload if isinstance(payload, Mapping) else {}


def _parts_of(scope: Any) -> set[str]:
    """Whom a scope is of: ``agent_id=a&user_id=u``, where these have no ``&`` of their own."""
    return set(map(unquote, str(scope).split("&")))


def note_texts_left(
    op: AuditedOperation, memory: Any, ids: Iterable[str], named: Mapping[str, Sequence[str]]
) -> None:
    """Note how many texts mem0 itself keeps of what was deleted: its table ``history`` has those
    of each deleted entry, ``messages`` the newest of what was said in each scope that has all
    whom the call *named*, by ``user_id``, ``agent_id`` and ``run_id``."""
    db: Any = getattr(memory, "db", None)
    if getattr(db, "connection", None) is None:
        return
    with db._lock:
        find = db.connection.execute
        query = "SELECT count(*) FROM history WHERE memory_id = ? AND old_memory IS NOT NULL"
        history = sum(find(query, (key,)).fetchone()[0] for key in ids)
        scopes = find("SELECT session_scope, count(*) FROM messages GROUP BY 1").fetchall()
    whom = {f"{field}={one}" for field, several in named.items() for one in several}
    messages = sum(number for scope, number in scopes if whom and whom <= _parts_of(scope))
    if history or messages:
        op.note(texts_left={"history": history, "messages": messages})
