"""What may be recorded: JSON types only, bounded in size, free of personal data.

Nothing here raises. What cannot be kept is replaced by a marker in square brackets that
says so.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from ..events.identifiers import MAX_ID, identifier, plain_text

__all__ = ["PII_KINDS", "Privacy", "redact_pii"]

MAX_TEXT = 8_192  # characters of one string
MAX_DEPTH = 16
MAX_ITEMS = 1_000  # of one collection
MAX_NODES = 10_000  # of one event's metadata
MAX_TOTAL = 262_144  # characters of all its texts

_INT64 = 2**63

# --- personal data -----------------------------------------------------------------------
# Every repetition is bounded and no match can begin within a word: the effort grows with the
# text, whatever it is.


def _card(number: str) -> bool:
    """Payment cards begin as their issuers do and carry a check digit (ISO/IEC 7812-1)."""
    digits = [int(c) for c in number if c.isdigit()]
    if digits[0] == 2 and not 2221 <= int("".join(map(str, digits[:4]))) <= 2720:
        return False
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _ipv4(address: str) -> bool:
    return all(int(part) < 256 for part in address.split("."))


def _ipv6(address: str) -> bool:
    """An address of three groups, or a local one: ``dead::beef`` and ``a::b`` are words."""
    try:
        local = ipaddress.IPv6Address(address).is_private
    except ValueError:
        return False
    enough = local or len(re.findall(r"[0-9A-Fa-f]+", address)) > 2
    return enough and any(map(str.isdigit, address))


def _national(number: str) -> bool:
    """Ten or eleven digits: fewer are rather a date or an id."""
    return 10 <= sum(map(str.isdigit, number)) <= 11


_NAMES = (
    r"password|passwd|pwd|passphrase|passcode|(?:client[_-]?)?secret(?:[_-]?(?:access[_-]?)?key)?"
    r"|(?:api|access|private)[_-]?key|(?:access|auth)[_-]?token"
)
# What has such a name may also be a number or a word in passing.
_NAMES_TOO = r"(?:(?:id|refresh|session)[_-]?)?token|credentials?"
_SECRET_NAME = re.compile(rf"(?i:(?:.*[^A-Za-z0-9])?(?:{_NAMES}))")
_SECRET_NAME_TOO = re.compile(rf"(?i:(?:.*[^A-Za-z0-9])?(?:{_NAMES_TOO}|authorization))")
_SECRET_VALUE = "[REDACTED:secret]"  # noqa: S105
_IS = r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?!-----BEGIN )"  # between a name and its value
_SECRET = (
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\S]*?"
    r"(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)"
    r"|(?<![\w-])eyJ[\w-]{8,2048}\.[\w-]{8,4096}\.[\w-]{0,2048}"  # JSON Web Token
    r"|(?<![\w-])(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)"  # AWS
    r"|(?<![\w-])AIza[\w-]{35}(?![\w-])"  # Google
    r"|(?<!\w)(?:gh[pousr]_\w{36,255}|github_pat_\w{22,255}|glpat-[\w-]{20,64})"
    r"|(?<![\w-])(?:xox[abeoprs]|xapp-\d)-[\w-]{10,255}"  # Slack
    r"|(?<![\w.-])(?:https://)?hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{8,255}"
    r"|(?<![\w.-])SG\.[\w-]{16,64}\.[\w-]{16,64}"  # SendGrid
    r"|(?<!\w)whsec_[\w+/-]{16,255}={0,2}"  # Stripe, Svix
    r"|(?<!\w)dapi[0-9a-f]{32}(?!\w)"  # Databricks
    r"|(?<![A-Za-z0-9])(?:Account|SharedAccess)Key=[\w+/-]{16,255}={0,2}"  # Azure
    # OpenAI, Anthropic, Stripe: with digits, unlike names such as sk-learn-pipeline
    r"|(?<![\w-])(?:sk|rk|pk)[-_](?=(?:[A-Za-z_-]{0,40}\d){2})[\w-]{16,255}"
    r"|(?<!\w)(?:hf_[A-Za-z]{20,64}|npm_\w{36}|pypi-[\w-]{50,255})"
    r"|(?<=://)[^/\s:@]{1,255}:[^/\s@]{1,255}(?=@)"  # user:password in a URL
    r"|(?i:(?<!\w)bearer\s{1,3}(?=[A-Za-z_.~+/-]{0,64}\d)[\w.~+/-]{16,2048}={0,2})"
    rf"|(?i:(?<!\w)authorization{_IS}(?:basic|bearer|digest|negotiate|token)\s{{1,3}})"
    r"(?=[^\s\"',;}]{0,64}[\dA-Z=])[^\s\"',;}]+"
    rf"|(?i:(?<![A-Za-z0-9])(?:{_NAMES}){_IS}(?:(?:basic|bearer)\s{{1,3}})?)[^\s\"',;}}]+"
    rf"|(?i:(?<![A-Za-z0-9])(?:{_NAMES_TOO}){_IS})(?=[^\s\"',;}}]{{0,64}}\d)"
    r"(?![\d.]{1,5}(?![\w+/=-]))[^\s\"',;}]+"  # a short number rather counts tokens
    rf"|(?i:(?<![A-Za-z0-9])(?:{_NAMES})\s{{1,3}}is\s{{1,3}})"
    r"[\"']?(?=[^\s\"',;]{0,64}[\d!#$%^&*])[^\s\"',;]+"
)

_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool] | None], ...] = (
    ("secret", re.compile(_SECRET), None),
    (
        "email",
        re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"),
        None,
    ),
    ("card", re.compile(r"(?<![\w.+-])[2-6]\d(?:[ -]?\d){11,17}(?![\w-])"), _card),
    (
        "ssn",
        re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?![\w-])"),
        None,
    ),
    ("ip", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"), _ipv4),
    # (x[::1] is a slice, and [::1] an address)
    (
        "ip",
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f:]{6,39}(?<!:)|(?<![\w)\]]\[)::1)(?![\w:])"),
        _ipv6,
    ),
    (
        "phone",
        re.compile(
            r"(?<![\w.+])\+\d(?:[ .()-]{0,2}\d){7,14}(?![\w-])"
            r"|(?<![\w.-])(?:1[ .-])?(?:\(\d{3}\)[ .-]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"
            r"|(?<![\w.-])\(\d{2,4}\)[ .-]?\d{4,5}[ .-]\d{4}(?![\w-])"
        ),
        None,
    ),
    (
        "phone",
        re.compile(r"(?<![\w.,-])0\d{1,4}([ .-])\d{2,8}(?:\1\d{2,8}){0,3}(?![\w-]|[.,]\d)"),
        _national,
    ),
)

#: What `redact_pii` finds.
PII_KINDS = tuple(sorted({kind for kind, _, _ in _PATTERNS}))

# Whatever a pattern above matches has one of these; most strings have none. It is looked for in
# every text: (?i) would take twice as long.
_SUSPECT = re.compile(
    r"[@:]|\d[\d .()-]{6}|eyJ|A(?:KIA|SIA|Iza)|[srp]k[-_]|g(?:h\w_|ithub_pat_|lpat-)|x(?:ox|app-)"
    r"|h(?:f_|ooks\.slack)|npm_|pypi-|SG\.|whsec_|dapi|BEGIN|[aA][uU][tT][hH][oO][rR][iI]"
    r"|[bB][eE][aA][rR][eE][rR]|[cC][rR][eE][dD][eE][nN]|[kK][eE][yY]|[tT][oO][kK][eE][nN]"
    r"|[pP](?:[aA][sS][sS][wWpPcC]|[wW][dD])|[sS][eE][cC][rR][eE][tT]"
)


def redact_pii(text: str, found: Callable[[str], None] = lambda kind: None) -> str:
    """*text* with emails, phone, card and social security numbers, IP addresses and
    secrets of a known shape replaced by ``[REDACTED:kind]``; *found* is told the kinds."""
    if _SUSPECT.search(text) is None:
        return text
    for kind, pattern, check in _PATTERNS:
        text = pattern.sub(partial(_replace, kind, check, found), text)
    return text


def _replace(kind: str, check: Any, found: Callable[[str], None], match: re.Match[str]) -> str:
    if check is not None and not check(match.group()):
        return match.group()
    found(kind)
    return f"[REDACTED:{kind}]"


# --- cleaning ----------------------------------------------------------------------------


class Privacy:
    """The rules of one trail.

    Args:
        redact: A function from text to text, applied to every free text that is recorded,
            and to the names of facts.
        pii: Whether `redact_pii` is applied after it.
        on_fault: Called with the exception when *redact* fails; the text is then dropped.
        on_found: Called with the kind of each piece of personal data that is replaced.
    """

    def __init__(
        self,
        redact: Callable[[str], str] | None = None,
        pii: bool = True,
        on_fault: Callable[[Exception], None] = lambda exc: None,
        on_found: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._redact = redact
        self._pii = pii
        self._on_fault = on_fault
        self.on_found = on_found
        self._names: set[str] = set()  # seen before, and free of personal data
        self._values: set[str] = set()  # short ones; none where a hook is to see them

    def text(self, value: str, found: Callable[[str], None] | None = None) -> str:
        """Free text, redacted; *found* instead of `on_found` is told of what it held."""
        if (
            type(value) is str
            and len(value) <= MAX_TEXT
            and self._redact is None
            and value.isascii()
            and (not self._pii or _SUSPECT.search(value) is None)
        ):
            if len(value) <= 16 and len(self._values) < MAX_ITEMS:
                self._values.add(value)
            return value  # most of them
        # Redacted before it is cut: half an address is no address any more.
        text = plain_text(value, MAX_TEXT + 512)
        if self._redact is not None:
            text = self._hooked(self._redact, text, MAX_TEXT + 512)
        if self._pii:
            text = redact_pii(text, found or self.on_found)
        if len(text) <= MAX_TEXT:
            return text
        return f"{text[:MAX_TEXT]}[truncated: {str.__len__(value)} characters]"

    def key(self, value: str, own: bool = False) -> str:
        """The name of a fact, redacted; one of our *own* only where it is personal data."""
        name = plain_text(value, MAX_ID)
        if self._redact is not None and not own:
            name = self._hooked(self._redact, name, MAX_ID)
        return redact_pii(name, self.on_found) if self._pii else name

    def _hooked(self, redact: Callable[[str], str], text: str, limit: int) -> str:
        try:
            return plain_text(str(redact(text)), limit)
        except Exception as exc:
            self._on_fault(exc)
            return "[REDACTED:error]"

    def metadata(self, values: object, own: bool = False) -> dict[str, Any]:
        """Metadata as JSON types, its texts redacted.

        *own*: the names of the facts are ours, no text of anybody.
        """
        if type(values) is dict and len(values) <= MAX_ITEMS and (own or self._redact is None):
            simple = self._simple(values)
            if simple is not None:
                return simple
        cleaned = _Cleaner(self, own).clean(values)
        return cleaned if isinstance(cleaned, dict) else {"value": cleaned}

    def _simple(self, values: dict[Any, Any]) -> dict[str, Any] | None:
        """The fast way for a flat mapping, or None where it is not one."""
        result: dict[str, Any] = {}
        found: list[str] = []
        size = 0
        for key, value in values.items():
            if key not in self._names and not self._is_harmless(key):
                return None
            kind = type(value)
            if kind is str:
                if value not in self._values:
                    value = self.text(value, found.append)
                    size += len(value)
            elif kind is float:
                if not math.isfinite(value):
                    return None
            elif kind is int:
                if not -_INT64 <= value < 10**12:  # larger ones may be card numbers
                    return None
            elif kind is list and len(value) <= 64:
                if not {str}.issuperset(map(type, value)):
                    return None
                if not self._values.issuperset(value):
                    value = [self.text(item, found.append) for item in value]
                    size += sum(map(len, value))
            elif value is not None and kind is not bool:
                return None
            result[key] = value
        if size > MAX_TOTAL:
            return None
        for what in found:
            self.on_found(what)
        return result

    def is_secret(self, key: Any, value: object = "") -> bool:
        """Whether what has this name is a secret, whatever its shape."""
        if not self._pii or not isinstance(key, str):
            return False
        name = str(key[-64:])
        if _SECRET_NAME.fullmatch(name) is not None:
            return True
        if _SECRET_NAME_TOO.fullmatch(name) is None:
            return False
        return value is not None and not issubclass(type(value), (int, float))  # a count

    def _is_harmless(self, key: Any) -> bool:
        """Whether *key* can stay as it is; the answer is kept for the next event."""
        if type(key) is not str or not key.isascii() or len(key) > MAX_ID:
            return False
        if self.is_secret(key) or (self._pii and redact_pii(key) != key):
            return False
        if len(self._names) < MAX_ITEMS:
            self._names.add(key)
        return True


class _Cleaner:
    """One walk over hostile data."""

    def __init__(self, privacy: Privacy, own: bool) -> None:
        self._privacy = privacy
        self._own = own
        self._size = 0
        self._path: set[int] = set()
        self._nodes = 0

    def clean(self, value: Any, depth: int = 0) -> Any:
        try:
            return self._clean(value, depth)
        except Exception:  # a hostile object: a property, an iterator, a __str__
            return f"[unreadable: {type(value).__name__}]"

    def _text(self, value: str) -> str:
        if self._size >= MAX_TOTAL:
            return "[dropped: too much text]"
        text = self._privacy.text(value)
        self._size += len(text)
        return text

    def _clean(self, value: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            return "[dropped: too many values]"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self._clean(value.value, depth)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int):
            if 10**12 <= value < 10**19:
                text = self._privacy.text(str(int(value)))
                if not text.isdigit():
                    return text  # a card number
            return int(value) if -_INT64 <= value < _INT64 else identifier(int(value))
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else f"[{float(value)}]"
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, (UUID, Decimal, PurePath)):
            return self._text(str(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"[bytes: {len(value)}]"
        return self._collection(value, depth)

    def _collection(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            return "[dropped: nested too deeply]"
        if id(value) in self._path:
            return "[dropped: cycle]"
        self._path.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth)
            if isinstance(value, (set, frozenset)):
                items = [self.clean(v, depth + 1) for v in islice(value, MAX_ITEMS)]
                return sorted(items, key=str) + _rest(value)
            if isinstance(value, (list, tuple)):
                return [self.clean(v, depth + 1) for v in islice(value, MAX_ITEMS)] + _rest(value)
            return self._other(value, depth)
        finally:
            self._path.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in islice(value.items(), MAX_ITEMS):
            text = key if isinstance(key, str) else identifier(key)
            name = self._privacy.key(text, self._own and depth == 0)
            number, unique = 1, name
            while unique in result:  # the same only since it is text, redacted or cut
                number += 1
                unique = f"{name} ({number})"
            if self._privacy.is_secret(key, item):
                self._privacy.on_found("secret")
                result[unique] = _SECRET_VALUE
            else:
                result[unique] = self.clean(item, depth + 1)
        if len(value) > MAX_ITEMS:
            result["[dropped]"] = f"{len(value) - MAX_ITEMS} more"
        return result

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind.__module__.partition(".")[0] == "numpy":
            if getattr(value, "ndim", 1) == 0:
                return self._clean(value.item(), depth)
            return f"[array: {'x'.join(map(str, value.shape))}]"
        return f"[unserializable: {kind.__module__}.{kind.__qualname__}]"


def _rest(values: Any) -> list[str]:
    more = len(values) - MAX_ITEMS
    return [f"[dropped: {more} more]"] if more > 0 else []
