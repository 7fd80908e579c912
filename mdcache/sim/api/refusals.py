"""Binance's refusals as values: status, code and message (docs/binance.md#refusals, #errors)."""

import json
from dataclasses import dataclass, replace

from mdcache.sim.config import Family, Market


@dataclass(frozen=True, slots=True)
class ApiRefusal:
    """An error with which Binance answers."""

    code: int
    message: str
    status: int = 400

    def about(self, *details: object) -> "ApiRefusal":
        """Fill the placeholders of the message."""
        return replace(self, message=self.message.format(*details))

    def body(self) -> bytes:
        """Return the JSON that Binance sends."""
        return json.dumps({"code": self.code, "msg": self.message}, separators=(",", ":"), ensure_ascii=False).encode()


START_AFTER_END = ApiRefusal(-1023, "Start time is greater than end time.")
ILLEGAL = ApiRefusal(-1100, "Illegal characters found in parameter '{}'; legal range is '{}'.")
DUPLICATE = ApiRefusal(-1101, "Duplicate values for a parameter detected.")
TOO_MANY = ApiRefusal(-1101, "Too many parameters; expected '{}' and received '{}'.")
MISSING = ApiRefusal(-1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed.")
MISSING_BOTH = ApiRefusal(-1102, "Param '{}' or '{}' must be sent, but both were empty/null!")
UNREAD = ApiRefusal(-1104, "Not all sent parameters were read; read '{}' parameter(s) but was sent '{}'.")
EMPTY = ApiRefusal(-1105, "Parameter '{}' was empty.")
BAD_INTERVAL = ApiRefusal(-1120, "Invalid interval.")
BAD_SYMBOL = ApiRefusal(-1121, "Invalid symbol.")
BAD_STATUS = ApiRefusal(-1122, "Invalid symbolStatus.")
NOT_BOTH = ApiRefusal(-1128, "Combination of optional parameters invalid.")
INVALID = ApiRefusal(-1130, "Data sent for parameter '{}' is not valid.")
BAD_LIST = ApiRefusal(-1135, "JSON sent for parameter 'symbols' is not valid")
BAD_TICKER_TYPE = ApiRefusal(-1139, "Invalid ticker type.")
REPEATED_SYMBOL = ApiRefusal(-1151, "Symbol is present multiple times in the list.")
SBE_DISABLED = ApiRefusal(-1155, "SBE is not enabled.", 406)
BAD_TIME_UNIT = ApiRefusal(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
WRONG_STATUS = ApiRefusal(-1220, "The symbol's status does not match the requested symbolStatus.")
NO_KEY = ApiRefusal(-2014, "API-key format invalid.", 401)
BAD_KEY = ApiRefusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
NO_REFERENCE_PRICE = ApiRefusal(-2043, "This symbol doesn't have a reference price.")
INVALID_DEPTH = ApiRefusal(-4021, "{} is not valid depth limit")
TOO_LONG = ApiRefusal(-4088, "Invalid time interval; Maximum time interval is 200 days.")
BAD_CONTRACT = ApiRefusal(-4104, "Invalid contract type")
TOO_OLD = ApiRefusal(-4166, "Search window is restricted to recent 2 days only.")
UNKNOWN_PATH = ApiRefusal(-5000, "Path {}, Method {} is invalid", 404)  # futures
RESTRICTED = ApiRefusal(
    0,
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this "
    "message in error.",
    451,
)


def bad_pair(market: Market) -> ApiRefusal:
    """Refuse an unknown pair: the code differs between the two futures markets."""
    return ApiRefusal(-4144, "Invalid pair") if market == "usdm" else ApiRefusal(-4087, "Invalid pair.")


def too_many(family: Family, client: str, limit: int, span: str = "minute") -> ApiRefusal:
    """Refuse with 429: over the weight limit of a minute, or over a limit of requests in a longer span."""
    if family == "spot":
        text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        text += "Please use WebSocket Streams for live updates to avoid polling the API."
    else:
        text = f"Too many requests; current limit of IP({client}) is {limit} requests per {span}. "
        text += "Please use the websocket for live updates to avoid polling the API."
    return ApiRefusal(-1003, text, 429)


def banned(family: Family, client: str, until_ms: int) -> ApiRefusal:
    """Refuse with 418: the address is banned until a moment."""
    if family == "spot":
        text = f"Way too much request weight used; IP banned until {until_ms}. "
        text += "Please use WebSocket Streams for live updates to avoid bans."
    else:
        text = f"Way too many requests; IP({client}) banned until {until_ms}. "
        text += "Please use the websocket for live updates to avoid bans."
    return ApiRefusal(-1003, text, 418)
