"""Addresses of servers as people write them: one rule for arguments, settings and variables.

::

    http://HOST[:PORT][/PATH]      as it is; also https://
    grpc://HOST[:PORT]             gRPC, port 4317 if there is none; with TLS: grpcs://
    HOST:PORT[/PATH]               http on this machine, https elsewhere
    PORT, :PORT                    on this machine

An IPv6 address is in brackets: ``[::1]:4318``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ..core.errors import AuditConfigError, shown_url

__all__ = ["GRPC_PORT", "Address", "parse_address"]

GRPC_PORT = 4317
_SCHEMES = {"http": "http", "https": "https", "grpc": "http", "grpcs": "https"}
_HELP = "use a URL like http://localhost:4318 or grpc://localhost:4317, or HOST:PORT"


class Address(NamedTuple):
    """An address.

    Attributes:
        url: Its parts; the scheme is ``http``, or ``https`` for TLS, also for gRPC.
        is_grpc: True if the scheme was ``grpc`` or ``grpcs``.
    """

    url: SplitResult
    is_grpc: bool


def parse_address(text: str, what: str, insecure: str | None = None) -> Address:
    """The address in *text*.

    Args:
        text: As above; space around it does not count.
        what: What it is the address of, for the error.
        insecure: ``OTEL_EXPORTER_OTLP_INSECURE``: whether an address without a scheme is one
            without TLS (``true``) or with it. Default: without TLS on this machine only.

    Raises:
        AuditConfigError: If it is no address; the message shows it without its login.
    """
    try:
        return _parsed(text.strip(), insecure)
    except ValueError:
        raise AuditConfigError(f"{what} {shown_url(text)}: {_HELP}") from None


def _parsed(text: str, insecure: str | None) -> Address:
    scheme, has_scheme, rest = text.partition("://")
    if not has_scheme:
        scheme, rest = "", f":{text}" if text.isdecimal() else text
        if re.match(r":\d", rest):
            rest = f"localhost{rest}"
    scheme = scheme.lower()
    parts = urlsplit(f"//{rest}")
    host, port = parts.hostname, parts.port  # the port raises where it is none
    if not host or not re.fullmatch(r"[\w.:%-]*\w[\w.:%-]*", host):
        raise ValueError("no host")
    if not has_scheme:
        if port is None:  # a word alone is more likely a slip than a host
            raise ValueError("neither scheme nor port")
        scheme = "http" if _is_plain(host, insecure) else "https"
    elif scheme not in _SCHEMES:
        raise ValueError("another scheme")
    is_grpc = scheme.startswith("grpc")
    if is_grpc and port is None:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{GRPC_PORT}")
    return Address(parts._replace(scheme=_SCHEMES[scheme], fragment=""), is_grpc)


def _is_plain(host: str, insecure: str | None) -> bool:
    """Return True if *host*, given without a scheme, is spoken to without TLS."""
    if insecure:
        return insecure.strip().lower() == "true"
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False
