"""Who gets the pages of `axon-audit view`: whoever has the token, from this machine, to read."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Make
from viewing import WORDS, Viewing, viewing

from axon_audit_otel.viewer.viewer import Viewer

PAGES = ("/", "/event?id=x", "/lineage?entry=x", "/verification", "/state", "/export/csv", "/none")


@pytest.fixture(name="view")
async def _view(make_audit: Make, tmp_path: Path) -> Iterator[Viewing]:
    audit = make_audit(auto_export_path=tmp_path)
    await audit.log_event("STORE", user_id="alice", entry_ids=["e1"])
    audit.close()
    with viewing(tmp_path) as view:
        yield view


def _token(url: str) -> str:
    return urlsplit(url).query.partition("=")[2]


def test_only_with_the_token(view: Viewing) -> None:
    """Without it, or with another one, nothing is told; the answer names no event."""
    for given in ({}, {"token": ""}, {"token": "x"}, {"token": _token(view.viewer.url) + "x"}):
        stranger = Viewing(view.viewer)
        for page in PAGES:
            answer = stranger.get(page.partition("?")[0], **given)
            assert answer.status_code == 403, (page, given)
            assert "alice" not in answer.text
            assert not answer.headers.getlist("Set-Cookie")
    stranger = Viewing(view.viewer)
    stranger.client.set_cookie(_cookie(view), "wrong", domain="127.0.0.1")
    assert stranger.get().status_code == 403


def _cookie(view: Viewing) -> str:
    return f"axon_audit_view_{urlsplit(view.viewer.url).port}"


def test_the_token_leaves_the_address(view: Viewing) -> None:
    """It is exchanged for a cookie that no script and no other site gets, and that is not it."""
    token = _token(view.viewer.url)
    fresh = Viewing(view.viewer)
    answer = fresh.get("/", token=token)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert token not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert token not in fresh.text()


def test_the_address_for_the_browser_works_once(view: Viewing) -> None:
    """Everybody on the machine sees the arguments of a program that is started."""
    once = _token(view.viewer.opening_url)
    assert Viewing(view.viewer).get("/", token=once).status_code == 303
    assert Viewing(view.viewer).get("/", token=once).status_code == 403
    assert Viewing(view.viewer).get("/", token=_token(view.viewer.url)).status_code == 303


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost"]
)
def test_only_by_the_names_of_this_machine(view: Viewing, host: str) -> None:
    """A page elsewhere whose name points here (DNS rebinding) gets nothing."""
    port = urlsplit(view.viewer.url).port
    host = host.format(port=port)
    for page in PAGES:
        answer = view.client.get(page, base_url=view.base, headers={"Host": host})
        assert answer.status_code == 421
        assert "alice" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}"])
def test_by_each_name_of_this_machine(view: Viewing, host: str) -> None:
    """Each of them has its own cookie."""
    host = host.format(port=urlsplit(view.viewer.url).port)
    fresh = Viewing(view.viewer)
    fresh.base = f"http://{host}"
    assert fresh.get("/", token=_token(view.viewer.url)).status_code == 303
    assert "alice" in fresh.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_read_only(view: Viewing, method: str) -> None:
    """Every page answers GET and HEAD, and nothing else."""
    for page in PAGES:
        answer = view.client.open(page, method=method, base_url=view.base)
        assert answer.status_code == 405
        assert {one.strip() for one in answer.headers["Allow"].split(",")} == {"GET", "HEAD"}
    head = view.client.head("/", base_url=view.base)
    assert (head.status_code, head.data) == (200, b"")


def test_headers(view: Viewing) -> None:
    """No page is kept, framed, or sent on; no other site may read one; no foreign script runs."""
    for page in (*PAGES, "/?since=never"):
        headers = view.get(page).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not [name for name, _ in headers if name.startswith("Access-Control")]
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        if headers["Content-Type"].startswith("text/html"):
            assert "frame-ancestors 'none'" in policy


def test_a_fault_of_ours_is_a_page(view: Viewing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without traceback, and without the words of the error: these may be anything."""
    monkeypatch.setattr(view.viewer.follow, "missing", None)
    answer = view.get()
    assert answer.status_code == 500
    assert "Traceback" not in answer.text


# --- over the network --------------------------------------------------------------------------


@pytest.fixture(name="served")
def _served(view: Viewing) -> Iterator[Viewer]:
    viewer = view.viewer
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    yield viewer
    viewer.close()
    thread.join()


def test_slow_clients_hold_nobody_up(served: Viewer) -> None:
    """While others have connected and say nothing, or half of a request, a page is given."""
    url = urlsplit(served.url)
    address = url.hostname, url.port
    idle = [socket.create_connection(address) for _ in range(20)]
    for number, one in enumerate(idle):
        if number % 2:
            one.sendall(b"GET / HTTP/1.1\r\nHost: ")
    with closing(HTTPConnection(*address, timeout=30)) as asks:
        asks.request("GET", f"/?{url.query}")
        answer = asks.getresponse()
        assert answer.status == 303
        assert re.fullmatch("axon-audit ?", answer.headers["Server"])
    for one in idle:
        one.close()


def test_nothing_listens_for_others(served: Viewer) -> None:
    """The port is open on this machine's own address only."""
    assert served._server.server_address[0] == "127.0.0.1"


def test_an_address_in_version_six(tmp_path: Path) -> None:
    """It is printed as browsers take it."""
    try:
        viewer = Viewer(tmp_path, WORDS, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert viewer.url.startswith("http://[::1]:")
    viewer.close()
