"""The pages: their addresses, and what each shows."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from ..archive.missing import Missing
from ..core.errors import AxonAuditError, InvalidEventError, harmless
from ..core.time import FIRST_US, to_microseconds
from ..events.localtime import shown, usual_offset
from ..events.model import AuditEvent, EventStatus, OperationType
from ..evidence.pages import render
from .background import Follow, GiveWay, Verification
from .event import facts_of, lineage_facts
from .filters import LABELS, MORE, Filters
from .index import Key
from .reading import Page, Reading
from .timeline import timeline
from .verified import SYMBOLS, state_of

__all__ = ["Background", "Words", "application"]

_SIZE = 50  # events on a page
_BEFORE_ALL = f"{FIRST_US}:0:"  # a key
_EXPORTS = {"csv": "text/csv", "jsonl": "application/jsonl"}


class Words(NamedTuple):
    """How the command line prints events, which the pages do alike.

    Attributes:
        details: The facts of an event that have no column, in one line.
        short: A text with its encrypted ids shortened.
        export: Writes events to a file in a format; returns how many.
    """

    details: Callable[[AuditEvent], str]
    short: Callable[[str], str]
    export: Callable[[Iterable[AuditEvent], BinaryIO, str], int]


class Background(NamedTuple):
    """What goes on while pages are looked at."""

    follow: Follow
    verification: Verification
    give_way: GiveWay


def application(reading: Reading, background: Background, words: Words) -> Flask:
    """The pages over an archive, for everybody: see `guard`."""
    app = Flask("axon_audit_otel", static_folder=None, template_folder=None)
    pages = _Pages(reading, background, words)
    for rule, view in (
        ("/", pages.events),
        ("/event", pages.event),
        ("/lineage", pages.lineage),
        ("/verification", pages.verification),
        ("/export/<form>", pages.export),
        ("/state", pages.state),
    ):
        app.add_url_rule(rule, view.__name__, view, methods=["GET"])
    app.register_error_handler(HTTPException, pages.refused)
    app.register_error_handler(Exception, pages.failed)
    return app


class _Pages:
    def __init__(self, reading: Reading, background: Background, words: Words) -> None:
        self._reading, self._words = reading, words
        self._follow, self._verification, self._give_way = background

    # --- pages -----------------------------------------------------------------------------

    def events(self) -> AnyResponse:
        """The events that pass the filters: a timeline, and a page of them."""
        filters = Filters.of(request.args)
        if "" in request.args.values():  # of the form
            return redirect(address("events", filters.given), 303)
        if filters.errors:  # whatever it finds, it is not what was meant
            return self._events(filters, Page([], Missing(), False, False, None), [], 400)
        before, after = (_key(request.args.get(name)) for name in ("before", "after"))
        with self._give_way.page():
            page = self._reading.page(filters.query, _SIZE, before, after)
            notes = self._reading.notes(filters.query, bool(page.events))
            return self._events(filters, page, notes)

    def _events(
        self, filters: Filters, page: Page, notes: list[str], status: int = 200
    ) -> AnyResponse:
        query, line = filters.query, None
        if page.answer is not None:
            line = timeline(page.answer, query.start_us, query.end_us)
        return self._page(
            "viewer/events.html",
            page.missing,
            status=status,
            filters=filters,
            labels=LABELS,
            more=MORE,
            choices={
                "operation": list(OperationType.__members__),
                "status": list(EventStatus.__members__),
            },
            rows=[self._row(event) for _, event in page.events],
            count=None if page.answer is None else page.answer.count,
            timeline=line,
            notes=notes,
            exports=list(_EXPORTS),
            **self._neighbours(page),
        )

    def _neighbours(self, page: Page) -> dict[str, Any]:
        """The keys of the pages before and after, and of the newest event shown."""
        keys = [":".join(map(str, key)) for key, _ in page.events]
        return {
            "newer": keys[0] if page.has_newer and keys else None,
            "older": keys[-1] if page.has_older and keys else None,
            "newest": None if page.has_newer else keys[0] if keys else _BEFORE_ALL,
            "is_first": not page.has_newer,
        }

    def event(self) -> AnyResponse:
        """One event, with what is around it."""
        missing, event_id = Missing(), request.args.get("id", "").strip()
        at_us = request.args.get("at", type=int)
        with self._give_way.page():
            seen = self._reading.event(event_id, at_us, missing)
            if seen is None:
                return self._problem(404, f"No event has the id {event_id}", missing)
            facts = facts_of(seen, self._reading, self._verification, missing)
            around = {name: self._row(event) for name, event in facts.around.items()}
            traced = [self._row(event) for event in facts.traced]
            return self._page(
                "viewer/event.html",
                missing,
                event=facts,
                row=self._row(seen.event),
                around=around,
                traced=traced,
            )

    def lineage(self) -> AnyResponse:
        """What an entry was made of, and what was made of it."""
        missing, entry = Missing(), request.args.get("entry", "")
        with self._give_way.page():
            found = lineage_facts(entry, self._reading, missing) if entry else None
            if found is None:
                return self._problem(404, f"No event names the entry {entry}", missing)
            return self._page("viewer/lineage.html", missing, entry=entry, lineage=found)

    def verification(self) -> AnyResponse:
        """What was verified, and every damage."""
        with self._give_way.page():
            return self._page(
                "viewer/verification.html",
                Missing(),
                report=self._verification.report,
            )

    # --- for programs, and files -------------------------------------------------------------

    def state(self) -> AnyResponse:
        """What is new since a page was made, for its script."""
        key, filters = _key(request.args.get("newest")), Filters.of(request.args)
        newer = 0
        if key is not None and not filters.errors:
            newer = self._reading.newer_than(key, filters.query)
        kind, words = state_of(self._verification)
        is_ready = self._follow.index is not None
        symbol = SYMBOLS[kind]
        return jsonify(newer=newer, kind=kind, words=words, symbol=symbol, ready=is_ready)

    def export(self, form: str) -> AnyResponse:
        """The events that pass the filters, as a file; oldest first."""
        filters, missing = Filters.of(request.args), Missing()
        if form not in _EXPORTS:
            abort(404)
        if filters.errors:
            return self._problem(400, "A filter is wrong", missing, filters.errors.values())
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
        try:
            events = self._reading.events(filters.query, missing, oldest_first=True)
            self._words.export(events, file, form)  # type: ignore[arg-type,unused-ignore]
            file.seek(0)
        except BaseException:
            file.close()
            raise
        name = f"audit-events{'-INCOMPLETE' if missing else ''}.{form}"
        return send_file(file, _EXPORTS[form], as_attachment=True, download_name=name)

    # --- errors ----------------------------------------------------------------------------

    def refused(self, exc: HTTPException) -> AnyResponse:
        """The page of a request that is not answered."""
        said = {
            403: "Open the address that axon-audit view printed: it has the token",
            404: "There is no such page",
            405: "These pages are read only",
            421: "This server does not have that name",
        }
        code = exc.code or 500
        answer = self._problem(code, said.get(code, exc.name), Missing(), bare=code in (403, 421))
        answer.headers.extend(
            header for header in exc.get_headers() if header[0].lower() == "allow"
        )
        return answer

    def failed(self, exc: Exception) -> AnyResponse:
        """The page of an error: ours, or of the system; not its traceback."""
        if isinstance(exc, InvalidEventError):
            return self._problem(400, "This cannot be asked", Missing(), [str(exc)])
        if isinstance(exc, (AxonAuditError, OSError)):
            is_ours = isinstance(exc, AxonAuditError)
            said = "The archive cannot be read" if is_ours else "The system refused this"
            return self._problem(503, said, Missing(), [harmless(str(exc))])
        with suppress(OSError):
            sys.stderr.write(f"Error: {harmless(repr(exc))}\n")
        return self._problem(500, "This page could not be made", Missing(), bare=True)

    def _problem(
        self,
        code: int,
        title: str,
        missing: Missing,
        details: Iterable[str] = (),
        bare: bool = False,
    ) -> Response:
        facts = {"problem": title, "details": list(details), "bare": bare}
        if bare:  # it tells nothing of the archive
            html = render("viewer/problem.html", url=url_for, **facts)
            return Response(html, code, mimetype="text/html")
        return self._page("viewer/problem.html", missing, status=code, **facts)

    # --- what pages have in common -------------------------------------------------------------

    def _page(
        self, template: str, missing: Missing, *, status: int = 200, **facts: Any
    ) -> Response:
        lacking = Missing()
        lacking.include(self._follow.missing)
        lacking.include(missing)
        kind, words = state_of(self._verification)
        html = render(
            template,
            url=url_for,
            address=address,
            archive=str(self._reading.path),
            name=self._reading.path.resolve().name or str(self._reading.path),
            state={"kind": kind, "words": words},
            verified_at=self._verification.finished_at,
            indexed=self._follow.progress,
            is_too_large=self._follow.is_too_large,
            zone=_zone(),
            trouble=self._follow.trouble,
            missing=lacking.lines(),
            short=self._words.short,
            **facts,
        )
        return Response(html, status, mimetype="text/html")

    def _row(self, event: AuditEvent) -> dict[str, Any]:
        """An event as a line of a table."""
        at = to_microseconds(event.timestamp)
        return {
            "id": event.event_id,
            "href": url_for("event", id=event.event_id, at=at),
            "iso": event.timestamp,
            "time": moment(event.timestamp),
            "operation": event.operation.value,
            "status": event.status.value,
            "user": event.user_id,
            "user_href": address("events", {"user": event.user_id or ""}),
            "session": event.session_id,
            "duration_ms": event.duration_ms,
            "what": self._words.short(self._words.details(event)),
            "sequence": event.sequence,
        }


def address(page: str, given: Mapping[str, str]) -> str:
    """The address of a page with these arguments."""
    values: dict[str, Any] = dict(given)
    return url_for(page, **values)


def _zone() -> str:
    """How far the local clock is from UTC."""
    offset = usual_offset()
    return (
        "as the clock here showed them" if offset is None else f"UTC{offset}".replace("+00:00", "")
    )


def moment(time: datetime) -> str:
    """A time as the local clock shows it, to the millisecond."""
    text, _ = shown(time)
    return f"{text}.{time.microsecond // 1000:03d}"


def _key(text: str | None) -> Key | None:
    """A key as an address has it; None if it has none."""
    try:
        order_us, number, source = (text or "").split(":", 2)
        return Key(int(order_us), int(number), source)
    except ValueError:
        return None
