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
import stat
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
from ..core.files import locked, make_directory, open_owned, refuse_writable_by_all
from ..core.fsync import sync_directory
from ..core.semconv import ERASABLE_PREFIX

__all__ = ["Keyring", "User", "name_of"]

_RING = "keyring"
_MAGIC = b"axon-audit keys1"
_NUMBER, _SALT = 4, 32
_HEADER = len(_MAGIC) + _NUMBER + _SALT
_NAME, _VALUE = 16, 32
_RECORD = _NAME + _VALUE
_FREE = bytes(_RECORD)
_PADDING, _END = 32, b"\x01"
_KEPT = 8192  # users in memory, of some two KB each
_MOST = 64 << 20  # bytes of a file: each of the 256 has room for 1.4 million records
_RETRY_S = 1.0


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
        self._sync, self.fault = sync, fault
        self.after_fork()
        self._users: dict[str, User] = {}
        self._names: dict[str, tuple[User, str] | None] = {}
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
            self._ring = _opened(self.directory / _RING, flags)
        except OSError as exc:
            if create or exc.errno not in (errno.EACCES, errno.EROFS):
                raise
            self._ring = _opened(self.directory / _RING, os.O_RDONLY)
        finalize(self, os.close, self._ring)
        with locked(self._ring):
            header = os.pread(self._ring, _HEADER, 0)
            if create and len(header) < _HEADER and _MAGIC.startswith(header[: len(_MAGIC)]):
                header = _MAGIC + os.urandom(_NUMBER + _SALT)
                os.ftruncate(self._ring, 0)
                os.write(self._ring, header)
                os.fsync(self._ring)
                sync_directory(self.directory)
                sync_directory(self.directory.parent)
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            raise OSError(22, f"{_RING!r} is not the file of a keyring")
        self.number = header[len(_MAGIC) :][:_NUMBER]
        self._salt = header[-_SALT:]
        self._generation = -1  # of what is in memory: the size of that file

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
            tokens = [value[:_NAME] for value in self._read(self._name(user_id))]
            keys = [(token, key) for token in tokens for key in self._living(token)]
        found = [_user(token, key, user_id) for token, key in keys]
        return found if unsaved is None else [*found, unsaved]

    def knows(self, user_id: str) -> bool:
        """True if there is anything to destroy or to forget for that id.

        Raises:
            OSError: If that cannot be told.
        """
        return user_id in self._unsaved or bool(self._read(self._name(user_id)))

    def lives(self, token: bytes) -> bool:
        """True if there is a key for *token*, also one that a copy has brought back.

        Raises:
            OSError: If that cannot be told.
        """
        with self._lock:
            return len(token) == _NAME and bool(self._read(token))

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

    def _decrypted(self, name: str) -> tuple[User, str] | None:
        token, _, text = name.removeprefix(ERASABLE_PREFIX).partition(":")
        try:
            known = bytes.fromhex(token)
            keys = self._living(known) if known[:_NUMBER] == self.number else []
            if keys and len(known) == _NAME:
                user, encrypted = _user(known, keys[0]), base64.urlsafe_b64decode(text)
                padded = user.cipher.decrypt(known[_NUMBER:], encrypted, None)
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
                self._users, self._names = {}, {}
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
            token = self.number + os.urandom(_NAME - _NUMBER)
            user = _user(token, os.urandom(_VALUE), user_id)
            _keep(self._unsaved, user_id, user)
            if writes:
                self._save()
        _keep(self._users, user_id, user)
        return user

    def _stored(self, user_id: str) -> User | None:
        for value in self._read(self._name(user_id)):
            token = value[:_NAME]
            for key in self._living(token):
                return _user(token, key, user_id)
        return None  # unknown, or an erasure did not come to its end

    def _living(self, token: bytes) -> list[bytes]:
        """The keys of a token; none if its user was erased, though a copy has brought it back."""
        return [] if token in self.dead else self._read(token)

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
            self._retry_at = time.monotonic() + _RETRY_S
            self.fault(exc)

    def _write_user(self, user_id: str, user: User) -> None:
        """Write both records, or none: a key that is not found by the id outlives its erasure."""
        self._write(user.token, user.key)
        try:
            self._write(self._name(user_id), user.token + bytes(_VALUE - _NAME))
        except OSError:
            self._wipe(self._file(user.token), lambda name, _: name == user.token)
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
            tokens = [value[:_NAME] for value in self._read(self._name(user_id))]
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
            for path in sorted(set(map(self._file, tokens))):
                self._wipe(path, lambda name, _: name in tokens)
            self._invalidate_memory()
            unsaved = self._unsaved.get(user_id)
            self._users.pop(user_id, None)
            if unsaved is not None and unsaved.token in tokens:
                del self._unsaved[user_id]  # last: until here it is found again

    def proof_of_erasure(self, token: bytes) -> bytes:
        """16 bytes that only who has these keys can make: they say that *token* was erased."""
        return hmac.digest(self._salt, b"erased:" + token, "sha256")[:_NAME]

    def forget(self, user_id: str, tokens: Container[bytes]) -> None:
        """Remove what says whose *tokens* they were.

        Raises:
            OSError: If that failed.
        """
        name = self._name(user_id)
        with self._change():
            self._wipe(self._file(name), lambda its, value: its == name and value[:_NAME] in tokens)

    def destroy_again(self, tokens: Container[bytes]) -> bool:
        """Destroy what a copy of the keyring brought back; returns whether there was any.

        Raises:
            OSError: If that failed.
        """
        with self._change():
            gone = [
                self._wipe(path, lambda name, value: name in tokens or value[:_NAME] in tokens)
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
        return hashlib.blake2b(text, key=self._salt, digest_size=_NAME).digest()

    def _file(self, name: bytes) -> Path:
        # The first bytes of a token are the same for all.
        return self.directory / f"{name[-1]:02x}.keys"

    def _read(self, name: bytes) -> list[bytes]:
        """The values of the records named *name*."""
        try:
            file = _opened(self._file(name), os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            data = _content(file)
        finally:
            os.close(file)
        return [data[at + _NAME : at + _RECORD] for at in _places(data, name)]

    def _write(self, name: bytes, value: bytes) -> None:
        path = self._file(name)
        is_new = self._sync and not path.exists()
        file = _opened(path, os.O_RDWR | os.O_CREAT)
        try:
            with locked(file):
                data = _content(file)
                free = next(_places(data, _FREE), len(data) - len(data) % _RECORD)
                if os.pwrite(file, name + value, free) != _RECORD:
                    raise OSError(28, os.strerror(28))
            if self._sync:
                os.fsync(file)
        finally:
            os.close(file)
        if is_new:
            sync_directory(self.directory)

    def _wipe(self, path: Path, is_due: Callable[[bytes, bytes], bool]) -> bool:
        """Overwrite the records that are due; returns whether there were any."""
        try:
            file = _opened(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            with locked(file):
                data = _content(file)
                due = [
                    at
                    for at in range(0, len(data) - _RECORD + 1, _RECORD)
                    if is_due(data[at : at + _NAME], data[at + _NAME : at + _RECORD])
                ]
                for at in due:
                    os.pwrite(file, _FREE, at)
            if due:
                os.fsync(file)
        finally:
            os.close(file)
        return bool(due)


def _user(token: bytes, key: bytes, user_id: str | None = None) -> User:
    cipher = AESGCM(key)
    if user_id is None:
        return User(token, key, cipher)
    text = user_id.encode("utf-8", "backslashreplace") + _END
    padded = text + bytes(-len(text) % _PADDING)  # so that its length tells little
    # The nonce is used for this text only: the key is as random as the token.
    encrypted = cipher.encrypt(token[_NUMBER:], padded, None)
    name = f"{name_of(token)}:{base64.urlsafe_b64encode(encrypted).decode()}"
    return User(token, key, cipher, name)


def _keep(known: dict[Any, Any], key: object, value: object) -> None:
    """Keep a pair in memory, and let the oldest go."""
    if len(known) >= _KEPT:
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
            del known[next(iter(known))]
    known[key] = value


def _opened(path: Path, flags: int) -> int:
    """A descriptor of a file that is ours, or the directory's owner's, and nobody else's.

    Raises:
        OSError: If it is not, or cannot be opened.
    """
    file = open_owned(path, flags)
    try:
        status = os.fstat(file)
        if hasattr(os, "geteuid"):
            ours = status.st_uid in (os.geteuid(), 0)
            if status.st_mode & stat.S_IWOTH:
                words = "every user can write it: chmod o-w it"
                raise PermissionError(errno.EACCES, words, str(path))
            if not ours and status.st_uid != path.parent.stat().st_uid:
                raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    except BaseException:
        os.close(file)
        raise
    return file


def _content(file: int) -> bytes:
    size = os.fstat(file).st_size
    if size > _MOST:
        raise OSError(errno.EFBIG, f"a file of the keys has more than {_MOST >> 20} MiB")
    return os.pread(file, size, 0)


def _places(data: bytes, start: bytes) -> Iterator[int]:
    """The offsets of the records that begin with *start*."""
    at = data.find(start)
    while at >= 0:
        if at % _RECORD == 0 and at + _RECORD <= len(data):
            yield at
        at = data.find(start, at + 1)
