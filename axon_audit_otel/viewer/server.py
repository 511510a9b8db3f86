"""Serves the pages on this machine, and is not held up by slow clients."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from flask import Flask
from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler

__all__ = ["listening", "server_of"]

_HEAD_S = 10.0  # to send a request
_PATIENCE_S = 20.0  # until some more of an answer is taken
_AT_ONCE = 64  # connections; a browser opens some six


class _Handler(WSGIRequestHandler):
    """One request. It comes into no log: its address may have the token."""

    protocol_version = "HTTP/1.0"  # a connection that waits for more would keep its thread
    timeout = _PATIENCE_S

    def handle(self) -> None:
        self._late = threading.Timer(_HEAD_S, self._drop)
        self._late.daemon = True
        self._late.start()
        try:
            super().handle()
        finally:
            self._late.cancel()

    def run_wsgi(self) -> None:
        self._late.cancel()
        super().run_wsgi()

    def _drop(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""

    def version_string(self) -> str:
        return "axon-audit"


class _Server(ThreadedWSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, app: Flask, descriptor: int) -> None:
        super().__init__(host, port, app, _Handler, fd=descriptor)
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(timeout=0.5):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that is gone. What the pages raise is handled there."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at *port* (0: a free one) of *host*.

    Raises:
        OSError: If that is not possible.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def server_of(app: Flask, at: socket.socket) -> BaseWSGIServer:
    """A server of *app* for a socket of `listening`, which it closes at its end."""
    host, port = at.getsockname()[:2]
    with at:
        return _Server(host, port, app, at.fileno())
