"""Parse parameters' values as Binance does, and raise its refusals; shared by all kinds of questions."""

import re
from string import ascii_lowercase, ascii_uppercase
from urllib.parse import parse_qsl

from mdcache.exchange import refusals

MAX_PARAMETERS = 32  # no question has more than 8; more are refused without being parsed
_INT64_MAX = 2**63 - 1
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)
_SYMBOL_CHARS = re.compile(r"[\w\-.]{1,50}")
_LOWER = re.compile(r"[a-z]")
_CAPITALS = str.maketrans(ascii_lowercase, ascii_uppercase)  # of no other alphabet: U+017F has S for its capital, too
_ZONE = re.compile(r"([+-]?)([0-9]{1,2})(?::([0-9]{2}))?", re.ASCII)
_HOUR_MINUTES = 60
_ZONE_MIN, _ZONE_MAX = -12 * 60, 14 * 60  # rest-api.md: [-12:00 to +14:00] inclusive


def read_parameters(query: str, known: set[str] | None) -> dict[str, str]:
    """Return the parameters of a raw query; only `known` ones if given, since futures ignore all others."""
    received = query.count("&") + 1
    if received > MAX_PARAMETERS:
        raise refusals.too_many(MAX_PARAMETERS, received)
    sent: dict[str, str] = {}
    for each, value in parse_qsl(query, keep_blank_values=True):
        if known is not None and each not in known:
            continue
        if each in sent:
            raise refusals.duplicate()
        sent[each] = value
    for each, value in sent.items():
        if not value:
            raise refusals.empty(each)
    return sent


def symbol_name(value: str, parameter: str, *, spot: bool) -> str:
    """Return a symbol or pair in upper case; its characters are checked, not its existence."""
    legal = _SYMBOL_CHARS.fullmatch(value) is not None
    if spot:
        if not legal or _LOWER.search(value):
            raise refusals.illegal_characters(parameter, refusals.SPOT_SYMBOL)
        return value
    if not legal:
        raise refusals.illegal_characters(parameter, refusals.FUTURES_SYMBOL)
    return value.translate(_CAPITALS)  # fapi accepts lower case and answers in upper: measured 2026-10-07


def whole_number(parameter: str, value: str) -> int:
    """Return a whole number of up to 20 digits, capped to int64."""
    if not _DIGITS.fullmatch(value):
        raise refusals.illegal_characters(parameter, refusals.DIGITS)
    return min(int(value), _INT64_MAX)


def zone_minutes(value: str) -> int:
    """Return how many minutes a `timeZone` lies east of UTC."""
    match = _ZONE.fullmatch(value)
    if match is None:
        raise refusals.invalid("timeZone")
    sign, hours, minutes = match.groups(default="0")
    offset = int(hours) * 60 + int(minutes)
    offset = -offset if sign == "-" else offset
    if int(minutes) >= _HOUR_MINUTES or not _ZONE_MIN <= offset <= _ZONE_MAX:
        raise refusals.invalid("timeZone")
    return offset


def wants_micros(value: str | None) -> bool:
    """Return whether an `X-MBX-TIME-UNIT` asks for microseconds."""
    if value is None:
        return False
    unit = value.strip().upper()
    if unit not in {"MICROSECOND", "MILLISECOND"}:
        raise refusals.bad_time_unit()
    return unit == "MICROSECOND"
