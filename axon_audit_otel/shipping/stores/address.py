"""Addresses of stores: ``victorialogs+http://host:9428``, ``clickhouse+https://host:8443/otel``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlunsplit

from ...core.errors import AuditConfigError, shown_url
from ...otlp.address import parse_address
from ...otlp.client import Endpoint, login_of, sendable
from .answers import Answers
from .clickhouse import ClickHouse
from .store import Store
from .victoria_logs import VictoriaLogs

__all__ = ["open_store"]

_TIMEOUT_S = 120.0  # a store may read for long before it has the first row
_KINDS: dict[str, Callable[[Endpoint], Store]] = {
    "victorialogs": lambda endpoint: VictoriaLogs(Answers(endpoint)),
    "clickhouse": ClickHouse,
}


def open_store(url: str, headers: Mapping[str, str] | None = None) -> Store:
    """The store at *url*; it is not asked yet.

    Args:
        url: Its kind, ``+``, and its address; user and password may be in it.
        headers: Sent with each request, for example ``authorization``.

    Raises:
        AuditConfigError: If *url* is none, or a header cannot be sent; without secrets.
    """
    kind, plus, rest = url.partition("+")
    make = _KINDS.get(kind)
    try:
        parts, is_grpc = parse_address(rest, "store")
    except AuditConfigError:
        plus = ""
    if not plus or make is None or is_grpc:
        kinds = " or ".join(f"{name}+http://HOST:PORT" for name in _KINDS)
        raise AuditConfigError(f"store {shown_url(url)}: use {kinds} (or +https)")
    sent = sendable({**login_of(parts), **(headers or {})})
    netloc = parts.netloc.rpartition("@")[2]
    address = urlunsplit(parts._replace(netloc=netloc))
    return make(Endpoint(address, headers=sent, timeout=_TIMEOUT_S))
