"""Finds personal data and secrets in texts, by their shape, check digit or name.

A text is first asked for a word or shape without which a group of detectors finds nothing, so
that most texts cost a few searches. Every repetition in a pattern is bounded, or ends a match,
and a pattern looks at its first character before it looks behind it, which lets `re` skip the
others: the effort grows with the text, whatever it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .matches import after, digits_of
from .phone_numbers import (
    AREA_CODE,
    CALLED,
    IN_GROUPS,
    INTERNATIONAL,
    NATIONAL,
    NORTH_AMERICAN,
    NUMBERS,
    called,
    national,
    phone,
)
from .secrets_in_texts import (
    AUTHORIZATION,
    BASE64_KEY,
    BOT_TOKEN,
    KEY_BLOCK,
    NAMED_SECRET,
    OPTION_SECRET,
    SECRET_PREFIX,
    TOKEN,
    TOKEN_RUN,
    URL_SECRET,
    USER_OPTION,
    is_random,
    named_secret,
    user_option,
)

__all__ = ["PII_KINDS", "redact_pii"]


@dataclass(frozen=True)
class _Detector:
    """Finds data of one *kind* by *pattern*.

    *check* gets the match, and returns how many of its first characters are such data.
    """

    kind: str
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], int] | None = None


@dataclass(frozen=True)
class _Group:
    """Detectors that find nothing in texts without one of *words* (in lower case) or *shape*.

    With *around*, they are shown only what *shape* matches, with some words before it.
    """

    detectors: tuple[_Detector, ...]
    words: tuple[str, ...] = ()
    shape: re.Pattern[str] | None = None
    around: bool = False

    def applies(self, text: str, lower: str) -> bool:
        """True if the detectors may find something; *lower* is *text* in lower case."""
        if self.around:
            return True
        for word in self.words:
            if word in lower:
                return True
        return self.shape is not None and self.shape.search(text) is not None

    def replace(self, text: str, found: Callable[[str], None]) -> str:
        """*text* with a marker for all that the detectors find."""
        if self.shape is None or not self.around:
            return self._replace(text, found)
        parts: list[str] = []
        done = 0
        for run in self.shape.finditer(text):
            start = done
            if run.start() - done > 48:  # at the end of a word
                start = max(done, text.find(" ", run.start() - 48, run.start()))
            parts += text[done:start], self._replace(text[start : run.end()], found)
            done = run.end()
        return "".join(parts) + text[done:] if parts else text

    def _replace(self, text: str, found: Callable[[str], None]) -> str:
        for detector in self.detectors:
            text = detector.pattern.sub(partial(_marker, detector, found), text)
        return text


def _marker(detector: _Detector, found: Callable[[str], None], match: re.Match[str]) -> str:
    text = match.group()
    length = len(text) if detector.check is None else detector.check(match)
    if not length:
        return text
    found(detector.kind)
    return f"[REDACTED:{detector.kind}]{text[length:]}"


# --- e-mail addresses ------------------------------------------------------------------------

_DOMAIN = (
    r"(?![1-4]x\.)"  # logo@2x.png
    r"(?:[\w-]{1,63}(?:\.|%2[eE]|\s?[\[({]\s?(?:dot|punkt|point|punto)\s?[\])}]\s?)){1,8}"
    r"(?:[xX][nN]--[\w-]{2,59}|[^\W\d_]{2,24})(?![\w(-]|:[\w.~-]{0,64}/)"
)
_EMAIL = re.compile(
    r"[\w.%+-](?<![\w.%+-].)[\w.%+'-]{0,63}"
    r"(?:@|%(?:25)?40|&#64;|\\u0040|\s?[\[({]\s?(?:at|ät|@)\s?[\])}]\s?)"
    rf"(?:{_DOMAIN}|\[[\dA-Fa-fIPv:.]{{7,45}}\])"
)
_QUOTED_EMAIL = re.compile(rf'"[^"\n]{{1,64}}"@{_DOMAIN}')
_SPOKEN_EMAIL = re.compile(
    r"(?i:\w(?<![\w.+-].)[\w.+-]{0,63} at (?:[\w-]{1,63} dot ){1,4}"
    r"(?:com|org|net|edu|gov|info|dev|[a-z]{2}))(?!\w)"
)


def _email(match: re.Match[str]) -> int:
    text = match.group()
    return 0 if text.lower().startswith(("git@", "hg@", "svn@")) else len(text)


# --- addresses of machines -------------------------------------------------------------------

_HEX = "[0-9A-Fa-f]"
_IPV4 = re.compile(r"\d(?<![\w.]\d)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(
    r"[0-9A-Fa-f:](?<![\w:.].)[0-9A-Fa-f:]{2,38}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?!\w|\.\d)"
)
_MAC = re.compile(
    rf"{_HEX}(?<![\w:.-].){_HEX}(?:([:-]){_HEX}{{2}}(?:\1{_HEX}{{2}}){{4}}"
    rf"|{_HEX}{{2}}\.{_HEX}{{4}}\.{_HEX}{{4}})(?!\w|[:.-]\w)"
)
_VERSION_WORD = re.compile(
    r"(?i:(?<![a-z])(?:version|release|rev|build|firmware|driver|kernel|patch|java|chrome|firefox"
    r"|windows|android|ios|section|sect?|chapter|clause|figure|table|appendix|step|art|punkt|anhang"
    r"|kapitel|abschnitt|ziffer|tabelle|chapitre|capítulo|sección|capitolo|sezione)\.?[\s:=]{0,3}"
    r"|(?:up|down)grad[a-z]{1,3}\s[^\n]{0,32}(?<=\s)(?:from|to|von|auf)\s|§\s?)\Z"
)
_HEADING = re.compile(r"(?m:^)(?:#{1,6} )?\Z")
_PRODUCT = re.compile(r"(?:[A-Za-z][/-]|[\w\]][=~<>]=)\Z")
_SUFFIX = re.compile(r"-(?:[A-Za-z]|\d{1,3}(?![\d.]))|\+\w")
_TITLE = re.compile(r"\.? [A-Z]")
_SLICE = re.compile(r"[\w)\]]\[\Z")


def _ipv4(match: re.Match[str]) -> int:
    """Four numbers below 256 that are no version or section."""
    parts = [int(part) for part in match.group().split(".")]
    if max(parts) > 255 or after(match, _VERSION_WORD):
        return 0
    named = after(match, _PRODUCT) or _SUFFIX.match(match.string, match.end())
    if named and ipaddress.IPv4Address(bytes(parts)).is_global:
        return 0
    heads = max(parts) < 32 and _TITLE.match(match.string, match.end())
    return 0 if heads and after(match, _HEADING) else len(match.group())


def _ipv6(match: re.Match[str]) -> int:
    """An address of three groups, or a local one: ``dead::beef`` and ``a::b`` are words."""
    text = match.group()
    text = text if text.endswith("::") else text.rstrip(":")
    if len(text) < 6 and (text != "::1" or after(match, _SLICE)):
        return 0
    try:
        local = ipaddress.IPv6Address(text).is_private
    except ValueError:
        return 0
    enough = local or len(re.findall(r"[0-9A-Fa-f]+", text)) > 2
    return len(text) if enough and any(map(str.isdigit, text)) else 0


def _mac(match: re.Match[str]) -> int:
    """Three groups of digits alone are rather a number."""
    text = match.group()
    return len(text) if text[2] in ":-" or not text.replace(".", "").isdigit() else 0


# --- numbers with check digits ----------------------------------------------------------------

_CARD = re.compile(r"[2-6](?<![\w.+-].)\d(?:[ -]?\d){11,17}(?![\w-])")
_CARD_ALONE = re.compile(  # also where another number follows
    r"[2-6](?<![\w.+-].)(?:\d{12,18}|\d{3}([ \u00a0.-])\d{4}\1\d{4}\1\d{4})(?![\w-])"
)
_CARD_NUMBER = re.compile(  # as issuers begin them (ISO/IEC 7812-1)
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12,15}|(?:50|5[6-9]|6\d)\d{10,17}"
)
_IBAN = re.compile(
    r"[A-Za-z](?<!\w.)[A-Za-z]\d\d(?:[ \u00a0-]?[A-Za-z0-9]{4}){2,7}"
    r"(?:[ \u00a0-]?[A-Za-z0-9]{1,3})?(?!\w)"
)


def _luhn(digits: list[int]) -> bool:
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _ean(digits: list[int]) -> bool:
    """The check digit of articles, and of Swiss people."""
    return (sum(digits[::2]) + 3 * sum(digits[1::2])) % 10 == 0


def _card(match: re.Match[str]) -> int:
    digits = digits_of(match.group())
    number = "".join(map(str, digits))
    if not _CARD_NUMBER.fullmatch(number) or not _luhn(digits):
        return 0
    return 0 if len(digits) == 13 and _ean(digits) else len(match.group())


def _iban(match: re.Match[str]) -> int:
    """ISO 13616: the longest part, up to the end of a word, whose remainder is right."""
    text = match.group()
    if match.string[match.start() - 1 : match.start()] == "-":
        return 0  # rather a part of an id
    if text[4].isalnum():  # not in groups of four: it ends with its word, as a UUID's part does
        text = re.split(r"\W", text, maxsplit=1)[0]
    if text.isalnum() and not text.isupper():
        return 0  # rather a hash
    for end in range(len(text), 14, -1):
        word = "".join(filter(str.isalnum, text[:end]))
        if text[end : end + 1].isalnum() or not text[end - 1].isalnum() or len(word) < 15:
            continue
        if int("".join(str(int(c, 36)) for c in word[4:] + word[:4])) % 97 == 1:
            return end
    return 0


_SSN = re.compile(r"\d(?<![\w.-]\d)\d\d([- ])(?!00)\d\d\1(?!0000)\d{4}(?![\w-])")
_NINE_DIGITS = re.compile(r"\d(?<![\w.-]\d)\d{8}(?![\w-])")
_SSN_NAME = re.compile(r"(?i:ssn|social security(?: (?:number|no\.?|#))?)[\s:=#]{1,3}(?:is )?\Z")
_BSN_NAME = re.compile(r"(?i:bsn|burgerservicenummer|sofinummer)[\s:=]{1,3}(?:is )?\Z")
_WITH_LETTERS = re.compile(
    r"[A-Z](?<!\w.)[A-Z]{5}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?!\w)"  # Italy
    r"|[A-Z](?<!\w.)(?<![DFIQUV])[A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D](?!\w)"  # Great Britain
)
_WITH_SIGNS = re.compile(
    r"\d(?<![\w.-]\d)\d\.[01]\d\.[0-3]\d-\d{3}\.\d\d(?![\w-])"  # Belgium
    r"|\d(?<![\w.-]\d)\d\d\.\d{3}\.\d{3}-\d\d(?![\w-])"  # Brazil
)
_ELEVEN_DIGITS = re.compile(r"\d(?<![\w.+-]\d)\d(?: ?\d{3}){3}(?![\w-])")
_FRENCH = re.compile(
    r"[12](?<![\w.+-].) ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d|2[AB])"
    r" ?\d{3} ?\d{3} ?\d\d(?![\w-])"
)
_SPANISH = re.compile(r"[\dXYZ](?<![\w.-].)\d{7}-?[A-Z](?!\w)|[XYZ](?<![\w.-].)-\d{7}-[A-Z](?!\w)")
_SWISS = re.compile(r"756(?<![\w.-]756)(\.?)\d{4}\1\d{4}\1\d\d(?![\w-])")
_SWEDISH = re.compile(
    r"\d(?<![\w.-]\d)\d(?:\d\d)?(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])[-+]\d{4}(?![\w-])"
)


def _ssn(match: re.Match[str]) -> int:
    """Areas 000, 666 and 900 to 999 are never given."""
    return 0 if match.group().startswith(("000", "666", "9")) else len(match.group())


def _ssn_by_name(match: re.Match[str]) -> int:
    return _ssn(match) if after(match, _SSN_NAME) else 0


def _dutch(match: re.Match[str]) -> int:
    digits = digits_of(match.group())
    right = sum(d * w for d, w in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1))) % 11 == 0
    return len(match.group()) if right and after(match, _BSN_NAME) else 0


def _eleven_digits(match: re.Match[str]) -> int:
    """A Polish PESEL, of a date and a check digit, or a German tax number (ISO 7064, with one
    digit twice or three times in the first ten)."""
    digits = digits_of(match.group())
    month, day = (digits[2] % 2) * 10 + digits[3], digits[4] * 10 + digits[5]
    polish = sum(d * w for d, w in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))) % 10 == 0
    if " " not in match.group() and polish and 1 <= month <= 12 and 1 <= day <= 31:
        return len(match.group())
    rest = 10
    for digit in digits[:10]:
        rest = ((digit + rest) % 10 or 10) * 2 % 11
    german = digits[0] and 8 <= len(set(digits[:10])) <= 9 and (11 - rest) % 10 == digits[10]
    return len(match.group()) if german else 0


def _french(match: re.Match[str]) -> int:
    number = match.group().replace(" ", "").replace("2A", "19").replace("2B", "18")
    return len(match.group()) if 97 - int(number[:13]) % 97 == int(number[13:]) else 0


def _spanish(match: re.Match[str]) -> int:
    number = match.group().replace("-", "").translate({88: "0", 89: "1", 90: "2"})
    right = "TRWAGMYFPDXBNJZSQVHLCKE"[int(number[:8]) % 23] == match.group()[-1]
    return len(match.group()) if right else 0


def _swiss(match: re.Match[str]) -> int:
    return len(match.group()) if _ean(digits_of(match.group())) else 0


def _swedish(match: re.Match[str]) -> int:
    return len(match.group()) if _luhn(digits_of(match.group())[-10:]) else 0


# --- all of them --------------------------------------------------------------------------------

_TOKENS = _Group(  # for texts with long words only
    (_Detector("secret", TOKEN), _Detector("secret", BASE64_KEY, is_random)),
    shape=TOKEN_RUN,
    around=True,
)
_GROUPS = (
    _Group((_Detector("secret", KEY_BLOCK),), words=("private",)),
    _Group((_Detector("secret", BOT_TOKEN),), shape=BOT_TOKEN),
    _Group(
        (_Detector("secret", URL_SECRET), _Detector("secret", SECRET_PREFIX)),
        words=("://", "hooks.", "webhooks/", "sig=", "signature=", "key=", "whsec_"),
    ),
    _Group((_Detector("secret", AUTHORIZATION),), words=("bearer", "authorization")),
    _Group(
        (_Detector("secret", NAMED_SECRET, named_secret), _Detector("secret", OPTION_SECRET)),
        words=(
            *("pass", "pwd", "pw", "secret", "key", "token", "credential", "pseudonymize"),
            *("kennwort", "zugangscode", "mdp", "contrase", "clave", "parola d", "senha"),
            *("palavra", "wachtwoord", "hasło", "haslo", "lösenord", "adgangskode", "salasana"),
            *("heslo", "jelszó", "пароль"),
        ),
    ),
    _Group((_Detector("secret", USER_OPTION, user_option),), words=("curl ",)),
    _Group(
        (_Detector("email", _EMAIL, _email), _Detector("email", _QUOTED_EMAIL)),
        words=("@", "%40", "%2540", "#64;", "u0040", "at]", "at)", "at}", "at ]", "at )", "ät)"),
    ),
    _Group((_Detector("email", _SPOKEN_EMAIL),), words=(" dot ",)),
    _Group(
        (_Detector("ip", _IPV6, _ipv6), _Detector("mac", _MAC, _mac)),
        shape=re.compile(rf":{_HEX}{{0,4}}:|\.{_HEX}{{4}}\.|(?:-{_HEX}{{2}}){{4}}"),
    ),
    _Group((_Detector("iban", _IBAN, _iban),), shape=re.compile(r"\d\d(?<=[A-Za-z]{2}..)\W?\w{4}")),
    _Group(
        (
            _Detector("national_id", _SPANISH, _spanish),
            _Detector("national_id", _WITH_LETTERS),
        ),
        shape=re.compile(r"\d[ -]?[A-Z](?!\w)"),
    ),
    _Group(
        (
            _Detector("card", _CARD, _card),
            _Detector("card", _CARD_ALONE, _card),
            _Detector("ssn", _SSN, _ssn),
            _Detector("ssn", _NINE_DIGITS, _ssn_by_name),
            _Detector("national_id", _NINE_DIGITS, _dutch),
            _Detector("national_id", _ELEVEN_DIGITS, _eleven_digits),
            _Detector("national_id", _FRENCH, _french),
            _Detector("national_id", _SWISS, _swiss),
            _Detector("national_id", _SWEDISH, _swedish),
            _Detector("national_id", _WITH_SIGNS),
            _Detector("phone", INTERNATIONAL),
            _Detector("phone", NORTH_AMERICAN, phone),
            _Detector("phone", AREA_CODE, national),
            _Detector("phone", NATIONAL, national),
            _Detector("phone", IN_GROUPS, phone),
            _Detector("phone", CALLED, called),
        ),
        shape=NUMBERS,
        around=True,
    ),
    _Group((_Detector("ip", _IPV4, _ipv4),), shape=re.compile(r"\d\.\d{1,3}\.\d")),
)

#: What `redact_pii` finds.
PII_KINDS = tuple(sorted({each.kind for group in (_TOKENS, *_GROUPS) for each in group.detectors}))

# All but tokens has one of these; many short texts have none.
_SUSPECT = re.compile(r"[\d@:=_\[({&#$%^*]|--| [dD][oO][tT] ")


def redact_pii(text: str, found: Callable[[str], None] = lambda kind: None) -> str:
    """*text* with the personal data and secrets in it replaced by ``[REDACTED:kind]``.

    *found* is called with the kind of each, which is one of `PII_KINDS`. A text without any is
    returned itself.
    """
    if len(text) >= 20 and max(map(len, text.split()), default=0) >= 20:
        text = _TOKENS.replace(text, found)
    if _SUSPECT.search(text) is None:
        return text
    lower = text.lower()
    for group in _GROUPS:
        if group.applies(text, lower):
            text = group.replace(text, found)
    return text
