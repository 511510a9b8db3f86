"""Who may see the pages: whoever has the address with its token, from this machine."""

from __future__ import annotations

import hmac
import re
import secrets

from flask import Flask, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

__all__ = ["guard"]

_POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guard(app: Flask, token: str, once: str, hosts: set[str]) -> None:
    """Answer only requests to read that know the token, by one of the names of this server.

    The token is in the address that is opened first; a cookie has the place of it then, so that it
    is in no history and no link.

    Args:
        app: The pages.
        token: The secret.
        once: Another one, which is taken once: who starts a program shows everybody its arguments.
        hosts: What ``Host`` may be: another is of a page that has its name point here.
    """
    ticket = secrets.token_urlsafe(32)
    unused = [once]

    @app.before_request
    def check() -> AnyResponse | None:
        host = request.headers.get("Host", "").lower()
        if host not in hosts:
            abort(421)
        if request.method not in ("GET", "HEAD"):
            abort(405, valid_methods=["GET", "HEAD"])
        cookie = f"axon_audit_view_{host.rpartition(':')[2]}"  # all ports share their cookies
        if (given := request.args.get("token")) is not None and request.path == "/":
            if unused and _same(given, unused[0]):
                unused.clear()
            elif not _same(given, token):
                abort(403)
            answer = redirect("/", 303)
            answer.set_cookie(cookie, ticket, httponly=True, samesite="Strict")
            return answer
        if not _same(request.cookies.get(cookie, ""), ticket):
            abort(403)
        return None

    @app.after_request
    def headers(answer: Response) -> Response:
        answer.headers.update(_HEADERS)
        policy = "default-src 'none'; sandbox"
        if answer.mimetype == "text/html" and not answer.is_streamed:
            found = _POLICY.search(answer.get_data())  # also what a page cannot say of itself
            policy = f"{found[1].decode()}; frame-ancestors 'none'" if found else policy
        answer.headers["Content-Security-Policy"] = policy
        return answer


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
