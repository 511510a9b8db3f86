"""Texts in which personal data or secrets are found, and texts that are left alone."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from amounts import thinned
from personal_data import HARMLESS, SAMPLES, Sample

from axon_audit_otel.privacy.personal_data import PII_KINDS, redact_pii

EMAILS = [
    "alice@example.com",
    "a.b-c+tag@mail.example.co.uk",
    "O_Brien%x@sub.domain.museum",
    "jürgen@exämple.de",
    "用户@例子.公司",
]
PHONES = [
    "555-123-4567",
    "555.123.4567",
    "555 123 4567",
    "(555) 123-4567",
    "(555)123-4567",
    "+1 555 123 4567",
    "+1-555-123-4567",
    "+1 (555) 123-4567",
    "1-555-123-4567",
    "+15551234567",
    "+44 20 7946 0958",
    "+44 (0)20 7946 0958",
    "+49 30 12345678",
    "+49 171 1234567",
    "+33 6 12 34 56 78",
    "+33612345678",
    "+91 98765 43210",
    "+81 3-1234-5678",
    "+55 (11) 91234-5678",
    "+86 138 0013 8000",
    "+358 40 1234567",
]
#: Written without the country code, as people at home do.
NATIONAL_PHONES = [
    "020 7946 0958",  # London
    "07700 900123",  # a British mobile
    "030 12345678",  # Berlin
    "0171 1234567",  # a German mobile
    "06 12 34 56 78",  # a French mobile
    "06.12.34.56.78",
    "03-1234-5678",  # Tokyo
    "090-1234-5678",  # a Japanese mobile
    "(11) 91234-5678",  # a Brazilian mobile
    "(020) 7946 0958",
]
CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5500005555555559",
    "2223003122003222",
    "378282246310005",
    "3782 822463 10005",
    "6011000990139424",
    "30569309025904",
    "3530111333300000",
    "6304000000000000",
]
IPS = [
    "192.168.1.1",
    "8.8.8.8",
    "255.255.255.255",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "2001:db8::1",
    "fe80::1ff:fe23:4567:890a",
    "2001:db8:0:0:1::1",
    "::1",
    "fe80::1",
    "fd12::1",
]
SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "AIza" + "SyD4f8G2hJ5kL7mN9pQ1rS3tU6vW8xY0zAB",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "github_pat_11ABCDEFG0" + "a1B2c3D4e5F6g7H8i9J0_" + "x" * 40,
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "xoxb-" + "123456789012-1234567890123-a1B2c3D4e5F6g7H8i9J0k1L2",
    "xapp-1-" + "A0123456789-1234567890123-a1b2c3d4e5f6",
    "https://hooks.slack" + ".com/services/T0A1B2C3D/B0A1B2C3D/a1B2c3D4e5F6g7H8i9J0k1L2",
    "SG." + "a1B2c3D4e5F6g7H8i9J0k1." + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V",
    "whsec_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
    "dapi" + "a1b2c3d4e5f6a7b8" * 2,
    "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4",
    "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "sk-ant-api03-" + "a1B2c3D4e5F6g7H8i9J0k1L2-AA",
    "sk_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "rk_test_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "pypi-" + "AgEIcHlwaS5vcmcCJGExYjJjM2Q0LWU1ZjYtNzg5MC1hYmNkLWVmMTIzNDU2Nzg5MA",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
]
#: Found as they are, without a word around them that says what they are.
PERSONAL = [
    *(("email", text) for text in EMAILS),
    *(("phone", text) for text in PHONES),
    *(("card", text) for text in CARDS),
    *(("ssn", text) for text in ("123-45-6789", "078 05 1120")),
    *(("ip", text) for text in IPS),
    *(("secret", text) for text in SECRETS),
]


def remains(sample: Sample) -> list[str]:
    """The words and numbers of the value that can still be read."""
    text = re.sub(r"\[REDACTED:\w+\]", "", redact_pii(sample.text))
    words = re.findall(r"\w{3,}", sample.value)
    return [word for word in words if word in text and word not in sample.sentence]


class TestFound:
    @pytest.mark.parametrize(
        "sample", SAMPLES, ids=lambda sample: f"{sample.kind} {sample.text[:40]}"
    )
    def test_in_a_sentence(self, sample: Sample) -> None:
        """Nothing remains of what is promised to be found, and its kind is told."""
        kinds: list[str] = []
        assert f"[REDACTED:{sample.kind}]" in redact_pii(sample.text, kinds.append)
        assert sample.kind in kinds
        assert remains(sample) == []

    @pytest.mark.parametrize(("kind", "text"), PERSONAL)
    def test_wherever_it_stands(self, kind: str, text: str) -> None:
        """It is replaced by a marker of its kind, and nothing else is."""
        marker = f"[REDACTED:{kind}]"
        for frame in ("{}", "it is {}", "{} it is", "is it {}?", "(see {}), please", '"{}"'):
            assert redact_pii(frame.format(text)) == frame.format(marker)
        assert redact_pii(f"one {text} and {text}.") == f"one {marker} and {marker}."

    @pytest.mark.parametrize("text", NATIONAL_PHONES)
    def test_phone_without_country_code(self, text: str) -> None:
        """Phone numbers as people write them at home are phone numbers."""
        assert redact_pii(f"call me: {text}, ok") == "call me: [REDACTED:phone], ok"

    @pytest.mark.parametrize(
        ("text", "secret"),
        [
            ("password=hunter2", "hunter2"),
            ("Password: hunter2", "hunter2"),
            ('api_key = "k3y-v4lue"', "k3y-v4lue"),
            ("my password is hunter2, do not tell", "hunter2"),
            ("Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789"),
            ("postgres://admin:s3cr3t@db.internal/main", "s3cr3t"),
            ("access_token=a1b2c3d4", "a1b2c3d4"),
            ('{"password": "hunter2", "n": 1}', "hunter2"),
            ("-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA7 (cut off", "MIIEowIB"),
            ('"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIEowIBAAKCA"', "MIIEowIB"),
            ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYKEY", "wJalr"),
            ("AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI/K7MDENG/bPxRfiCYKEY", "wJalr"),
            ("SECRET_KEY='django-insecure-1234567890'", "django-insecure"),
            ("secret_key=abcdef", "abcdef"),
            ("private_key=abcdef", "abcdef"),
            ("access-key: abcdef", "abcdef"),
            ("passcode: 1234", "1234"),
            ("passcode is 1234", "1234"),
            ("token=a1b2c3", "a1b2c3"),
            ("your token: 123456.", "123456"),
            ("refresh_token=a1b2c3", "a1b2c3"),
            ('{"idToken": "a1b2c3"}', "a1b2c3"),
            ("credentials=ann/s3cret", "s3cret"),
            ("authorization=basic QWxhZGRpbjpvcGVu", "QWxh"),
            ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNl"),
            ('"authorization": "Token abcdef1"', "abcdef1"),
            ("auth_token: Bearer abcdef", "abcdef"),
            ("AccountName=a;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50u==;", "Eby8"),
            ("api_key=" + "a1B2" * 1_000, "a1B2"),
        ],
    )
    def test_secret_named_as_one(self, text: str, secret: str) -> None:
        """A value that is called a password, key or token is one, whatever its shape."""
        found = redact_pii(text)
        assert secret not in found
        assert "[REDACTED:secret]" in found

    def test_several_in_one_text(self) -> None:
        """Neighbours are each found, and what stands between them stays."""
        kinds: list[str] = []
        given = (
            "+49 171 1234567, +49 171 7654321 or 555-123-4567; 10.1.2.3, a@b.example "
            "(DE89370400440532013000)"
        )
        assert redact_pii(given, kinds.append) == (
            "[REDACTED:phone], [REDACTED:phone] or [REDACTED:phone]; [REDACTED:ip], "
            "[REDACTED:email] ([REDACTED:iban])"
        )
        assert Counter(kinds) == {"phone": 3, "ip": 1, "email": 1, "iban": 1}

    def test_id_before_a_number(self) -> None:
        """The end of an id does not become a card where a text is looked at in parts."""
        for words in range(20, 60):
            text = f"e29b-41d4-a716-4111111111111111 {'x' * words} "
            assert redact_pii(f"{text}555-123-4567") == f"{text}[REDACTED:phone]"

    def test_is_told_once(self) -> None:
        """Data that matches two patterns is counted by the first alone."""
        for text in (
            "api_key = 'sk_live_" + "a1B2c3D4e5F6g7H8'",
            "IP ::ffff:192.0.2.1",
            "tel 555-123-4567",
        ):
            kinds: list[str] = []
            redact_pii(text, kinds.append)
            assert len(kinds) == 1

    def test_kinds(self) -> None:
        """Every kind that is counted is one of the promised ones, and has samples."""
        assert set(PII_KINDS) == {sample.kind for sample in SAMPLES}


class TestHarmless:
    @pytest.mark.parametrize(
        "text", [*HARMLESS, "x" * 5_000, "deadbeef" * 600], ids=lambda t: t[:40]
    )
    def test_survives(self, text: str) -> None:
        """It stays as it is, alone and within a sentence."""
        for frame in ("{}", "see {} here", "({})", "{}, {}"):
            given = frame.format(text, text)
            assert redact_pii(given) == given

    def test_number_of_a_heading(self) -> None:
        """Small numbers that begin a line with a title after them are no address."""
        for text in ("3.2.1.4 Results", "## 2.1.3.1 Scope", "see\n4.1.2.2 Limits"):
            assert redact_pii(text) == text
        assert redact_pii("10.200.3.4 GET /") == "[REDACTED:ip] GET /"

    def test_text_without_any(self) -> None:
        """The text itself is returned: nothing is copied."""
        text = "a note of 2024-05-17 about version 2.4.1, at 10:30"
        assert redact_pii(text) is text

    def test_cards_need_their_check_digit(self) -> None:
        """Sixteen digits are no card unless the check digit (Luhn) is right."""
        for last in "023456789":  # 1 would be right
            number = f"411111111111111{last}"
            assert redact_pii(number) == number

    @pytest.mark.parametrize(
        "numbers",
        [
            pytest.param(range(1_736_937_045_100, 1_736_937_045_130), id="unix milliseconds"),
            pytest.param(range(1_736_937_045_123_400, 1_736_937_045_123_430), id="microseconds"),
            pytest.param(range(20_250_115_103_040, 20_250_115_103_060), id="compact timestamps"),
            pytest.param(
                range(1_329_876_543_210_987_000, 1_329_876_543_210_987_030), id="snowflakes"
            ),
        ],
    )
    def test_numbers_that_no_card_begins_with(self, numbers: range) -> None:
        """Every tenth number passes Luhn; cards also begin as their issuers do (2221 to 2720,
        3 to 6), and times and generated ids do not."""
        for number in numbers:
            assert redact_pii(f"at {number}.") == f"at {number}."

    def test_social_security_numbers_that_are_never_given(self) -> None:
        """Areas 000, 666 and 900 to 999 are none."""
        for text in ("000-12-3456", "666-12-3456", "912-12-3456"):
            assert redact_pii(text) == text

    def test_addresses_that_are_none(self) -> None:
        """Four numbers above 255 are no IP address."""
        for text in ("256.1.1.1", "1.2.3.999", "1.2.3.4.5", "300.300.300.300"):
            assert redact_pii(text) == text

    @pytest.mark.parametrize("group", ["national_id", "iban", "card"])
    def test_check_digits(self, group: str) -> None:
        """With one digit changed, most numbers are none: at least half of the samples that are
        checked are left alone, or found as something else."""
        samples = [s for s in SAMPLES if s.kind == group]
        kept = 0
        for sample in samples:
            place = max(i for i, c in enumerate(sample.value) if c.isdigit())
            digit = str((int(sample.value[place]) + 1) % 10)
            wrong = sample.value[:place] + digit + sample.value[place + 1 :]
            kept += f"[REDACTED:{group}]" not in redact_pii(sample.sentence.replace("{}", wrong))
        assert kept > len(samples) / 2


#: Text of any length on which a careless pattern goes back and forth for ever.
HOSTILE: dict[str, Callable[[int], str]] = {
    "letters": lambda n: "a" * n + ":",
    "dots": lambda n: "a." * (n // 2) + "@",
    "at signs": lambda n: "a@" * (n // 2),
    "domains": lambda n: "a@" + "a." * (n // 2) + "1",
    "domains without an end": lambda n: "a@" + "a-" * (n // 2),
    "digits": lambda n: "1" * n,
    "spaced digits": lambda n: "1 " * (n // 2),
    "digits and dashes": lambda n: "1-" * (n // 2),
    "triples": lambda n: "111-" * (n // 4),
    "plus signs": lambda n: "+1" * (n // 2),
    "parentheses": lambda n: "(1" * (n // 2),
    "octets": lambda n: "1." * (n // 2),
    "colons": lambda n: "a:" * (n // 2),
    "double colons": lambda n: "a::" * (n // 3),
    "tokens": lambda n: "eyJ-" * (n // 4),
    "token parts": lambda n: "eyJaaaaaaaa." * (n // 12),
    "keys": lambda n: "sk-" * (n // 3),
    "key words": lambda n: "sk-" + "a-" * (n // 2) + "!",
    "slack": lambda n: "xoxb-" * (n // 5) + "!",
    "private keys": lambda n: "-----BEGIN PRIVATE KEY-----" * (n // 27),
    "headers": lambda n: "-----BEGIN " + "A " * (n // 2),
    "urls": lambda n: "://" * (n // 3),
    "user parts": lambda n: "://" + "a" * n + ":" + "a" * n,
    "bearers": lambda n: "bearer " * (n // 7),
    "blanks": lambda n: "password" + " " * n,
    "passwords": lambda n: "password:" * (n // 9),
    "account keys": lambda n: "AccountKey=" * (n // 11),
    "authorizations": lambda n: "authorization: basic " * (n // 21),
    "token names": lambda n: "token:" * (n // 6),
    "tokens without an end": lambda n: "refresh_token=" + "a" * n,
    "names of names": lambda n: "secret_access_" * (n // 14),
    "sendgrid": lambda n: "SG." + "SG.aaaaaaaaaaaaaaaa." * (n // 20),
    "hooks": lambda n: "hooks.slack.com/services/" * (n // 25),
    "webhooks": lambda n: "whsec_-" * (n // 7),
    "databricks": lambda n: "dapi" * (n // 4),
    "equals signs": lambda n: "=" * n,
    "base64": lambda n: "data:;base64," + "QUJD" * (n // 4),
    "encoded at signs": lambda n: "%40" * (n // 3),
    "encoded addresses": lambda n: "a%40" * (n // 4),
    "bracketed at signs": lambda n: "a [at] b [dot] " * (n // 15),
    "spoken addresses": lambda n: "a at b dot " * (n // 11),
    "quotes": lambda n: '"' * n + "@",
    "quoted addresses": lambda n: '"@' * (n // 2),
    "words after passwords": lambda n: "password a b c d " * (n // 17),
    "quoted passwords": lambda n: 'password="' * (n // 10),
    "options": lambda n: "--token " * (n // 8) + "-u a:" * (n // 8),
    "random keys": lambda n: ("a1B" * 13 + " ") * (n // 40),
    "IBANs": lambda n: "DE89 3704 0044 0532 0130 01 " * (n // 28),
    "one IBAN": lambda n: "DE89" + " 1234" * (n // 5),
    "MACs": lambda n: "00:11:22:33:44:" * (n // 15),
    "zeros": lambda n: "0" * n,
    "area codes": lambda n: "01 " * (n // 3) + "(0123) " * (n // 7),
    "named phones": lambda n: "tel 1234567 " * (n // 12),
    "cards": lambda n: "4111 " * (n // 5),
    "ids": lambda n: "12345678A " * (n // 10) + "12345678901 " * (n // 12),
    "headings": lambda n: "1.2.3.4 A\n" * (n // 10),
    "upgrades": lambda n: "upgrade 1.2.3.4 to " * (n // 19),
    "bots": lambda n: "123456789:" * (n // 10),
    "beginnings": lambda n: "-----BEGIN " * (n // 11),
    "keys without an end": lambda n: "-----BEGIN PRIVATE KEY-----" * (n // 27) + "-----END ",
    "signing keys": lambda n: "PRIVATE+KEY+" * (n // 12),
}


def effort(text: str) -> int:
    """Nanoseconds of the processor for *text*, at best."""
    best = []
    for _ in range(3):
        started = time.process_time_ns()
        redact_pii(text)
        best.append(time.process_time_ns() - started)
    return min(best)


@pytest.mark.parametrize("name", thinned(HOSTILE, 5))
def test_effort_grows_with_the_text(name: str) -> None:
    """Eight times the text takes about eight times as long: a quadratic pattern would take
    sixty-four times. (What takes less than 50 us is not compared.)"""
    make = HOSTILE[name]
    assert effort(make(32_000)) < 24 * max(effort(make(4_000)), 50_000)


def test_ids_are_no_account_numbers() -> None:
    """No part of a UUID is taken for an IBAN, whatever its check digits are."""
    numbers = [(a, b) for a in range(40) for b in range(100)]
    ids = [f"be71{a:04x}-{b:04x}-4a1b-8a8a-bbedaf6f7460" for a, b in numbers]
    ids += [f"35ea51c4-bf13-4{a:03x}-b4db-e28f1d65{b:04x}" for a, b in numbers]
    assert [one for one in ids if redact_pii(one) != one] == []
