"""Binance's own refusals: status, code and text, from its documents and live replies (docs/binance.md#errors)."""

from mdcache.errors import Refusal
from mdcache.exchange.markets import Market

DIGITS = "^[0-9]{1,20}$"
SPOT_SYMBOL = r"^[\w\-._&&[^a-z]]{1,50}$"  # live since 2025-12; a Java character class
FUTURES_SYMBOL = "^[A-Z0-9-_.]{1,20}$"

_NOT_ALLOWED = -1130


def _bad_request(code: int, msg: str) -> Refusal:
    return Refusal(400, code, msg)


def illegal_characters(parameter: str, legal: str) -> Refusal:
    """-1100: characters outside the legal range."""
    return _bad_request(-1100, f"Illegal characters found in parameter '{parameter}'; legal range is '{legal}'.")


def too_many(expected: int, received: int) -> Refusal:
    """-1101: more parameters than any question has."""
    return _bad_request(-1101, f"Too many parameters; expected '{expected}' and received '{received}'.")


def duplicate() -> Refusal:
    """-1101: the same parameter twice."""
    return _bad_request(-1101, "Duplicate values for a parameter detected.")


def missing(parameter: str) -> Refusal:
    """-1102: a mandatory parameter was not sent."""
    return _bad_request(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")


def unknown_parameters(read: int, sent: int) -> Refusal:
    """-1104: spot refuses parameters it doesn't know."""
    return _bad_request(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def empty(parameter: str) -> Refusal:
    """-1105: present, but empty."""
    return _bad_request(-1105, f"Parameter '{parameter}' was empty.")


def bad_interval() -> Refusal:
    """-1120: an unknown interval."""
    return _bad_request(-1120, "Invalid interval.")


def bad_symbol() -> Refusal:
    """-1121: not in the market's `exchangeInfo`."""
    return _bad_request(-1121, "Invalid symbol.")


def bad_pair(market: Market) -> Refusal:
    """-4144 on usdm, -4087 on coinm: the two use different numbers."""
    return _bad_request(-4087, "Invalid pair.") if market is Market.COINM else _bad_request(-4144, "Invalid pair")


def bad_contract_type() -> Refusal:
    """-4104: an unknown contract type."""
    return _bad_request(-4104, "Invalid contract type")


def invalid(parameter: str) -> Refusal:
    """-1130: the value has the right form but is not allowed."""
    return _bad_request(_NOT_ALLOWED, f"Data sent for parameter '{parameter}' is not valid.")


def is_about_limit(refusal: Refusal) -> bool:
    """Return whether the exchange refuses so many rows at once."""
    return refusal.code == _NOT_ALLOWED and "'limit'" in refusal.msg


def start_after_end() -> Refusal:
    """-1023: futures only; spot answers an empty list."""
    return _bad_request(-1023, "Start time is greater than end time.")


def span_too_long(days: int) -> Refusal:
    """-4088: coinm's longest window."""
    return _bad_request(-4088, f"Invalid time interval; Maximum time interval is {days} days.")


def bad_time_unit() -> Refusal:
    """-1194: an unknown `X-MBX-TIME-UNIT`."""
    return _bad_request(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")


def one_of(names: tuple[str, ...]) -> Refusal:
    """-1102: none of several parameters, one of which is required."""
    said = " or ".join(f"'{each}'" for each in names)
    return _bad_request(-1102, f"Param {said} must be sent, but both were empty/null!")


def combination() -> Refusal:
    """-1128: parameters that exclude each other."""
    return _bad_request(-1128, "Combination of optional parameters invalid.")


def too_great(parameter: str, maximum: int) -> Refusal:
    """-1102: a list or number over its maximum."""
    return _bad_request(-1102, f"'{parameter}' contains unexpected value. Cannot be greater than {maximum}.")


def repeated_symbol() -> Refusal:
    """-1151: a symbol twice in a list."""
    return _bad_request(-1151, "Symbol is present multiple times in the list.")


def bad_json(parameter: str) -> Refusal:
    """-1135: a list of symbols that is not a JSON list of names."""
    return _bad_request(-1135, f"JSON sent for parameter '{parameter}' is not valid")


def bad_depth_limit(value: str) -> Refusal:
    """-4021: futures' order books have seven sizes; the live text has neither quotes nor a full stop."""
    return _bad_request(-4021, f"{value} is not valid depth limit")


def bad_choice(parameter: str) -> Refusal:
    """A value that is not one of the parameter's choices; two of spot's have codes of their own, -1139 and -1122."""
    known = {
        "type": (-1139, "Invalid ticker type."),
        "symbolStatus": (-1122, "Invalid symbolStatus."),
        "contractType": (-4104, "Invalid contract type"),
    }
    return _bad_request(*known[parameter]) if parameter in known else invalid(parameter)
