"""Texts as people and programs write them: with personal data and secrets, and without.

Nothing here belongs to anybody. Numbers are of the ranges kept for examples, or made up with a
right check digit; secrets are put together when this is imported, so that no scanner takes this
file for a leak.
"""

from __future__ import annotations

import base64
import string
from random import Random
from typing import NamedTuple

_random = Random(20250115)
_LETTERS_DIGITS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def _chars(length: int, alphabet: str = _LETTERS_DIGITS) -> str:
    """Random characters, digits and letters of both cases among them where there are any."""
    while True:
        made = "".join(_random.choices(alphabet, k=length))
        wanted = (str.isdigit, str.islower, str.isupper)
        if all(any(map(of, made)) >= any(map(of, alphabet)) for of in wanted):
            return made


def _base64(size: int) -> str:
    return base64.b64encode(_random.randbytes(size)).decode()


def _block(name: str, dashes: str = "-----") -> str:
    lines = "\n".join(_base64(48) for _ in range(3))
    return f"{dashes}BEGIN {name}{dashes}\n{lines}\n{dashes}END {name}{dashes}"


def _jwt() -> str:
    parts = (b'{"alg":"HS256"}', b'{"sub":"1234567890"}', _random.randbytes(32))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


class Sample(NamedTuple):
    """*value* is personal data of *kind*; it stands at ``{}`` in *sentence*."""

    kind: str
    group: str
    value: str
    sentence: str = "{}"

    @property
    def text(self) -> str:
        """The sentence with the value in it."""
        return self.sentence.replace("{}", self.value)


def _of(kind: str, group: str, *values: str | tuple[str, str]) -> list[Sample]:
    """Samples from values, or pairs of a sentence and its value."""
    return [
        Sample(kind, group, value)
        if isinstance(value, str)
        else Sample(kind, group, value[1], value[0])
        for value in values
    ]


_TOKENS: list[str | tuple[str, str]] = [
    ("use {} for the upload", "AKIA" + _chars(16, string.ascii_uppercase + "234567")),
    ("a key of letters, {}", "AKIA" + "ABCDEFGHIJKLMNOP"),
    ("temporär: {}", "ASIA" + _chars(16, string.ascii_uppercase + "234567")),
    ("AWS_SECRET_ACCESS_KEY={}", _chars(40, _LETTERS_DIGITS + "/+")),
    ("the other half is {} (keep it)", _chars(19) + "/" + _chars(12) + "+" + _chars(7)),
    ("git clone with {}", "ghp_" + _chars(36)),
    ("GITHUB_TOKEN: {}", "ghs_" + _chars(36)),
    ("{} ist abgelaufen", "github_pat_" + _chars(22) + "_" + _chars(59)),
    ("le jeton {} expire demain", "glpat-" + _chars(20)),
    ("slack: {}", f"xoxb-{_chars(12, string.digits)}-{_chars(13, string.digits)}-{_chars(24)}"),
    ("{}", f"xoxp-{_chars(11, string.digits)}-{_chars(11, string.digits)}-{_chars(32, _HEX)}"),
    ("post to {}", f"https://hooks.slack.com/services/T0{_chars(8)}/B0{_chars(8)}/{_chars(24)}"),
    ("stripe.api_key = '{}'", "sk_live_" + _chars(24)),
    ("restricted {}", "rk_live_" + _chars(24)),
    ("whsec is {}", "whsec_" + _chars(32)),
    ("OPENAI_API_KEY={}", "sk-" + _chars(20) + "T3BlbkFJ" + _chars(20)),
    ("mon {} ne marche plus", "sk-proj-" + _chars(40, _LETTERS_DIGITS + "-_")),
    ("anthropic {}", "sk-ant-api03-" + _chars(93, _LETTERS_DIGITS + "-_") + "AA"),
    ("maps?key={}&q=x", "AIza" + _chars(35, _LETTERS_DIGITS + "-_")),
    ("{}", "ya29." + _chars(60, _LETTERS_DIGITS + "-_")),
    ("client {}", "GOCSPX-" + _chars(28, _LETTERS_DIGITS + "-_")),
    ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};", _base64(64)),
    ("the account's {} was rotated", _base64(64)),
    ("https://a.blob.core.windows.net/c?sv=2022-11-02&se=2025&sig={}", _chars(43) + "%3D"),
    ("Endpoint=sb://a.servicebus.windows.net/;SharedAccessKey={}", _base64(32)),
    ("huggingface-cli login --token {}", "hf_" + _chars(34, string.ascii_letters)),
    ("//npm.example.org/:_authToken={}", "npm_" + _chars(36)),
    ("twine -p {}", "pypi-AgEIcHlwaS5vcmc" + _chars(120, _LETTERS_DIGITS + "-_")),
    ("{}", "SG." + _chars(22) + "." + _chars(43)),
    ("twilio {}", "SK" + _chars(32, _HEX)),
    ("twilio account {}", "AC" + _chars(32, _HEX)),
    ("el bot usa {}", f"{_chars(10, '123456789')}:AA{_chars(33, _LETTERS_DIGITS + '-_')}"),
    ("discord {}", f"MT{_chars(24)}.G{_chars(5)}.{_chars(38)}"),
    (
        "{}",
        f"https://discord.com/api/webhooks/{_chars(18, '123456789')}/{_chars(68)}",
    ),
    ("dbx {}", "dapi" + _chars(32, _HEX)),
    ("doctl {}", "dop_v1_" + _chars(64, _HEX)),
    ("shop {}", "shpat_" + _chars(32, _HEX)),
    ("square {}", "sq0atp-" + _chars(22)),
    ("mailgun {}", "key-" + _chars(32, _HEX)),
    ("mailchimp {}", _chars(32, _HEX) + "-us21"),
    ("vault {}", "hvs." + _chars(90)),
    ("docker {}", "dckr_pat_" + _chars(27)),
    ("grafana {}", "glsa_" + _chars(32) + "_" + _chars(8, _HEX)),
    ("groq {}", "gsk_" + _chars(52)),
    ("replicate {}", "r8_" + _chars(37)),
    ("linear {}", "lin_api_" + _chars(40)),
    ("notion {}", "ntn_" + _chars(46)),
    ("azure client {}", _chars(3) + "8Q~" + _chars(34)),
    ("refresh {}", "1//0" + _chars(60)),
    ("mapbox {}", "sk.eyJ" + _chars(60) + "." + _chars(22)),
    ("telegram: https://api.telegram.org/bot{}/getMe", f"{_chars(9, '123456789')}:AA{_chars(33)}"),
]

_HEADERS: list[str | tuple[str, str]] = [
    _jwt(),
    ("Authorization: Bearer {}", _chars(40)),
    ("curl -H 'Authorization: Basic {}'", _base64(18)),
    ("X-Api-Key: {}", _chars(32, _HEX)),
    ("https://user:{}@example.com/x", "pa55w0rd"),
    ("postgresql://app:{}@db.internal:5432/main?sslmode=require", "S3cr3t%21"),
    ("redis://:{}@cache:6379/0", "s3cr3t"),
    ("mongodb+srv://root:{}@cluster0.mongodb.net/", "p@ss1"),
    ("Server=db;Database=x;User Id=sa;Password={};Encrypt=yes", "Str0ng"),
    ("amqp://guest:{}@rabbit//", "guest"),
]

_BLOCKS: list[str | tuple[str, str]] = [
    _block("RSA PRIVATE KEY"),
    _block("PRIVATE KEY"),
    _block("ENCRYPTED PRIVATE KEY"),
    _block("OPENSSH PRIVATE KEY"),
    _block("EC PRIVATE KEY"),
    _block("PGP PRIVATE KEY BLOCK"),
    _block("SSH2 ENCRYPTED PRIVATE KEY", "---- ").replace("---- \n", "----\n").strip(),
    ("age {}", "AGE-SECRET-KEY-1" + _chars(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L")),
    ('{"private_key": "{}"}', _block("PRIVATE KEY").replace("\n", "\\n")),
]

_OURS = [
    (
        "the key of the archive: {}",
        f"PRIVATE+KEY+audit.example.com+{_chars(8, _HEX)}+A{_base64(32)[:-1]}=",
    ),
    ("AXON_AUDIT_PSEUDONYMIZE={}", _chars(40, _HEX)),
    ("AuditLogger(pseudonymize='{}')", "32 secret bytes, kept elsewhere!"),
    ('pseudonymize=b"{}"', _chars(32)),
    ("--pseudonymize {} --archive audit_logs", _base64(32)),
    ("AXON_AUDIT_SIGNING_KEY={}", f"PRIVATE+KEY+a+{_chars(8, _HEX)}+{_base64(33)}"),
]

_PASSWORDS = [
    ("password: {}", "hunter2"),
    ("my password is {}, do not tell", "hunter2!"),
    ("the Wi-Fi passphrase is '{}'", "c0rrect-horse"),
    ("Password - {}", "hunter2"),
    ("Das Passwort lautet {}", "Geheim123"),
    ("Kennwort: {}", "geheim"),
    ("Mein Passwort ist {} und bleibt so", "Sommer2024!"),
    ("Zugangscode = {}", "7731-abc"),
    ("Le mot de passe est {}", "Soleil75!"),
    ("mot de passe : {}", "azerty123"),
    ("mdp: {}", "bonjour1"),
    ("la contraseña es {}", "Clave2024"),
    ("Contraseña: {}", "tortilla"),
    ("clave: {}", "Abc12345"),
    ("La password è {}", "Roma2024!"),
    ("parola d'ordine: {}", "apriti1"),
    ("a senha é {}", "Brasil123"),
    ("senha: {}", "carnaval"),
    ("palavra-passe: {}", "lisboa99"),
    ("Het wachtwoord is {}", "Fiets123!"),
    ("wachtwoord: {}", "kaasbroodje"),
    ("Hasło: {}", "Zaq12wsx"),
    ("hasło to {}", "Kot123!"),
    ('{"passwort": "{}"}', "geheim"),
    ("password for the server = {}", "hunter2"),
    ("Passwort fürs WLAN: {}", "k4ffee"),
    ("Votre mot de passe temporaire est {}", "Abc123"),
    ("tu contraseña temporal es {}", "Perro99"),
    ("The password you need is {}", "Fluffy99"),
    ("moje hasło to {}", "Pies12"),
    ("curl -u admin:{} https://x.example", "s3cret99"),
    ("my API key is {}", "abcd1234efgh"),
    ('DB_PASSWD: "{}"', "hunter two"),
]

_PHONES = [
    ("call me at {}", "(555) 123-4567"),
    ("US: {}.", "555-123-4567"),
    ("or text {} please", "+1 415 555 2671"),
    ("phone 5551234567, i.e. {}", "+14155552671"),
    ("my phone number is {}", "4155552671"),
    ("London: {}", "020 7946 0958"),
    ("mobile {}", "07700 900123"),
    ("UK: {}", "+44 (0)20 7946 0958"),
    ("ring {} after six", "+447700900123"),
    ("Tel. {}", "030 12345678"),
    ("Büro: {}", "030/1234567"),
    ("ruf mich an: {}", "0171 123 45 67"),
    ("mobil {}", "015112345678"),
    ("(handy) {}", "0151 12345678"),
    ("mobil {}", "+49 171 1234567"),
    ("Telefon: {}", "+49 (0) 89 / 123456-78"),
    ("Zentrale {}", "0049 89 1234567"),
    ("appelle-moi au {}", "06 12 34 56 78"),
    ("tél : {}", "01.42.68.53.00"),
    ("joignable au {}", "0612345678"),
    ("portable {}", "+33 6 12 34 56 78"),
    ("llámame al {}", "612 34 56 78"),
    ("móvil: {}", "612 345 678"),
    ("teléfono {}", "912345678"),
    ("Madrid {}", "+34 91 123 45 67"),
    ("cellulare: {}", "347 123 4567"),
    ("ufficio {}", "06 1234 5678"),
    ("Giulia {}", "333 1234567"),
    ("chiamami: {}", "+39 347 1234567"),
    ("bel me op {}", "06-12345678"),
    ("Amsterdam {}", "020 123 4567"),
    ("mobiel {}", "+31 6 12345678"),
    ("zadzwoń: {}", "601 234 567"),
    ("komórka {}", "601-234-567"),
    ("Warszawa {}", "+48 22 123 45 67"),
    ("WhatsApp {}", "98765 43210"),
    ("mobile no. {}", "9876543210"),
    ("Mumbai {}", "98765-43210"),
    ("Delhi {}", "+91 98765 43210"),
    ("celular {}", "(11) 91234-5678"),
    ("São Paulo: {}", "+55 11 91234-5678"),
    ("東京 {}", "03-1234-5678"),
    ("携帯は {} です", "090-1234-5678"),
    ("Tokyo {}", "+81 3-1234-5678"),
    ("Sydney {}", "(02) 9374 4000"),
    ("mobile {} anytime", "0412 345 678"),
    ("Melbourne {}", "+61 3 9123 4567"),
    ("Zürich {}", "044 668 18 00"),
    ("Natel {}", "079 123 45 67"),
    ("Bern {}", "+41 31 123 45 67"),
    ("<a href='tel:{}'>", "+1-415-555-2671"),
]

_CARDS = [
    ("pay with {}", "4111 1111 1111 1111"),
    ("Karte {}", "4111-1111-1111-1111"),
    ("{}", "4111111111111111"),
    ("card {} 12/27 123", "5500 0055 5555 5559"),
    ("card {} 123 (CVC)", "5105105105105100"),
    ("Amex {}", "3782 822463 10005"),
    ("{} is my Amex", "378282246310005"),
    ("carte n° {}", "6011 0009 9013 9424"),
    ("Diners {}", "3056 930902 5904"),
    ("JCB {}", "3530111333300000"),
    ("mastercard: {}", "2223003122003222"),
    ("visa: {}", "4111\u00a01111\u00a01111\u00a01111"),
]

_SSNS = [
    ("SSN {}", "123-45-6789"),
    ("her number is {}", "078 05 1120"),
    ("ssn: {}", "123456789"),
    ("Social Security Number: {}", "219099999"),
]

_NATIONAL_IDS = [
    ("Steuer-ID: {}", "86 095 742 719"),
    ("IdNr. {}", "86095742719"),
    ("NIR {}", "1 55 08 14 168 025 88"),
    ("sécurité sociale {}", "155081416802588"),
    ("DNI {}", "12345678Z"),
    ("NIE {}", "X-1234567-L"),
    ("CF {}", "RSSMRA85T10A562S"),
    ("PESEL {}", "44051401359"),
    ("BSN: {}", "111222333"),
    ("AHV {}", "756.9217.0769.85"),
    ("rijksregister {}", "85.07.30-033.28"),
    ("NI number {}", "AB 12 34 56 C"),
    ("personnummer {}", "811218-9876"),
    ("CPF {}", "111.444.777-35"),
]

_IBANS = [
    ("IBAN {}", "DE89 3704 0044 0532 0130 00"),
    ("überweise an {}", "DE89370400440532013000"),
    ("{} BIC COBADEFFXXX", "DE89 3704 0044 0532 0130 00"),
    ("compte {}", "FR14 2004 1010 0505 0001 3M02 606"),
    ("to {}, please", "GB29NWBK60161331926819"),
    ("rekening {}", "NL91 ABNA 0417 1643 00"),
    ("cuenta {}", "ES91 2100 0418 4502 0005 1332"),
    ("conto {}", "IT60X0542811101000000123456"),
    ("konto {}", "PL61 1090 1014 0000 0712 1981 2874"),
    ("Konto {}", "CH93 0076 2011 6238 5295 7"),
    ("{}", "be68 5390 0754 7034"),
    ("{}", "NO93-8601-1117-947"),
]

_MACS = [
    ("device {}", "00:1A:2B:3C:4D:5E"),
    ("dev {} left", "3c:22:fb:9a:10:7e"),
    ("Adapter {}", "00-1A-2B-3C-4D-5E"),
    ("switch port {}", "001a.2b3c.4d5e"),
]

_IPS = [
    ("from {}", "192.168.1.17"),
    ("connect to {}:8080", "10.1.2.3"),
    ("http://{}/admin", "203.0.113.9"),
    ("route {}/24", "198.51.100.0"),
    ("from {}", "2001:db8::1"),
    ("http://[{}]:443/", "2001:db8:85a3::8a2e:370:7334"),
    ("host {}", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
    ("net {}/32", "2001:db8::"),
    ("link {}%eth0", "fe80::1ff:fe23:4567:890a"),
    ("mapped {}", "::ffff:192.0.2.128"),
    ("NAT64 {}", "64:ff9b::192.0.2.33"),
    ("loop [{}]", "::1"),
    ("upper {}", "2001:DB8::FF00:42:8329"),
]

_EMAILS = [
    ("write to {}", "alice@example.com"),
    ("mailto:{}?subject=x", "a.b-c+tag@mail.example.co.uk"),
    ("Anna <{}>", "anna_meier@beispiel.de"),
    ("/reset?email={}&x=1", "alice%40example.com"),
    ("next=%3Fmail%3D{}", "bob%2540example.com"),
    ("schreib an {}", "alice [at] example [dot] com"),
    ("mail {}", "alice[at]example.com"),
    ("contact {}", "alice (at) example.com"),
    ("contact: {}", "bob.smith(at)example(dot)org"),
    ("{}", "alice at example dot com"),
    ("{}", "max AT firma DOT de"),
    ("https://a.example/?u={}", "joe%40example%2Ecom"),
    ("kontakt: {}", "max (at) firma-gmbh (punkt) de"),
    ("{}", '"john doe"@example.com'),
    ("{}", '"very.unusual.@.unusual.com"@example.com'),
    ("{}", "info@xn--bcher-kva.example"),
    ("{}", "ivan@xn--e1afmkfd.xn--p1ai"),
    ("{}", "jürgen@exämple.de"),
    ("{}", "用户@例子.公司"),
    ("{}", "иван@почта.рф"),
    ("it's {}", "o'brien@example.ie"),
    ("root <{}>", "root@[192.0.2.1]"),
    ("{}", "alice&#64;example.com"),
]

#: What is promised to be found.
SAMPLES: list[Sample] = [
    *_of("secret", "tokens of providers", *_TOKENS),
    *_of("secret", "headers and URLs", *_HEADERS),
    *_of("secret", "private keys", *_BLOCKS),
    *_of("secret", "keys of this package", *_OURS),
    *_of("secret", "passwords by name", *_PASSWORDS),
    *_of("phone", "phones", *_PHONES),
    *_of("card", "cards", *_CARDS),
    *_of("ssn", "US social security numbers", *_SSNS),
    *_of("national_id", "national ids", *_NATIONAL_IDS),
    *_of("iban", "IBANs", *_IBANS),
    *_of("mac", "MAC addresses", *_MACS),
    *_of("ip", "IP addresses", *_IPS),
    *_of("email", "e-mail addresses", *_EMAILS),
]

#: What looks like it and is none: memory and its audit are full of these.
HARMLESS: list[str] = [
    # versions and sections
    "version 1.2.3.4",
    "Version: 10.0.19045.3570",
    "v1.2.3.4-rc.1",
    "nginx/1.25.3.1",
    "requests==2.31.0.1",
    "release 4.12.0.7 is out",
    "see section 3.2.1.4",
    "§ 4.1.2.7",
    "Kapitel 2.3.1.5",
    "chapitre 1.2.3.4",
    "firmware 3.4.5.6",
    "foo-1.2.3.4.tar.gz",
    "dpkg 1.20.9.1-1 and 5.6.7.8-beta",
    "upgraded from 1.2.3.4 to 1.2.4.0",
    "Python 3.11.7",
    "node>=18.0.0 <21.0.0",
    "Chrome/120.0.6099.109",
    "torch 2.1.0+cu121",
    # hosts of repositories, packages, code
    "git clone git@github.com:org/repo.git",
    "git@gitlab.example.com:group/project.git",
    "ssh://git@bitbucket.org/team/repo",
    "lodash@4.17.21",
    "@scope/package@1.0.0",
    "uses: actions/checkout@v4",
    "image@sha256:" + _chars(64, _HEX),
    "logo@2x.png",
    "y = a@b.T",
    "scores = q@k.transpose(-2, -1)",
    "std::vector<std::string>::size_type",
    "x[::1] and items[::-1]",
    "dead::beef",
    "def f(a: int, b: str) -> None: ...",
    "for i in range(1000000000): total += i",
    "SELECT * FROM t WHERE id = 1234567890",
    "if (a > 5 && b < 10) { c[12345678] = 0; }",
    "const token = getToken();",
    "password: str",
    "PASS: test_login2",
    "docker run --user 1000:1000 -u app:app image",
    '{"url": "https://host:8080", "at": "a@b"}',
    "password = os.environ['DB_PASSWORD']",
    "api_key=os.getenv('KEY')",
    "primary_key=order_id1",
    "max_tokens=512, token count: 1234567",
    "SG.com.example",
    "sk-learn-regression-pipeline-for-the-team",
    "pk_customer_orders_by_date",
    "meta-llama/Llama-3.1-8B-Instruct",
    "claude-sonnet-4-20250514",
    "text-embedding-3-small",
    # ids and hashes
    "550e8400-e29b-41d4-a716-446655440000",
    "12345678-1234-1234-1234-123456789012",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "evt_0194665e1b3a7c2d8f00112233445566",
    "commit a2c09e56779284957c910911dcb88f18002f23c4",
    "fixed in 3f2c1ab",
    "src/components/Orders2024/CustomerOrders",
    "BSN: 111222334",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "integrity sha512-" + _base64(64),
    "SHA1 Fingerprint=" + ":".join(_chars(2, "0123456789ABCDEF") for _ in range(20)),
    'ETag: "33a64df551425fcc55e4d42a148795d9f25f89d4"',
    "hmac-sha256:4e21197469a5b91061afc3e0bfb1cb62",
    "order 1234567890",
    "order no. 4567890123",
    "Bestellung 302-1234567-7654321",
    "invoice INV-2024-001-0001",
    "Rechnung 2024/10/000123",
    "ticket 00123456",
    "tracking 1Z999AA10123456784",
    "SKU 100-200-300",
    "Order #123-456-7890",
    "Artikel 0171 1234567",
    "digits are 0123456789",
    "EAN 4006381333931",
    "Kundennummer 0301234567",
    "Auftragsnummer: 0171 1234567",
    "snowflake 1329876543210987000",
    "part no. AB12 3456 7890 1234",
    "ISBN 978-3-16-148410-0",
    "ISBN 0306406152",
    "ISBN-10: 0-306-40615-2",
    "EAN 9780306406157",
    "DOI 10.1000/182",
    "RFC 2822, ISO 8601-1:2019",
    # dates and times
    "2025-01-15T10:30:45.123456Z",
    "2025-01-15T10:30:45+05:30",
    "2025-01-15 10:30:45",
    "15.01.2025 10:30",
    "06.12.24 14.30 Uhr",
    "01 02 2025 10 30",
    "01/15/2025 10:30",
    "from 2024-01-01 to 2024-12-31",
    "20250115103045",
    "at 10:30:45:123",
    "1736937045 seconds",
    "1736937045123",
    "2024 2025 2026",
    "call on 2025-01-15 at 10:30",
    "in den Jahren 1998-2003",
    # numbers and prices
    "$1,234.56",
    "1.299,00 €",
    "EUR 1 234 567.89",
    "USD 1,234,567,890.12",
    "612 345 678 €",
    "734 003 200 bytes",
    "99.999%",
    "3.141592653589793",
    "-273.15",
    "1e-10",
    "1024x768",
    "40.712776, -74.005974",
    "N 52° 31' 12.025 E 13° 24' 17.834",
    "up by +12500 units",
    "0.30000000000000004",
    "10000000000000",
    "12 34 56 78",
    "1-2-3-4-5-6-7-8-9-10",
    # words
    "the secretary's passport",
    "forgot my password again",
    "the password is required",
    "das Passwort ist falsch",
    "le mot de passe est incorrect",
    "la contraseña es obligatoria",
    "Kennwort vergessen?",
    "password: required",
    "palavra-passe esquecida",
    "the next token: a word of the vocabulary",
    "credentials: see the handbook",
    "authorization: basic needs are met",
    "bearer of good news",
    "look at example dot product",
    "meet me at the office (at noon)",
    "phone model 1234567",
    "call number 12 of 30",
    "mobile 5G since 2019",
    # ids, hashes, times, numbers, code and words again
    "11111111-2222-3333-4444-555555555555",
    "00000000-0000-0000-0000-000000000000",
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "user_123",
    "ticket-42",
    "INV-2024-001-0001",
    "entry_1",
    "1234567890123456789012",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    "ISBN 978-0-306-40615-7",
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "a2c09e56779284957c910911dcb88f18002f23c4",
    "2025-01-15T10:30:45+0530",
    "2025-01-15",
    "15.01.2025",
    "20250115T103045Z",
    "from 10:30:45 to 11:00:00",
    "12:30:45.678901",
    "audit_2025_01_15_103045.json",
    "1.2.3",
    "v2.14.0-rc.1",
    "1.0.0b2",
    "Windows 10.0.19045.3570",
    "+15000",
    "text-embedding-ada-002",
    "gpt-4o-2024-08-06",
    "all-MiniLM-L6-v2",
    "sk-learn pipeline",
    "sklearn.linear_model",
    "sk-learn-regression-pipeline",
    "rk-means-clustering-implementation",
    "std::vector<int>::iterator",
    "Foo::Bar",
    "@decorator",
    "@scope/package",
    "key: value",
    "a:b:c",
    "C:\\Users\\me",
    "https://example.com:8080/path?x=1#top",
    "s3://bucket/key",
    "redis://localhost:6379/0",
    "max_tokens=512",
    "token count: 1234567",
    "max_token=4096",
    "token: 17",
    "tokens=128000",
    "Authorization: required",
    "basic arithmetic2 for beginners",
    "a public-key: value",
    "the private key: none",
    "std::string",
    "x[::1]",
    "items[::-1]",
    "cafe::bad",
    "xapp-stage-environment",
    "hooks.slack.com",
    "dapibus",
    "a password isn't enough",
    "bearer responsibilities",
    "ID 001-002-003",
    "05.01.2025 10:30",
    "AKIA is a prefix",
    "eyJ is base64",
]
