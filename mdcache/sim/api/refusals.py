"""Binance's refusals as values: code, message, status (BINANCE 3.4, 4)."""

import json
from dataclasses import dataclass

from mdcache.sim.config import Family, Market


@dataclass(frozen=True, slots=True)
class ApiRefusal:
    """An error Binance answers with."""

    code: int
    message: str
    status: int = 400

    def body(self) -> bytes:
        """The JSON Binance sends."""
        return json.dumps({"code": self.code, "msg": self.message}, separators=(",", ":"), ensure_ascii=False).encode()


def duplicate() -> ApiRefusal:
    """The same parameter twice."""
    return ApiRefusal(-1101, "Duplicate values for a parameter detected.")


def empty(name: str) -> ApiRefusal:
    """A parameter with nothing after the equals sign."""
    return ApiRefusal(-1105, f"Parameter '{name}' was empty.")


def missing(name: str) -> ApiRefusal:
    """A mandatory parameter that was not sent."""
    return ApiRefusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def missing_both(*names: str) -> ApiRefusal:
    """None of several parameters of which one must be sent."""
    one, other = names
    return ApiRefusal(-1102, f"Param '{one}' or '{other}' must be sent, but both were empty/null!")


def too_many_parameters(expected: int, received: int) -> ApiRefusal:
    """More values in a list than the path takes."""
    return ApiRefusal(-1101, f"Too many parameters; expected '{expected}' and received '{received}'.")


def illegal(name: str, legal: str) -> ApiRefusal:
    """Characters outside the legal range."""
    return ApiRefusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def unread(read: int, sent: int) -> ApiRefusal:
    """Parameters this path does not know (spot)."""
    return ApiRefusal(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def invalid(name: str) -> ApiRefusal:
    """A value out of range."""
    return ApiRefusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def bad_pair(market: Market) -> ApiRefusal:
    """An unknown pair: the two futures markets number this differently."""
    return ApiRefusal(-4144, "Invalid pair") if market == "usdm" else ApiRefusal(-4087, "Invalid pair.")


def too_many(family: Family, client: str, limit: int, span: str = "minute") -> ApiRefusal:
    """429: over the weight limit of a minute, or over a limit of requests in a longer span."""
    if family == "spot":
        text = (
            f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
    else:
        text = (
            f"Too many requests; current limit of IP({client}) is {limit} requests per {span}. "
            "Please use the websocket for live updates to avoid polling the API."
        )
    return ApiRefusal(-1003, text, 429)


def banned(family: Family, client: str, until_ms: int) -> ApiRefusal:
    """418: the address is banned until a moment."""
    if family == "spot":
        text = (
            f"Way too much request weight used; IP banned until {until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
    else:
        text = (
            f"Way too many requests; IP({client}) banned until {until_ms}. "
            "Please use the websocket for live updates to avoid bans."
        )
    return ApiRefusal(-1003, text, 418)


def unknown_path(method: str, path: str) -> ApiRefusal:
    """A futures path that does not exist."""
    return ApiRefusal(-5000, f"Path {path}, Method {method} is invalid", 404)


RESTRICTED = ApiRefusal(
    0,
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this "
    "message in error.",
    451,
)
BAD_SYMBOL = ApiRefusal(-1121, "Invalid symbol.")
BAD_STATUS = ApiRefusal(-1122, "Invalid symbolStatus.")
NOT_BOTH = ApiRefusal(-1128, "Combination of optional parameters invalid.")
START_AFTER_END = ApiRefusal(-1023, "Start time is greater than end time.")
NO_KEY = ApiRefusal(-2014, "API-key format invalid.", 401)
BAD_KEY = ApiRefusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
