"""Calls: what is sent to mdcache, and how its reply is read, without any I/O; both clients send the same."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from mdcache.client.candles import Candle, Candles, Price, Series
from mdcache.client.errors import ClientError, Refused, StaleData, Unavailable

T = TypeVar("T")
_DRIFT = 2e-4  # of this machine's clock against the exchange's, at most
_ANY_AGE_S = 86_400
_SERVER_ERROR = 500
_NO_CONTENT = 204
_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "M": 31 * 86_400_000}
_KLINES = {"spot": "/api/v3/klines", "usdm": "/fapi/v1/klines", "coinm": "/dapi/v1/klines"}


class ExchangeTime:
    """An upper bound of the exchange's time now, from the times in replies: no clock need be right."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self._ahead_s = math.inf  # of `now_s`
        self._noted_s = 0.0

    def note(self, sent_s: float, exchange_ms: int) -> None:
        """Note what a reply to a request that was sent at `sent_s` says: it can't have been that time before.

        By now it is at least that time. If earlier replies say otherwise, this machine's clock stood still meanwhile.
        """
        now_s, said_s = self.now_s(), exchange_ms / 1000
        known_s = self._ahead_s + (now_s - self._noted_s) * _DRIFT
        self._ahead_s = min(known_s, said_s - sent_s) if known_s >= said_s - now_s else said_s - sent_s
        self._noted_s = now_s

    def age_s(self, as_of_ms: int) -> float:
        """Return how old data with this as-of may be by now."""
        return max(0.0, self.now_s() + self._ahead_s - as_of_ms / 1000)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply. `time`: with what it says of the exchange's time noted."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    time: ExchangeTime


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A question, and how its reply is read."""

    path: str
    params: dict[str, str]
    read: Callable[[Reply], T]
    headers: dict[str, str] = field(default_factory=dict)


def candles(  # noqa: PLR0913 - the parameters of the path
    market: str,
    symbols: Sequence[str],
    intervals: Sequence[str],
    *,
    limit: int | None = None,
    start: int | str | None = None,
    end: int | str | None = None,
    closed: bool = False,
    max_age_s: float | None = None,
    partial: bool = False,
    since: str = "",
    wait_s: float = 0.0,
) -> Call[Candles]:
    """Ask for the candles of many series.

    Args:
        market: `spot`, `usdm` or `coinm`.
        symbols: Their names.
        intervals: As Binance calls them.
        limit: The newest rows of each series; 500 if neither this nor `start` is given.
        start: Rows that open from here on, in milliseconds or RFC 3339.
        end: Rows that open until here, with `start` or `limit`.
        closed: Closed candles only.
        max_age_s: The greatest age of any series. Binance is asked first where it can be.
        partial: Return what there is; the others' errors are in `Candles.errors`.
        since: `Candles.token` of the last answer: only series that changed since.
        wait_s: With `since`: wait until one has, at most so long.

    Returns:
        The candles; none if nothing changed since.

    Raises:
        StaleData: A series is older than `max_age_s`.
        Unavailable: A series can't be answered now.
        Refused: The question is wrong.
    """
    said = {"limit": limit, "start": start, "end": end, "since": since or None, "wait": wait_s or None}
    params = {"market": market, "symbols": ",".join(symbols), "intervals": ",".join(intervals)}
    params |= {name: str(value) for name, value in said.items() if value is not None}
    params |= {"closed": "true"} if closed else {}

    def read(reply: Reply) -> Candles:
        if reply.status == _NO_CONTENT:
            _check_age(reply, int(reply.headers["x-mdcache-as-of"]), max_age_s)
            return Candles(since, (), {})
        answer = _answer(reply)
        found = [_series(each) for each in answer["series"] if "error" not in each]
        errors = {
            (each["symbol"], each["interval"]): _error(each["error"]) for each in answer["series"] if "error" in each
        }
        for error in () if partial else errors.values():
            raise error
        if found:
            _check_age(reply, int(reply.headers["x-mdcache-as-of"]), max_age_s)  # also of those that did not change
        return Candles(answer["token"], tuple(found), errors)

    return Call("/v1/candles", params, read, _directives(max_age_s))


def price_at(market: str, symbol: str, at: int | str) -> Call[Price]:
    """Ask what the price was at a moment.

    Args:
        market: `spot`, `usdm` or `coinm`.
        symbol: Its name.
        at: Milliseconds, or RFC 3339.

    Returns:
        The price, with the candle that it comes from.

    Raises:
        Unavailable: It can't be answered now.
        Refused: There was no trade in any candle at that moment, or the question is wrong.
    """

    def read(reply: Reply) -> Price:
        answer = _answer(reply)
        named = (answer["market"], answer["symbol"], answer["interval"])
        return Price(answer["price"], Candle(*named, *answer["row"]))

    return Call("/v1/price", {"market": market, "symbol": symbol, "at": str(at)}, read)


def fetch_ohlcv(
    symbol: str, timeframe: str = "1m", since: int | None = None, limit: int = 500
) -> Call[list[list[float]]]:
    """Ask for candles in the form of ccxt's function of this name.

    Args:
        symbol: As ccxt writes it: `BTC/USDT` is spot, `BTC/USDT:USDT` USD-M, `BTC/USD:BTC` COIN-M; others are spot.
        timeframe: The interval.
        since: Milliseconds: the first rows from here on, else the newest.
        limit: How many rows; with `since` at most as many as Binance sends at once.

    Returns:
        Lists of open time, open, high, low, close and volume, as numbers.

    Raises:
        Unavailable: They can't be answered now.
        Refused: The question is wrong.
    """
    name, _, settled = symbol.partition(":")
    base, _, quote = name.partition("/")
    market = "spot" if not settled else "coinm" if settled == base else "usdm"
    native = f"{base}{quote}_PERP" if market == "coinm" else base + quote
    span: dict[str, Any] = {"limit": limit}
    if since is not None and market == "coinm" and timeframe[:-1].isdecimal():  # whose own form counts from the end
        length_ms = int(timeframe[:-1]) * _MS.get(timeframe[-1], 1)
        span = {"start": since, "end": since + limit * length_ms - 1}
    call = candles(market, [native], [timeframe], **span)

    def read(reply: Reply) -> list[list[float]]:
        return [[row.open_time, *map(float, row[4:9])] for row in call.read(reply).rows[:limit]]

    def read_from(reply: Reply) -> list[list[float]]:
        rows: Any = _answer(reply)
        return [[row[0], *map(float, row[1:6])] for row in rows]

    if since is None or market == "coinm":
        return Call(call.path, call.params, read)
    # Binance's own form, which looks for the first rows beyond holes, and before the listing
    params = {"symbol": native, "interval": timeframe, "startTime": str(since), "limit": str(limit)}
    return Call(_KLINES[market], params, read_from)


def read_error(reply: Reply) -> ClientError:
    """Return what the body of an error says."""
    try:
        found: Any = json.loads(reply.body)
        error = {"code": int(found["code"]), "msg": str(found["msg"])}
    except (ValueError, KeyError, TypeError):  # of a proxy between
        error = {"code": 0, "msg": f"status {reply.status}"}
    if reply.status >= _SERVER_ERROR:
        error["retry_after"] = reply.headers.get("retry-after", "1")
    return _error(error)


def _answer(reply: Reply) -> dict[str, Any]:
    if reply.status != HTTPStatus.OK:
        raise read_error(reply)
    found: dict[str, Any] = json.loads(reply.body)
    return found


def _error(error: Mapping[str, Any]) -> ClientError:
    text = f"{error['msg']} ({error['code']})"
    retry_after_s = error.get("retry_after", 1.0 if error["code"] in {-1003, -1006, -1007, -1008} else None)
    return Refused(text, error["code"]) if retry_after_s is None else Unavailable(text, float(retry_after_s))


def _series(found: Mapping[str, Any]) -> Series:
    named = (found["market"], found["symbol"], found["interval"])
    return Series(
        *named, found["as_of"], found["stale"], found["etag"], [Candle(*named, *row) for row in found["rows"]]
    )


def _directives(max_age_s: float | None) -> dict[str, str]:
    """Ask for fresh data first, and for the old data where there is none: its age says more than a refusal."""
    return {} if max_age_s is None else {"cache-control": f"max-age={int(max_age_s)}, max-stale={_ANY_AGE_S}"}


def _check_age(reply: Reply, as_of_ms: int, max_age_s: float | None) -> None:
    if max_age_s is not None and (age_s := reply.time.age_s(as_of_ms)) > max_age_s:
        raise StaleData(age_s, max_age_s)
