"""Secrets in texts: tokens of known issuers, keys, and what is called a password or a secret."""

from __future__ import annotations

import re
from itertools import pairwise

from .matches import after

__all__ = [
    *(
        "AUTHORIZATION",
        "BOT_TOKEN",
        "KEY_BLOCK",
        "NAMED_SECRET",
        "OPTION_SECRET",
    ),
    *(
        "SECRET_PREFIX",
        "TOKEN",
        "TOKEN_RUN",
        "URL_SECRET",
        "USER_OPTION",
    ),
    *(
        "is_random",
        "is_secret",
        "named_secret",
        "user_option",
    ),
]

# --- tokens of known issuers ---------------------------------------------------------------

TOKEN = re.compile(
    r"(?<![\w-])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|eyJ[\w-]{8,4096}\.[\w-]{0,4096}\.[\w-]{0,4096}(?:\.[\w-]{1,4096}){0,2}"  # JSON Web Token
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,2048}|GOCSPX-[\w-]{20,64}"  # Google
    r"|gh[pousr]_\w{36,255}|github_pat_\w{22,255}"
    r"|gl(?:pat|dt|rt|ft|cbt|ptt|imt|oas|soat|agent)-[\w-]{20,255}"  # GitLab
    r"|(?:xox[abeoprs]|xapp-\d)-[\w-]{10,255}"  # Slack
    # OpenAI, Anthropic, Stripe: with digits, unlike names such as sk-learn-pipeline
    r"|(?:sk|rk|pk)[-_](?=(?:[A-Za-z_-]{0,40}\d){2})[\w-]{16,255}"
    r"|hf_[A-Za-z0-9]{20,64}|gsk_\w{20,255}|r8_\w{30,64}|xai-\w{40,128}|pplx-\w{32,64}"
    r"|tvly-[\w-]{20,64}|lsv2_[a-z]{2}_\w{32,64}|pcsk_\w{32,128}|m0-\w{32,64}"
    r"|npm_\w{36}|pypi-[\w-]{50,255}|dckr_pat_[\w-]{20,64}|rubygems_[0-9a-f]{48}"
    r"|SG\.[\w-]{16,64}\.[\w-]{16,64}|key-[0-9a-z]{32}|[0-9a-f]{32}-us\d{1,2}"  # mail
    r"|(?:SK|AC)[0-9a-f]{32}"  # Twilio
    r"|(?=[\w-]*\d)[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,64}"  # Discord
    r"|dapi[0-9a-f]{32}(?:-\d)?|dop_v1_[0-9a-f]{64}|hv[sbr]\.[\w-]{24,255}"
    r"|shp[a-z]{2}_[0-9a-fA-F]{32}|sq0[a-z]{3}-[\w-]{22,64}|gl(?:c|sa)_\w{32,255}"
    r"|lin_api_\w{32,64}|ntn_\w{40,64}|secret_[A-Za-z0-9]{43}|figd_[\w-]{40,64}"
    r"|PMAK-[\w-]{59}|NRAK-[0-9A-Z]{27}|sntry[su]_[\w-]{40,255}|AT(?:ATT|CTT)3x[\w-]{60,255}"
    r"|pat\w{14}\.[0-9a-f]{64}|sbp_[0-9a-f]{40}|EAA[A-Za-z0-9]{80,400}|[ps]k\.eyJ[\w.-]{40,400}"
    r"|1//0[\w-]{40,255}|[\w.~-]{3}\dQ~[\w.~-]{31,40}|\w{14}\.atlasv1\.[\w-]{60,80}"
    r"|AGE-SECRET-KEY-1[0-9A-Z]{58}"
    r")(?![\w-])"
)
TOKEN_RUN = re.compile(r"[\w+/](?<![\w.+/=~-].)[\w.+/=~-]{19,}")  # long enough to hold one


def is_random(match: re.Match[str]) -> int:
    """An AWS secret key has no sign of its own but that letters and digits change at random."""
    text = match.group()
    kinds = [(c.isupper(), c.isdigit()) for c in text[:40]]
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(text) if changes > 15 and text.upper() != text != text.lower() else 0


KEY_BLOCK = re.compile(
    r"-{4,5} ?BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)? ?-{4,5}[\s\S]*?"
    r"(?:-{4,5} ?END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)? ?-{4,5}|\Z)"
    r"|PRIVATE\+KEY\+[^+\s]{1,255}\+[0-9a-f]{8}\+[\w+/]{20,255}={0,2}"  # ours, and Go's notes
)
BASE64_KEY = re.compile(
    r"[A-Za-z0-9+/](?<![\w+/.-].)[A-Za-z0-9+/]{39}(?:[A-Za-z0-9+/]{46}==)?(?![\w+/=-]|\.\w)"
)
URL_SECRET = re.compile(
    r"(?:https://)?hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{8,255}"
    r"|(?:https://)?discord(?:app)?\.com/api/webhooks/\d{10,25}/[\w-]{20,255}"
    r"|(?<=://)[^/\s:@\"'<>]{0,255}:[^/\s\"'<>]{1,255}(?=@)"  # user:password
    r"|(?:(?<=[?&;]sig=)|(?<=X-Amz-Signature=)|(?<=X-Goog-Signature=))[\w%+/=-]{20,512}"
)
BOT_TOKEN = re.compile(r"\d(?<!\d\d)\d{7,9}:[\w-]{35}(?![\w-])")  # Telegram
SECRET_PREFIX = re.compile(
    r"whsec_(?<!\wwhsec_)[\w+/-]{16,255}={0,2}"  # Stripe, Svix
    r"|(?:Account|SharedAccess)Key=[\w+/-]{16,255}={0,2}"  # Azure
)

# --- secrets by their names ----------------------------------------------------------------

_NAMES = (
    r"passwor[dt]|passord|passwd|pwd|pass(?:phrase|code)|kennwort|zugangscode|mots? de passe|mdp"
    r"|contrase(?:ñ|n\u0303|n)a|parola d['\u2019]ordine|senha|palavra[ -]passe|wachtwoord"
    r"|has[lł]o|lösenord|adgangskode|salasana|heslo|jelszó|пароль"
    r"|(?:client[_-]?)?secret(?:[_-]?(?:access[_-]?)?key)?"
    r"|api[ _-]?key|(?:access|private)[_-]?key|(?:access|auth)[_-]?token"
)
# What has such a name may also be a number or a word in passing.
_NAMES_TOO = r"(?:(?:id|refresh|session)[_-]?)?token|credentials?|pseudonymize"
_SECRET_NAME = re.compile(rf"(?i:(?:.*[^A-Za-z0-9])?(?:{_NAMES}))")
_SECRET_NAME_TOO = re.compile(rf"(?i:(?:.*[^A-Za-z0-9])?(?:{_NAMES_TOO}|authorization))")

_QUOTED = r"[bru]{0,2}\\?(?:\"[^\"\n]{1,256}\"|'[^'\n]{1,256}')"
_BARE = r"\\?[\"']?[^\s\"',;}]+"
_NO_VALUE = (  # what stands for one in a program, and what was replaced already
    r"(?!(?:str|bytes|string|none|null|true|false|required|optional|invalid|incorrect|missing|expired"
    r"|must|not|see)(?!\w)|(?:os|process|self|settings|config)\."
    r"|get\w{0,32}\(|[\"']?\[redacted:)"
)
_VERB = r"\s{1,3}(?:is|ist|lautet|est|es|è|é|jest|to)\s{1,3}"
NAMED_SECRET = re.compile(
    rf"(?i:(?<![A-Za-z0-9])(?:(?P<sure>{_NAMES})|{_NAMES_TOO}|clave|(?<=[/_-])pass|pw"
    r"|(?:encryption|master|shared)[_-]?key)"
    # With up to four words between name and value, ...
    rf"(?:(?P<far>(?:[^\S\n][\w.'-]{{1,32}}){{1,4}}?)(?:\s{{0,3}}[:=]\s{{1,3}}|{_VERB})"
    # ... with nothing but a sign, or with a verb.
    r"|\\?[\"']?\s{0,3}[:=]\s{0,3}(?:(?:basic|bearer)\s{1,3})?"
    rf"|(?P<verb>{_VERB}|\s{{1,3}}[-\u2013]\s{{1,3}}))"
    rf"{_NO_VALUE}(?P<value>{_QUOTED}|{_BARE}))"
)
_LIKELY_SECRET = re.compile(r"(?=.{4}).*?(?:\d|[#$%^&*]|!\w)", re.DOTALL)
_COUNT = re.compile(r"[\d.]{1,5}(?![\w+/=-]|\s\w)")
OPTION_SECRET = re.compile(
    rf"(?i:--(?:[a-z]+-)?(?:{_NAMES}|token|pseudonymize)\s"
    rf"(?![@-]|\[redacted:)(?:{_QUOTED}|{_BARE}))"
)
AUTHORIZATION = re.compile(
    r"(?i:(?<!\w)bearer\s{1,3}(?=[A-Za-z_.~+/-]{0,64}\d)[\w.~+/-]{16,2048}={0,2})"
    r"|(?i:(?<!\w)authorization\\?[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
    r"(?:basic|bearer|digest|negotiate|token|apikey)\s{1,3})"
    r"(?!\[REDACTED:)(?=[^\s\"',;}]{0,64}[\dA-Z=])[^\s\"',;}]+"
)


USER_OPTION = re.compile(r"(?<!\S)(?:-u|--user)\s['\"]?[^\s:'\"]{1,64}:[^\s'\"]{1,128}")
_CURL = re.compile(r"curl\s[^\n]*\Z")


def user_option(match: re.Match[str]) -> int:
    """``-u user:password``, of curl: other programs have groups there."""
    return len(match.group()) if after(match, _CURL) else 0


def named_secret(match: re.Match[str]) -> int:
    """Whatever is called a password is one; what may be a word in passing must look like one."""
    value = match["value"].strip("\\\"'")
    near = not match["far"] and not match["verb"]
    if match["sure"]:
        likely = near or _LIKELY_SECRET.match(value) is not None
    else:
        likely = near and any(map(str.isdigit, value)) and not _COUNT.match(value)
    return len(match.group()) if likely else 0


def is_secret(name: str, value: object = "") -> bool:
    """True if a fact of this name is a secret, whatever its value looks like."""
    name = name[-64:]
    if _SECRET_NAME.fullmatch(name) is not None:
        return True
    if _SECRET_NAME_TOO.fullmatch(name) is None:
        return False
    return value is not None and not issubclass(type(value), (int, float))  # a count
