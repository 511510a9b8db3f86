"""A key for each user, in files that only their owner reads, until it is destroyed.

A keyring is a directory, beside the archive and never in it::

    keyring         its number, a salt, and one more byte for each erasure
    3f.keys         records of 48 bytes: a name, and what it stands for

A user's record has a keyed hash of the id for a name, and stands for a random token; the record
of a token stands for the key. Both are found by their last byte and reading one file, without
an index in memory. To destroy a key is to overwrite its record, forced to the device. Any number of
processes share a keyring.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Collection, Container, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..core.errors import ArchiveError
from ..core.files import make_directory, refuse_writable_by_all
from ..core.semconv import ERASABLE_PREFIX
from .key_files import (
    NAME_BYTES,
    NUMBER_BYTES,
    VALUE_BYTES,
    KeyFiles,
    number_and_salt,
    opened,
)

__all__ = ["Keyring", "User", "name_of"]

_RING = "keyring"
_PADDING, _END = 32, b"\x01"
_KEPT = 8192  # users in memory, of some two KB each
_RETRY_S = 1.0
_RETRY_LOCKED_S = 10.0  # where each try waits for another process


class User(NamedTuple):
    """A user who can be erased.

    Attributes:
        token: Random bytes that stand for the user; the first four are the keyring's number.
        key: The AES-256 key.
        cipher: AES-GCM with that key.
        name: What is recorded for the id: the token, and the id encrypted; the same each
            time. Empty where the id was not known.
    """

    token: bytes
    key: bytes
    cipher: AESGCM
    name: str = ""


def name_of(token: bytes) -> str:
    """The part of a user's `name` that is left when the key is destroyed."""
    return ERASABLE_PREFIX + token.hex()


class Keyring:
    """The keys of users, by id and by token. Thread-safe.

    Args:
        directory: Where it is.
        create: Make it if it is not there.
        sync: Force new keys to the device before they are used.
        fault: Told of a key that could not be written; memory keeps it, and it is tried again.
            Called under the lock.
        like: Whose owner gets the directory, if root makes it: the archive. Default: root.

    Raises:
        ArchiveError: If it is not there, or cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        create: bool = True,
        sync: bool = False,
        fault: Callable[[Exception], object] = lambda exc: None,
        like: Path | None = None,
    ) -> None:
        self.directory = directory
        self.fault = fault
        self._files = KeyFiles(directory, sync)
        self.after_fork()
        self._users: dict[str, User] = {}
        self._names: dict[str, tuple[User, str] | None] = {}
        self._memory: dict[Any, Any] = {}
        self._unsaved: dict[str, User] = {}
        self._retry_at = 0.0  # after a failure
        self.dead: Set[bytes] = frozenset()  # tokens whose keys are not used, though they be there
        try:
            self._open(create, like)
        except OSError as exc:
            msg = f"cannot use the keys in {str(directory)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc

    def _open(self, create: bool, like: Path | None) -> None:
        flags = os.O_RDWR | os.O_APPEND
        if create:
            make_directory(self.directory, like or self.directory)
            flags |= os.O_CREAT
        refuse_writable_by_all(self.directory)
        try:
            self._ring = opened(self.directory / _RING, flags)
        except OSError as exc:
            if create or exc.errno not in (errno.EACCES, errno.EROFS):
                raise
            self._ring = opened(self.directory / _RING, os.O_RDONLY)
        finalize(self, os.close, self._ring)
        self.number, self._salt = number_and_salt(self._ring, self.directory / _RING, create)
        self._generation = -1  # of what is in memory: the size of that file
        key = hmac.digest(self._salt, b"axon-audit nobody", "sha256")
        #: Has the key of what is nobody's. No erasure destroys it.
        self.nobody = _user(self.number + bytes(NAME_BYTES - NUMBER_BYTES), key)

    # --- keys ------------------------------------------------------------------------------

    def of(self, user_id: str) -> User:
        """The user of that id, with a new key if there is none."""
        self._look()
        user = self._users.get(user_id)
        if user is None or self._unsaved:
            # In the middle of another call (a finalizer, a signal handler) this thread may have
            # locked the very file.
            writes = not self._is_ours()
            with self._lock:
                user = self._load(user_id, writes)
        return user

    def having(self, user_id: str) -> list[User]:
        """Every key there is for that id: none, one, or several after failures."""
        with self._lock:
            unsaved = self._unsaved.get(user_id)
            tokens = [value[:NAME_BYTES] for value in self._files.read(self._name(user_id))]
            keys = [(token, key) for token in tokens for key in self._living(token)]
        found = [_user(token, key, user_id) for token, key in keys]
        return found if unsaved is None else [*found, unsaved]

    def knows(self, user_id: str) -> bool:
        """True if there is anything to destroy or to forget for that id.

        Raises:
            OSError: If that cannot be told.
        """
        return user_id in self._unsaved or bool(self._files.read(self._name(user_id)))

    def lives(self, token: bytes) -> bool:
        """True if there is a key for *token*, also one that a copy has brought back.

        Raises:
            OSError: If that cannot be told.
        """
        with self._lock:
            return len(token) == NAME_BYTES and bool(self._files.read(token))

    def by_name(self, name: str) -> tuple[User, str] | None:
        """The user whom a `User.name` stands for, and the id.

        Returns:
            None if the key was destroyed, is on another keyring, or it is no such name.
        """
        self._look()
        known = self._names  # if a key is destroyed meanwhile, another takes its place
        if self._unsaved:
            with self._lock:
                for user_id, user in self._unsaved.items():
                    if user.name == name:
                        return user, user_id
        if name not in known:
            try:
                _keep(known, name, self._decrypted(name))
            except OSError:
                return None
        return known.get(name)

    def by_token(self, token: bytes) -> User | None:
        """The user whom *token* stands for; None without a key.

        Raises:
            OSError: If that cannot be told.
        """
        if token == self.nobody.token:
            return self.nobody
        if self._unsaved:
            with self._lock:
                for user in self._unsaved.values():
                    if user.token == token:
                        return user
        if len(token) != NAME_BYTES or token[:NUMBER_BYTES] != self.number:
            return None
        memory = self.memory
        if token not in memory:
            keys = self._living(token)
            memory[token] = _user(token, keys[0]) if keys else None
        found: User | None = memory[token]
        return found

    def everybody(self, most: int) -> list[User] | None:
        """Everybody who has a key, and nobody; None if these are more than *most*.

        Raises:
            OSError: If that cannot be told.
        """
        with self._lock:
            tokens = {user.token for user in self._unsaved.values()}
            for name in self._files.names():
                if name[:NUMBER_BYTES] == self.number and name not in self.dead:
                    tokens.add(name)
                if len(tokens) >= most:
                    return None
            found = [user for token in tokens if (user := self.by_token(token)) is not None]
        return [self.nobody, *found]

    @property
    def memory(self) -> dict[Any, Any]:
        """For what was made with keys: emptied when a key is destroyed, here or elsewhere."""
        self._look()
        if len(self._memory) >= _KEPT:
            self._memory = {}
        return self._memory

    @property
    def generation(self) -> int:
        """Another number after each erasure, here or elsewhere."""
        self._look()
        return self._generation

    def _decrypted(self, name: str) -> tuple[User, str] | None:
        token, _, text = name.removeprefix(ERASABLE_PREFIX).partition(":")
        try:
            known = bytes.fromhex(token)
            keys = self._living(known) if known[:NUMBER_BYTES] == self.number else []
            if keys and len(known) == NAME_BYTES:
                user, encrypted = _user(known, keys[0]), base64.urlsafe_b64decode(text)
                padded = user.cipher.decrypt(known[NUMBER_BYTES:], encrypted, None)
                return user, padded.rstrip(b"\0")[: -len(_END)].decode()
        except (ValueError, InvalidTag):  # somebody calls himself so
            pass
        return None

    def save(self) -> None:
        """Write what could not be written before, if that is possible now."""
        if self._unsaved and not self._is_ours():
            with self._lock:
                self._retry_at = min(self._retry_at, time.monotonic())
                self._save()

    @property
    def is_saved(self) -> bool:
        """True if every key in use is in a file."""
        return not self._unsaved

    def _look(self) -> None:
        """Forget what is in memory if a key was destroyed since, here or elsewhere."""
        status = os.fstat(self._ring)
        if status.st_size != self._generation or not status.st_nlink:
            with self._lock:
                self._users, self._names, self._memory = {}, {}, {}
                self._generation = status.st_size

    def _load(self, user_id: str, writes: bool) -> User:
        if self._unsaved and writes:
            self._save()
        user = self._unsaved.get(user_id) or self._users.get(user_id)
        if user is None:
            try:
                user = self._stored(user_id)
            except OSError as exc:
                self.fault(exc)
        if user is None:
            token = self.number + os.urandom(NAME_BYTES - NUMBER_BYTES)
            user = _user(token, os.urandom(VALUE_BYTES), user_id)
            _keep(self._unsaved, user_id, user)
            if writes:
                self._save()
        _keep(self._users, user_id, user)
        return user

    def _stored(self, user_id: str) -> User | None:
        for value in self._files.read(self._name(user_id)):
            token = value[:NAME_BYTES]
            for key in self._living(token):
                return _user(token, key, user_id)
        return None  # unknown, or an erasure did not come to its end

    def _living(self, token: bytes) -> list[bytes]:
        """The keys of a token; none if its user was erased, though a copy has brought it back."""
        return [] if token in self.dead else self._files.read(token)

    def _save(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            for user_id, user in list(self._unsaved.items()):
                self._write_user(user_id, user)
                del self._unsaved[user_id]
            if self._retry_at:  # whoever missed them looks again
                self._retry_at = 0.0
                self._invalidate_memory()
        except OSError as exc:
            pause = _RETRY_LOCKED_S if isinstance(exc, TimeoutError) else _RETRY_S
            self._retry_at = time.monotonic() + pause
            self.fault(exc)

    def _write_user(self, user_id: str, user: User) -> None:
        """Write both records, or none: a key that is not found by the id outlives its erasure."""
        self._files.write(user.token, user.key)
        try:
            self._files.write(self._name(user_id), user.token + bytes(VALUE_BYTES - NAME_BYTES))
        except OSError:
            self._files.wipe(self._files.file_of(user.token), lambda name, _: name == user.token)
            raise

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = lock = threading.RLock()
        self._is_ours: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]

    @contextmanager
    def _change(self) -> Iterator[None]:
        """The lock, for what locks files too.

        Raises:
            OSError: In the middle of such a change, by a signal handler or a finalizer.
        """
        if self._is_ours():
            raise OSError(errno.EDEADLK, "called in the middle of another call")
        with self._lock:
            yield

    # --- erasure ---------------------------------------------------------------------------

    def tokens_of(self, user_id: str) -> list[bytes]:
        """The tokens of that user, also those whose keys an interrupted erasure has destroyed.

        Raises:
            OSError: If they cannot be read.
        """
        with self._change():
            unsaved = self._unsaved.get(user_id)
            tokens = [value[:NAME_BYTES] for value in self._files.read(self._name(user_id))]
            if unsaved is not None and unsaved.token not in tokens:
                tokens.append(unsaved.token)  # its key may be in a file all the same
        return tokens

    def destroy(self, user_id: str, tokens: Collection[bytes]) -> None:
        """Destroy the keys of these `tokens_of` a user; `forget` completes it.

        Until then the tokens can be found by the id: an erasure that was interrupted is
        repeated from here.

        Raises:
            OSError: If a key may still be there.
        """
        with self._change():
            for path in sorted(set(map(self._files.file_of, tokens))):
                self._files.wipe(path, lambda name, _: name in tokens)
            self._invalidate_memory()
            unsaved = self._unsaved.get(user_id)
            self._users.pop(user_id, None)
            if unsaved is not None and unsaved.token in tokens:
                del self._unsaved[user_id]  # last: until here it is found again

    def proof_of_erasure(self, token: bytes) -> bytes:
        """16 bytes that only who has these keys can make: they say that *token* was erased."""
        return hmac.digest(self._salt, b"erased:" + token, "sha256")[:NAME_BYTES]

    def forget(self, user_id: str, tokens: Container[bytes]) -> None:
        """Remove what says whose *tokens* they were.

        Raises:
            OSError: If that failed.
        """
        name = self._name(user_id)
        with self._change():
            self._files.wipe(
                self._files.file_of(name),
                lambda its, value: its == name and value[:NAME_BYTES] in tokens,
            )

    def destroy_again(self, tokens: Container[bytes]) -> bool:
        """Destroy what a copy of the keyring brought back; returns whether there was any.

        Raises:
            OSError: If that failed.
        """
        with self._change():
            gone = [
                self._files.wipe(
                    path, lambda name, value: name in tokens or value[:NAME_BYTES] in tokens
                )
                for path in sorted(self.directory.glob("*.keys"))
            ]
            if any(gone):
                self._invalidate_memory()
        return any(gone)

    def _invalidate_memory(self) -> None:
        """Let every process forget what it has in memory."""
        os.write(self._ring, b"\n")

    # --- files -----------------------------------------------------------------------------

    def _name(self, user_id: str) -> bytes:
        text = user_id.encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, key=self._salt, digest_size=NAME_BYTES).digest()


def _user(token: bytes, key: bytes, user_id: str | None = None) -> User:
    cipher = AESGCM(key)
    if user_id is None:
        return User(token, key, cipher)
    text = user_id.encode("utf-8", "backslashreplace") + _END
    padded = text + bytes(-len(text) % _PADDING)  # so that its length tells little
    # The nonce is used for this text only: the key is as random as the token.
    encrypted = cipher.encrypt(token[NUMBER_BYTES:], padded, None)
    name = f"{name_of(token)}:{base64.urlsafe_b64encode(encrypted).decode()}"
    return User(token, key, cipher, name)


def _keep(known: dict[Any, Any], key: object, value: object) -> None:
    """Keep a pair in memory, and let the oldest go."""
    if len(known) >= _KEPT:
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
            del known[next(iter(known))]
    known[key] = value
