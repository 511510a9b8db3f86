"""Phone numbers in texts: international ones, and those of some countries as written at home."""

from __future__ import annotations

import re

from .matches import after, digits_of

__all__ = [
    *("AREA_CODE", "CALLED", "INTERNATIONAL", "IN_GROUPS", "NATIONAL"),
    *("NORTH_AMERICAN", "NUMBERS", "called", "national", "phone"),
]

_GAP = r"[ \u00a0\u202f.()/\u2010\u2011\u2013-]"
_DATE = re.compile(r"\d\d?([ ./-])\d\d?\1(?:\d{4}|\d\d(?!\1))(?!\d)|\d{4}([./-])\d\d?\2\d\d?(?!\d)")
_NUMBERED = re.compile(  # what else has such numbers
    r"(?i:(?<![a-z])(?:order|invoice|ticket|case|ref|reference|sku|part|article|item|clause"
    r"|(?<!caller )id"
    r"|isbn(?:-1[03])?|bestellung|rechnung|auftrag|artikel|commande|facture|pedido|factura|ordine"
    r"|kunden|customer|account|bestell|vorgangs)"
    r"(?:[\s-]?s?(?:number|no|nr|nummer|n°))?[\s:.#]{0,3})\Z"
)
INTERNATIONAL = re.compile(
    rf"(?:\+(?<![\w.+]\+)[1-9]|00(?<![\w.,+-]00)[1-9]\d{{0,2}}(?={_GAP}))"
    rf"(?:{_GAP}{{0,3}}\d){{7,14}}(?![\w-]|[.,]\d)"
    r"|00(?<![\w.,+-]00)[34]\d{9,12}(?![\w-])"
)
NORTH_AMERICAN = re.compile(
    r"1(?<![\w.-]1)[ .-](?:\(\d{3}\)[ .-]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"
    r"|\d(?<![\w.-]\d)\d\d[ .-]\d{3}[ .-]\d{4}(?![\w-])"
)
AREA_CODE = re.compile(
    r"\((?<![\w.-]\()\d{2,5}\)[ .-]?\d{3,9}(?:[ .-]\d{2,5}){0,3}(?![\w-]|[.,]\d)"
)
NATIONAL = re.compile(
    r"0(?<![\w.,-]0)[1-9]"
    r"(?:\d{8,9}|(?<=01)[567]\d{9}|\d{0,3} ?[ ./-] ?\d{2,8}(?:[ .-]\d{2,8}){0,3})(?![\w-]|[.,]\d)"
)
# Numbers without a zero, in the groups of Spain, Poland, Italy, India and Brazil.
_UNIT = r" ?(?:[€$£¥%]|EUR|USD|PLN|CHF|zł|[kMGT]?[bB]ytes?|[KMGT]?i?B\b)"
IN_GROUPS = re.compile(
    r"[6-9](?<![\w.,-].)\d\d \d\d \d\d \d\d(?![\w-]|[.,]\d)"
    r"|[2-9](?<![\w.,-].)\d \d{3} \d\d \d\d(?![\w-]|[.,]\d)"
    r"|[6-9](?<![\w.,-].)\d{4}[ -]\d{5}(?![\w-]|[.,]\d)"
    r"|3(?<![\w.,-]3)[2-9]\d[ .-]\d{6,7}(?![\w-]|[.,]\d)"
    r"|[1-9](?<![\w.,-].)\d 9\d{4}[ -]\d{4}(?![\w-])"
    rf"|[5-9](?<![\w.,-].)\d\d([ -])\d{{3}}\1\d{{3}}(?![\w-]|[.,]\d| \d{{3}}|{_UNIT})"
)
_MONEY = re.compile(r"(?:[€$£¥]|EUR|USD|PLN|CHF)\s?\Z")
CALLED = re.compile(rf"\d(?<![\w.,-]\d)(?:{_GAP}{{0,2}}\d){{6,13}}(?![\w-]|[.,]\d)")
_PHONE_NAME = re.compile(
    r"(?i:(?<![^\W_])(?:tel|telefon[eo]?|téléphone|teléfono|tél|phone|mobile?|mobiel|móvil"
    r"|cell(?:ulare)?|celular|handy|fax|whatsapp|sms|call|ring"
    r"|text (?:me|us|him|her)|komórka|numer telefonu|rufnummer)"
    r"(?:nummer|nr)?"
    r"(?:[\s:=.#(]{1,3}(?:number|no|nr|nummer|numero|número|numéro|n[°º]|is|ist|est|es|è|é|jest|at|on"
    r"|me|us|him|her)){0,3}[\s:=.#(]{1,3})\Z"
)
# Six digits or more that are no date; all numbers below are of those.
NUMBERS = re.compile(
    rf"\d(?<![\w.-]\d)(?!\d{{3}}-\d\d-\d\d(?![\d-]))(?:{_GAP}{{0,3}}\d){{5,}}[\w,-]*(?:{_UNIT})?"
)


def phone(match: re.Match[str]) -> int:
    """A number of this shape, unless it is a date or the words before it say what else it is."""
    text = match.group()
    other = _DATE.match(text) or after(match, _NUMBERED) or after(match, _MONEY)
    return 0 if other or text == "0123456789" else len(text)


def national(match: re.Match[str]) -> int:
    """Nine to twelve digits: fewer are rather an id."""
    text = match.group()
    enough = 9 if re.fullmatch(r"0\d{1,4} ?[ /] ?\d{5,7}|\(.*", text) else 10
    return phone(match) if enough <= len(digits_of(text)) <= 12 else 0


def called(match: re.Match[str]) -> int:
    return phone(match) if after(match, _PHONE_NAME) else 0
