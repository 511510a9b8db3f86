"""A viewer of one archive: its pages, its server, and what goes on behind them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from ..archive.checkpoints import VerifyingKey
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from .access import guard
from .app import Background, Words, application
from .background import Follow, GiveWay, Verification
from .reading import Reading, Shown
from .server import listening, server_of

__all__ = ["Viewer"]


class Viewer:
    """Serves pages over an archive at an address of this machine.

    Args:
        path: A file, or a directory.
        words: How events are printed.
        host: ``127.0.0.1``, ``localhost`` or ``::1``.
        port: 0: a free one.
        policy: Makes events readable. Default: they are shown as they were recorded.
        pseudonyms: The secret that ids were hashed with.
        keys: See `verify`.
        checkpoints: See `verify`.
        erasable: See `verify`.
        shown: Takes note of the events that are shown.

    Attributes:
        app: The pages, as a WSGI application.
        follow: The index.
        verification: Of the archive.
        url: The address to open, with its token.
        opening_url: Another one, which works once.

    Raises:
        OSError: If the port cannot be had.
    """

    def __init__(
        self,
        path: Path,
        words: Words,
        host: str = "127.0.0.1",
        port: int = 0,
        policy: PrivacyPolicy | None = None,
        pseudonyms: Pseudonyms | None = None,
        keys: Iterable[VerifyingKey] = (),
        checkpoints: Iterable[str] = (),
        erasable: Path | None = None,
        shown: Shown = iter,
    ) -> None:
        policy = policy or PrivacyPolicy()
        give_way = GiveWay()
        self.follow = Follow(path, policy, give_way)
        self.verification = Verification(path, keys, checkpoints, erasable, self.follow, give_way)
        reading = Reading(path, policy, pseudonyms, self.follow, shown)
        background = Background(self.follow, self.verification, give_way)
        self.app = application(reading, background, words)
        at = listening(host, port)
        port = at.getsockname()[1]
        token, once = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        names = ("127.0.0.1", "localhost", "[::1]")
        ports = ("", f":{port}") if port == 80 else (f":{port}",)
        guard(self.app, token, once, {f"{name}{end}" for name in names for end in ports})
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.url, self.opening_url = f"{base}/?token={token}", f"{base}/?token={once}"
        self._server = server_of(self.app, at)
        self._is_serving = False

    def start(self, wait: float = 0.0) -> None:
        """Begin to read the archive, in *wait* seconds: the first page may come before."""
        self.follow.start(wait)
        self.verification.start(wait)

    def serve(self) -> None:
        """Answer requests until Ctrl-C, or `close`."""
        self._is_serving = True
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """End all of it."""
        if self._is_serving:
            self._server.shutdown()
        self._server.server_close()
        self.follow.close()
        self.verification.close()
