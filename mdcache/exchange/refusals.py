"""Binance's own refusals of a kline question: status, code and text, as its documents and captures give them."""

from mdcache.errors import Refusal
from mdcache.exchange.markets import Market

DIGITS = "^[0-9]{1,20}$"
SPOT_SYMBOL = r"^[\w\-._&&[^a-z]]{1,50}$"  # live since 2025-12; a Java character class
FUTURES_SYMBOL = "^[A-Z0-9-_.]{1,20}$"


def _bad(code: int, msg: str) -> Refusal:
    return Refusal(400, code, msg)


def illegal(parameter: str, legal: str) -> Refusal:
    """-1100: characters outside the legal range."""
    return _bad(-1100, f"Illegal characters found in parameter '{parameter}'; legal range is '{legal}'.")


def too_many(expected: int, received: int) -> Refusal:
    """-1101: more parameters than any question has."""
    return _bad(-1101, f"Too many parameters; expected '{expected}' and received '{received}'.")


def duplicate() -> Refusal:
    """-1101: the same parameter twice."""
    return _bad(-1101, "Duplicate values for a parameter detected.")


def missing(parameter: str) -> Refusal:
    """-1102: a mandatory parameter was not sent."""
    return _bad(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")


def unread(read: int, sent: int) -> Refusal:
    """-1104: spot refuses parameters it does not know."""
    return _bad(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def empty(parameter: str) -> Refusal:
    """-1105: present, but empty."""
    return _bad(-1105, f"Parameter '{parameter}' was empty.")


def bad_interval() -> Refusal:
    """-1120."""
    return _bad(-1120, "Invalid interval.")


def bad_symbol() -> Refusal:
    """-1121: not in the market's `exchangeInfo`."""
    return _bad(-1121, "Invalid symbol.")


def bad_pair(market: Market) -> Refusal:
    """-4144 on usdm, -4087 on coinm: the two number their errors differently."""
    return _bad(-4087, "Invalid pair.") if market is Market.COINM else _bad(-4144, "Invalid pair")


def bad_contract_type() -> Refusal:
    """-4104."""
    return _bad(-4104, "Invalid contract type")


def invalid(parameter: str) -> Refusal:
    """-1130: the value is of the right form, and not allowed."""
    return _bad(-1130, f"Data sent for parameter '{parameter}' is not valid.")


def start_after_end() -> Refusal:
    """-1023: futures only; spot answers an empty list."""
    return _bad(-1023, "Start time is greater than end time.")


def span_too_long(days: int) -> Refusal:
    """-4088: coinm's longest window."""
    return _bad(-4088, f"Invalid time interval; Maximum time interval is {days} days.")


def bad_time_unit() -> Refusal:
    """-1194."""
    return _bad(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
