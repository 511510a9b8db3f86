"""Pages for people: one file of HTML each, that needs no network and runs nothing of a stranger.

How a page is made::

    html = render("dossier.html", facts=facts)        # a template in `templates/`
    write_file([html.encode()], path)

    {# templates/dossier.html #}
    {% extends "base.html" %}
    {% import "macros.html" as m %}
    {% block title %}Dossier of {{ facts.person }}{% endblock %}
    {% block content %}
    {% call m.section("held", "What is held") %}
      {{ m.table("Entries", [("Entry", "name"), ("Stored", "time")], facts.entries) }}
    {% endcall %}
    {% endblock %}

- What a template prints is escaped: markup, and (by `core.errors.escaped`) control characters and
  those that turn the direction of text. Only `text|lines` keeps line breaks. None is "not known".
- A name that is missing is an error (`StrictUndefined`), not an empty place.
- `value|name` isolates and shortens a word of a stranger, `value|time` and `value|number` print
  those; `m.table` does this by the kind of a column.
- The Content-Security-Policy lets only our own style and script run: no ``style=`` or ``on...=``
  attribute works. A page that needs more of them sets ``styles`` or ``scripts``, lists of files in
  `templates/`; one that a server of ours gives sets ``served = true`` (forms, fetch); one that
  has no tables sets ``still = true`` and has no script at all; ``letter = true``: it is all text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..core.errors import AuditConfigError, escaped
from ..core.time import parse_time, to_microseconds
from ..version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["environment", "render"]

_SHOWN = 300  # characters of a name
_WORD = 20  # of a word that a cell keeps in one piece


def render(template: str, /, **facts: Any) -> str:
    """The page of *template*, a file in `templates/`, with *facts* as its variables.

    Raises:
        AuditConfigError: If Jinja2 is not installed.
    """
    return environment().get_template(template).render(facts)


@cache
def environment() -> Environment:
    """Jinja2 as our pages need it: `render` uses it.

    Raises:
        AuditConfigError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ModuleNotFoundError as exc:
        if exc.name not in ("jinja2", "markupsafe"):
            raise
        msg = "pages need Jinja2: pip install 'axon-audit-otel[report]'"
        raise AuditConfigError(msg) from exc
    made = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals.update(asset=_asset, digest=_digest, made_with=f"axon-audit-otel {__version__}")
    made.filters.update(lines=_lines, name=_name, names=_names, number=_number, time=_time)
    made.filters.update(order=_order, first_of=_first_of, greatest=_greatest)
    made.tests["long"] = _is_long
    return made


def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text("utf-8")


# --- what runs in a page ------------------------------------------------------------------------


def _asset(name: str) -> Markup:
    """A style or script of ours, as it is put between its tags."""
    from markupsafe import Markup

    return Markup(_file(name))  # noqa: S704 # our own file


def _digest(name: str) -> str:
    """Its hash, as a Content-Security-Policy names it."""
    found = hashlib.sha256(_file(name).encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"


# --- how values are printed -----------------------------------------------------------------------


def _printed(value: Any) -> Any:
    """What stands in the page for *value*; Jinja2 escapes its markup afterwards."""
    if hasattr(value, "__html__"):
        return value
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escaped(str(value))


def _lines(text: str) -> Markup:
    """*text* of several lines."""
    from markupsafe import Markup, escape

    return Markup("\n").join(escape(escaped(line)) for line in text.split("\n"))


def _name(value: Any, most: int = _SHOWN) -> Markup:
    """A word of a stranger: isolated from the text around it; of a long one, its beginning."""
    from markupsafe import Markup

    text = _printed(value)
    more = len(text) - most
    if more > 0 and not hasattr(value, "__html__"):
        shown = Markup("<bdi>{}…</bdi> <small>({:,} more characters)</small>")
        return shown.format(text[:most], more)
    return Markup("<bdi>{}</bdi>").format(text)


def _is_long(value: Any) -> bool:
    """True if a word of it may be broken anywhere, so that columns beside it have room."""
    return any(len(word) > _WORD for one in _names(value) for word in str(one).split())


def _number(value: Any) -> str | Markup:
    """A number with commas; else what is there."""
    if not isinstance(value, int | float):
        return _name(value)
    return f"{int(value) if isinstance(value, float) and value.is_integer() else value:,}"


def _names(value: Any) -> list[Any]:
    """The items of a list; else what is there, as the only one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _time(value: Any) -> Markup:
    """A time as people read it, to the second, with its offset from UTC; else what is there."""
    from markupsafe import Markup

    time = _as_time(value)
    if time is None:
        return _name(value)
    offset = time.strftime("%z")
    zone = f"{offset[:3]}:{offset[3:5]}" if time.utcoffset() else "UTC"
    text = f"{time:%Y-%m-%d %H:%M:%S} {zone}"
    return Markup('<time datetime="{}">{}</time>').format(time.isoformat(), text)


def _as_time(value: Any) -> datetime | None:
    time = parse_time(value) if isinstance(value, str) else value
    if not isinstance(time, datetime):
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _order(value: Any, kind: str) -> int | float | None:
    """The number by which a script sorts a cell of a table; None: by its text."""
    if kind == "time" and value is not None:
        time = _as_time(value)
        return None if time is None else to_microseconds(time)
    return value if isinstance(value, int | float) else None


def _first_of(rows: Iterable[Any], most: int) -> list[Any]:
    return list(islice(rows, most))


def _greatest(rows: list[Any], column: int | str) -> float:
    return max((row[column] or 0 for row in rows), default=0)
