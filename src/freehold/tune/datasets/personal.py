"""What looks like personal data in a text: patterns, and checksums where there are any.

Room: tune. Says kinds and counts, never what was found; must not know files. A finding is a reason
to look, not a proof; nothing found is no proof either.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping

__all__ = ["KINDS", "personal_data"]

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![\w-])", re.I
)
_PHONE = re.compile(
    r"(?<![\w+.])(?:(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){6,14}"  # +49 30 1234567, 0049 …
    r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}"  # (415) 555-2671
    r"|0\d{2,4}[ /-]\d{3}(?:[ -]?\d){2,6})(?![\w.])"  # 030 1234567, 0171-1234567
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
_CARD = re.compile(r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){8,15}(?![\w.-])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:.])", re.I)
_TAX = re.compile(
    r"(?<![\w.-])(?:\d{3}-\d{2}-\d{4}"  # US social security
    r"|\d{3}\.\d{3}\.\d{3}-\d{2}"  # Brazilian CPF
    r"|\d{2} ?\d{3} ?\d{3} ?\d{3}"  # German Steuer-ID
    r"|[XYZ\d]\d{7}[A-Z]"  # Spanish NIF and NIE
    r"|[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"  # Italian codice fiscale
    r"|[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})(?![\w.-]*\w)"  # French NIR
)

# How long an IBAN of a country is. Source: the IBAN registry.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MT": 31, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "XK": 20,
}  # fmt: skip
_NIF = "TRWAGMYFPDXBNJZSQVHLCKE"
# What a character counts at the odd places of a codice fiscale, by the digit or letter's number.
_CF_ODD = [
    1,
    0,
    5,
    7,
    9,
    13,
    15,
    17,
    19,
    21,
    2,
    4,
    18,
    20,
    11,
    3,
    6,
    8,
    12,
    14,
    16,
    10,
    22,
    25,
    24,
    23,
]


def personal_data(text: str) -> Counter[str]:
    """How often each kind stands in the text. A place that reads as several counts as the first."""
    found: Counter[str] = Counter()
    taken: list[tuple[int, int]] = []
    for kind, (pattern, holds) in _FINDERS.items():
        for match in pattern.finditer(text):
            start, end = match.span()
            if any(start < b and a < end for a, b in taken) or not holds(match.group()):
                continue
            taken.append((start, end))
            found[kind] += 1
    return found


def _always(text: str) -> bool:
    return bool(text)


def _iban(text: str) -> bool:
    plain = text.replace(" ", "")
    length = _IBAN_LENGTHS.get(plain[:2], 0)
    # More of the sentence may follow in capitals.
    plain = plain[:length]
    if not length or len(plain) != length:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _card(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 16


def _tax_id(text: str) -> bool:
    plain = re.sub(r"[ .-]", "", text)
    if re.fullmatch(r"\d{3}-\d{2}-\d{4}", text):
        return plain[:3] not in ("000", "666") and plain[0] != "9" and plain[3:5] != "00"
    if len(plain) == 9:
        number = plain[:-1].translate(str.maketrans("XYZ", "012"))
        return _NIF[int(number) % 23] == plain[-1]
    if len(plain) == 16:
        return _codice_fiscale(plain)
    if len(plain) == 15:
        number = plain[:13].replace("2A", "19").replace("2B", "18")
        return number.isdigit() and 97 - int(number) % 97 == int(plain[13:])
    return _cpf(plain) if "." in text else _steuer_id(plain)


def _codice_fiscale(plain: str) -> bool:
    total = 0
    for place, c in enumerate(plain[:15]):
        value = int(c) if c.isdigit() else ord(c) - ord("A")
        total += _CF_ODD[value] if place % 2 == 0 else value
    return chr(ord("A") + total % 26) == plain[15]


def _cpf(plain: str) -> bool:
    digits = [int(c) for c in plain]
    if len(set(digits)) == 1:
        return False
    for size in (9, 10):
        total = sum(d * w for d, w in zip(digits, range(size + 1, 1, -1), strict=False))
        if total * 10 % 11 % 10 != digits[size]:
            return False
    return True


def _steuer_id(plain: str) -> bool:
    """ISO 7064 mod 11,10; of the first ten digits, one stands there two or three times."""
    counts = Counter(plain[:10])
    if plain[0] == "0" or sorted(counts.values())[-1] not in (2, 3):
        return False
    product = 10
    for c in plain[:10]:
        total = (int(c) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(plain[10])


_FINDERS: Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (_EMAIL, _always),
    "iban": (_IBAN, _iban),
    "card": (_CARD, _card),
    "tax id": (_TAX, _tax_id),
    "ip address": (_IPV4, _ip),
    "ipv6 address": (_IPV6, _ip),
    "phone": (_PHONE, _phone),
}
KINDS = tuple(_FINDERS)
