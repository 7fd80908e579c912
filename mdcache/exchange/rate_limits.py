"""Parse Binance's limits and usage: from `exchangeInfo`, reply headers, and the bodies of refusals.

Parsers and tables only; `upstream/` decides what follows from them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from mdcache.exchange.markets import Family, Market

INITIAL_LIMIT = 1_200  # weight per minute before exchangeInfo was read: the lowest that any host states
# of a market whose exchangeInfo states none: docs/binance.md#rate-limits (fapi and dapi share theirs)
DEFAULT_LIMIT = {Family.SPOT: 6_000, Family.FUTURES: 2_400}


@dataclass(frozen=True, slots=True)
class RequestBucket:
    """A limit on the number of requests, in addition to weight: `requests` in each `window_s`."""

    name: str
    requests: int
    window_s: int


FUNDING = RequestBucket("funding", 500, 300)  # docs/binance.md#request-limits: 500/5min/IP, both paths together
FUTURES_DATA = RequestBucket("futures-data", 1_000, 300)  # docs/binance.md#request-limits: 1000/5min/IP

REQUEST_BUCKETS = {
    "/fapi/v1/fundingRate": FUNDING,
    "/fapi/v1/fundingInfo": FUNDING,
}
_FUTURES_DATA_PREFIX = "/futures/data/"

# Routes whose usage header is absent, "-1" or documented as wrong: docs/binance.md#usage-headers.
UNRELIABLE_USAGE_PATHS = frozenset(
    {
        "/fapi/v1/fundingRate",
        "/fapi/v1/fundingInfo",
        "/fapi/v1/ticker/bookTicker",
        "/fapi/v1/trades",
        "/fapi/v2/ticker/price",
        "/sapi/v1/system/status",
    }
)


def request_bucket(path: str) -> RequestBucket | None:
    """Return the bucket that counts calls of `path`; `None` if only their weight counts."""
    return FUTURES_DATA if path.startswith(_FUTURES_DATA_PREFIX) else REQUEST_BUCKETS.get(path)


def usage_is_reliable(path: str) -> bool:
    """Return whether the usage header on replies of `path` can be trusted."""
    return path not in UNRELIABLE_USAGE_PATHS and not path.startswith(_FUTURES_DATA_PREFIX)


def weight_limit(market: Market, rate_limits: object) -> int:
    """Return the weight per minute from decoded `exchangeInfo.rateLimits`; the market's known limit if they have none.

    The tightest of several REQUEST_WEIGHT limits counts: a longer window is spread evenly, a shorter one counts as a
    whole minute's.
    """
    stated = [limit for entry in _entries(rate_limits) if (limit := _per_minute(entry)) is not None]
    return min(stated, default=DEFAULT_LIMIT[market.family])


def _entries(rate_limits: object) -> Iterable[Mapping[str, object]]:
    if not isinstance(rate_limits, list | tuple):
        return ()
    return [entry for entry in rate_limits if isinstance(entry, Mapping)]


_MINUTES = {"SECOND": 0, "MINUTE": 1, "HOUR": 60, "DAY": 1_440}


def _per_minute(entry: Mapping[str, object]) -> int | None:
    interval, number, limit = entry.get("interval"), entry.get("intervalNum"), entry.get("limit")
    if entry.get("rateLimitType") != "REQUEST_WEIGHT" or not isinstance(interval, str):
        return None
    if not isinstance(number, int) or not isinstance(limit, int) or number < 1 or limit < 1:
        return None
    minutes = _MINUTES.get(interval)
    if minutes is None:
        return None
    return max(1, limit // max(1, minutes * number))


_USAGE = re.compile(r"x-mbx-used-weight-(\d{1,4})([smhd])", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"\d{1,18}")


def used_weight(headers: Iterable[tuple[str, str]]) -> int | None:
    """Return the weight the whole address used in this minute, from a reply's headers; `None` if they don't say.

    The legacy header without a window is not read: spot sends both, with the same value. "-1" and anything else that is
    not a count is ignored.
    """
    counts = [
        int(value)
        for name, value in headers
        if (window := _USAGE.fullmatch(name)) is not None
        and (int(window[1]), window[2].lower()) == (1, "m")
        and _PLAIN_NUMBER.fullmatch(value.strip())
    ]
    return max(counts, default=None)


def whole_seconds(value: str | None) -> int | None:
    """Return `Retry-After` or `Age` in whole seconds; `None` if absent, a date, signed, or anything else."""
    if value is None or not _PLAIN_NUMBER.fullmatch(value.strip()):
        return None
    return int(value)


_BANNED_UNTIL = re.compile(rb"banned until (\d{10}|\d{13}|\d{16})(?!\d)", re.IGNORECASE)
_OF_A_MILLISECOND = {10: Fraction(1, 1000), 13: Fraction(1), 16: Fraction(1000)}


def banned_until_ms(body: bytes) -> int | None:
    """Return the moment in the text of a ban, such as `IP(1.2.3.4) banned until 1783855317204.`, if there is one.

    Milliseconds are documented; seconds and microseconds are told apart by their number of digits.
    """
    found = _BANNED_UNTIL.search(body)
    return math.ceil(int(found[1]) / _OF_A_MILLISECOND[len(found[1])]) if found else None


_LOCATION = re.compile(rb"restricted location|(?:from|in) your (?:country|region)", re.IGNORECASE)


def refuses_location(body: bytes) -> bool:
    """Return whether a refusal is of the address's country: Binance's own text, or the content network's page."""
    return _LOCATION.search(body) is not None
