"""Addresses are read alike wherever they are given."""

from __future__ import annotations

from typing import Any

import pytest
from cosigner import key_line
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from axon_audit_otel.core.errors import AuditConfigError
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.witnesses import Witness
from axon_audit_otel.trail.settings import Settings

HTTP, GRPC = "http/protobuf", "grpc"
PUBLIC = key_line("w", Ed25519PrivateKey.generate().public_key().public_bytes_raw())

#: As it is given; the URL of requests; the protocol.
ADDRESSES = [
    ("http://c:4318", "http://c:4318/v1/logs", HTTP),
    ("http://c", "http://c/v1/logs", HTTP),
    ("HTTPS://C.example/", "https://C.example/v1/logs", HTTP),
    ("https://c/otlp", "https://c/otlp/v1/logs", HTTP),
    ("https://c/otlp/", "https://c/otlp/v1/logs", HTTP),
    ("https://c/v1/logs", "https://c/v1/logs", HTTP),
    ("https://c/v1/logs/", "https://c/v1/logs", HTTP),
    ("  http://c:1\n", "http://c:1/v1/logs", HTTP),
    ("http://[::1]:4318", "http://[::1]:4318/v1/logs", HTTP),
    ("http://c:4317", "http://c:4317", GRPC),
    ("http://c:4317/", "http://c:4317", GRPC),
    ("https://[2001:db8::1]:4317", "https://[2001:db8::1]:4317", GRPC),
    ("grpc://c", "http://c:4317", GRPC),
    ("grpc://c:", "http://c:4317", GRPC),
    ("grpc://c:5000/", "http://c:5000", GRPC),
    ("grpcs://c:443", "https://c:443", GRPC),
    ("grpc://[::1]", "http://[::1]:4317", GRPC),
    ("localhost:4318", "http://localhost:4318/v1/logs", HTTP),
    ("localhost:4318/otlp/", "http://localhost:4318/otlp/v1/logs", HTTP),
    ("localhost:4317", "http://localhost:4317", GRPC),
    ("127.0.0.1:1", "http://127.0.0.1:1/v1/logs", HTTP),
    ("[::1]:1", "http://[::1]:1/v1/logs", HTTP),
    ("4318", "http://localhost:4318/v1/logs", HTTP),
    (":4317", "http://localhost:4317", GRPC),
    ("c:4318", "https://c:4318/v1/logs", HTTP),
    ("c.example:4317", "https://c.example:4317", GRPC),
    ("[2001:db8::1]:9", "https://[2001:db8::1]:9/v1/logs", HTTP),
]

#: What is none. A word without a port is more likely a slip.
NONE = [
    *("ftp://c", "http://", "http:///v1/logs", "http://c:99999", "http://c:x", "http://[::1"),
    *("::1", "c", "audit_logs", "./c:1", "c d:1", "http:c:1", "99999", "/v1/logs"),
]


@pytest.mark.parametrize(("given", "url", "protocol"), ADDRESSES)
def test_read_alike(given: str, url: str, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument, in OpenTelemetry's variable, as a setting and in the setting's variable."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", given)
    monkeypatch.setenv("AXON_AUDIT_SHIP_TO", given)
    read: list[Any] = [
        Endpoint.resolve(given, environ={}),
        Endpoint.resolve(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": given}),
        Settings.one("ship_to", given),
        Settings.one("ship_to", "otlp"),
        Settings.one("ship_to"),
    ]
    assert {(one.url, one.protocol) for one in read} == {(url, protocol)}


@pytest.mark.parametrize("given", NONE)
def test_no_address(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused wherever it is given, and shown with what to write."""
    monkeypatch.setenv("AXON_AUDIT_SHIP_TO", given)
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": given}
    for read in (
        lambda: Endpoint.resolve(given, environ={}),
        lambda: Endpoint.resolve(environ=environ),
        lambda: Settings.one("ship_to", given),
        lambda: Settings.one("ship_to"),
    ):
        with pytest.raises(AuditConfigError, match=r"use a URL like http://localhost:4318") as said:
            read()
        assert repr(given) in str(said.value)


@pytest.mark.parametrize(("insecure", "scheme"), [("true", "http"), ("false", "https")])
@pytest.mark.parametrize("given", ["localhost:1", "c:1"])
def test_tls_without_a_scheme(given: str, insecure: str, scheme: str) -> None:
    """OpenTelemetry's variable decides, for both protocols; a scheme says more than it does."""
    for protocol in (HTTP, GRPC):
        environ = {"OTEL_EXPORTER_OTLP_INSECURE": insecure, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        assert Endpoint.resolve(given, environ=environ).url.startswith(f"{scheme}://{given}")
        assert Endpoint.resolve(f"https://{given}", environ=environ).url.startswith("https://")


def test_grpc_against_another_protocol() -> None:
    """The scheme says more than the variable; an argument that contradicts it is an error."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": HTTP}
    assert Endpoint.resolve("grpc://c", environ=environ).protocol == GRPC
    with pytest.raises(AuditConfigError, match="the protocol given is http/protobuf"):
        Endpoint.resolve("grpc://c", HTTP, environ={})


@pytest.mark.parametrize(("given", "url", "_protocol"), ADDRESSES)
def test_witnesses(given: str, url: str, _protocol: str) -> None:
    """The address of a witness is read alike; it has no path of OTLP, and no gRPC."""
    line = f"{given.strip()} {PUBLIC}"
    if given.startswith("grpc"):
        with pytest.raises(AuditConfigError, match=r"must be URL name\+id\+key"):
            Witness.parse(line)
        return
    (witness,) = Settings.one("witnesses", line)
    prefix = given.partition("://")[2].strip("/\n") if "://" in given else url
    assert witness.url.removesuffix("/v1/logs").endswith(prefix.removesuffix("/v1/logs"))
    assert witness.url.startswith(url.partition("://")[0])
