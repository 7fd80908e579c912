"""`/udf/…`: TradingView's protocol for data feeds, so that a chart opens on what the daemon serves.

Numbers become floats here, because the protocol has no others; times are seconds.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock
from mdcache.errors import MdcacheError, Refusal
from mdcache.exchange import refusals
from mdcache.exchange.exchange_info import SymbolSelection
from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name
from mdcache.exchange.symbols import MarketSymbols
from mdcache.results import Result
from mdcache.serving.binance.handler import error_result
from mdcache.serving.native.answer_fields import summary
from mdcache.serving.native.candles_query import Span
from mdcache.serving.native.found_rows import FoundRows
from mdcache.serving.native.messages import Answer, NativeReply, NativeRequest, Streamed
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.ports import ExchangeInfoSource
from mdcache.serving.responses import JSON, failure_response, uncached_response
from mdcache.upstream.exchange_clock import ExchangeClocks

INTERVALS_OF = {
    "1S": "1s", "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h",
    "360": "6h", "480": "8h", "720": "12h", "1D": "1d", "3D": "3d", "1W": "1w", "1M": "1M",
}  # fmt: skip
_ALIASES = {"S": "1S", "D": "1D", "W": "1W", "M": "1M"}
_DEFAULT_ROWS, _MAX_ROWS = 2_000, 100_000  # of one answer; a chart asks for a few hundred
_MAX_FOUND, _DEFAULT_FOUND = 1_000, 30
_SECONDS = re.compile(r"-?[0-9]{1,11}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_CELLS = 6  # of a row: those that a chart shows
_JOINED = 20  # pieces of a column, which are sent, and compressed, at once


class UdfApp:
    """Answers `/udf/…`. `symbols`: those known of a market."""

    def __init__(
        self,
        reads: RowReads,
        clock: Clock,
        clocks: ExchangeClocks,
        symbols: Callable[[Market], MarketSymbols],
        exchange_info: ExchangeInfoSource,
    ) -> None:
        self._reads = reads
        self._exchange_info = exchange_info
        self._clock = clock
        self._turns = asyncio.Lock()
        self._clocks = clocks
        self._symbols = symbols

    def answers(self) -> dict[str, Answer]:
        """Return what answers each path."""
        handlers = {
            "config": self._config,
            "symbols": self._symbol,
            "search": self._search,
            "history": self._history,
            "time": self._time,
        }
        return {f"/udf/{name}": _guarded(handler) for name, handler in handlers.items()}

    async def _config(self, _: NativeRequest) -> NativeReply:
        exchanges = [
            {"value": market.value, "name": market.value, "desc": f"Binance {market.value}"} for market in Market
        ]
        return self._reply(
            {
                "supported_resolutions": list(INTERVALS_OF),
                "exchanges": exchanges,
                "symbols_types": [{"name": "all", "value": ""}],
                "supports_search": True,
                "supports_group_request": False,
                "supports_marks": False,
                "supports_timescale_marks": False,
                "supports_time": True,
            }
        )

    async def _time(self, _: NativeRequest) -> NativeReply:
        body = b"%d" % (self._clocks.now(Market.SPOT).ms // 1000)
        return NativeReply(uncached_response(200, body, content_type=b"text/plain"), Result.HIT)

    async def _search(self, request: NativeRequest) -> NativeReply:
        sent = _read(request, (), ("query", "type", "exchange", "limit"))
        wanted, limit = sent.get("query", "").upper(), sent.get("limit", str(_DEFAULT_FOUND))
        if not _COUNT.fullmatch(limit):
            raise Refusal(400, -1130, f"'limit' must be a whole number, at most {_MAX_FOUND}.")
        client = request.client
        markets = [market for market in Market if sent.get("exchange", "") in {"", market.value}]
        for market in markets:
            if not self._symbols(market).names:  # nobody has asked for anything of it yet
                whole = SymbolSelection(permission_sets=False)
                directives, caller = client.directives or FreshnessDirectives(), client.caller
                await self._exchange_info.answer(market, whole, directives, caller)
        found = [
            (not name.startswith(wanted), name, market)
            for market in markets
            for name in self._symbols(market).trading
            if wanted in name
        ]
        return self._reply(
            [
                {
                    "symbol": name,
                    "ticker": f"{market.value}:{name}",
                    "full_name": f"{market.value}:{name}",
                    "description": f"{name} ({market.value})",
                    "exchange": market.value,
                    "type": "crypto",
                }
                for _, name, market in sorted(found)[: min(int(limit), _MAX_FOUND)]
            ]
        )

    async def _symbol(self, request: NativeRequest) -> NativeReply:
        key = _key(_read(request, ("symbol",), ())["symbol"], "1D")
        found = await self._find(request, key, Span(limit=10))  # also tells whether there is such a symbol
        rows = _rows(b",".join(self._reads.printed(found)))
        printed = (price.rstrip("0").partition(".")[2] for row in rows for price in row[1:5])
        market, spot = key.market.value, key.market is Market.SPOT
        return self._reply(
            {
                "name": key.subject,
                "ticker": f"{market}:{key.subject}",
                "full_name": f"{market}:{key.subject}",
                "description": f"{key.subject} ({market})",
                "type": "crypto",
                "session": "24x7",
                "timezone": "Etc/UTC",
                "exchange": market,
                "listed_exchange": market,
                "format": "price",
                "minmov": 1,
                "pricescale": 10 ** max(map(len, printed), default=2),
                "has_seconds": spot,
                "seconds_multipliers": ["1"] if spot else [],
                "has_intraday": True,
                "has_daily": True,
                "has_weekly_and_monthly": True,
                "supported_resolutions": [name for name in INTERVALS_OF if spot or INTERVALS_OF[name] not in SPOT_ONLY],
                "data_status": "streaming",
            }
        )

    async def _history(self, request: NativeRequest) -> NativeReply:
        sent = _read(request, ("symbol", "resolution", "to"), ("from", "countback"))
        key = _key(sent["symbol"], sent["resolution"])
        from_ms, to_ms = _seconds(sent, "from"), _seconds(sent, "to")
        counted = sent.get("countback", "0")
        if not _COUNT.fullmatch(counted):
            raise Refusal(400, -1130, "'countback' must be a whole number.")
        limit, now = int(counted) or (0 if "from" in sent else _DEFAULT_ROWS), self._clocks.now(key.market)
        span, rows = Span(limit=limit, end_ms=max(0, to_ms - 1)), limit
        if not limit:
            if to_ms <= from_ms:
                raise Refusal(400, -1130, "'to' must be later than 'from'.")
            span = Span(start_ms=max(0, from_ms), end_ms=max(0, to_ms - 1))
            rows = INTERVALS[key.interval].count(max(0, from_ms), min(to_ms - 1, now.late_ms))
        if rows > _MAX_ROWS:
            raise Refusal(400, -1130, f"That may be {rows} candles: ask for at most {_MAX_ROWS} at once.")
        found = await self._find(request, key, span)
        columns = list(zip(*[each async for each in self._columns(found)], strict=True))
        if columns:
            pieces: list[bytes] = []
            for name, column in zip(
                (b'{"s":"ok","t":[', *(b'],"%c":[' % name for name in b"ohlcv")), columns, strict=True
            ):
                joined = (b",".join(column[at : at + _JOINED]) for at in range(0, len(column), _JOINED))
                pieces += (name, next(joined), *(b"," + each for each in joined))
            pieces.append(b"]}")
            fields, result, age_s = summary([found], now.ms)
            body = Streamed(((b"content-type", JSON), *fields), pieces, self._clock, self._turns, request.client.gzip)
            return NativeReply(body, result, age_s)
        earlier: dict[str, object] = {}
        if not limit:
            before = await self._find(request, key, Span(limit=1, end_ms=max(0, from_ms - 1)))
            if rows_before := _rows(b",".join(self._reads.printed(before))):
                earlier = {"nextTime": rows_before[0][0] // 1000}
        return self._reply({"s": "no_data", **earlier}, found)

    async def _find(self, request: NativeRequest, key: SeriesKey, span: Span) -> FoundRows:
        client = request.client
        return await self._reads.find(key, span, client.directives, client.caller)

    async def _columns(self, found: FoundRows) -> AsyncIterator[list[bytes]]:
        """Print the columns that a chart shows, without brackets, some rows at a time."""
        for piece in self._reads.printed(found):
            times, *others = zip(*(row[:_CELLS] for row in _rows(piece)), strict=True)
            numbers = [[time_ms // 1000 for time_ms in times], *(list(map(float, each)) for each in others)]
            yield [msgspec.json.encode(each)[1:-1] for each in numbers]
            await asyncio.sleep(0)

    def _reply(self, shown: object, found: FoundRows | None = None) -> NativeReply:
        body = msgspec.json.encode(shown)
        if found is None:
            return NativeReply(uncached_response(200, body), Result.HIT)
        fields, result, age_s = summary([found], self._clocks.now(found.key.market).ms)
        told = (field for field in fields if field[0] != b"cache-control")
        return NativeReply(uncached_response(200, body, *told), result, age_s)


def _guarded(handler: Answer) -> Answer:
    """Add to errors what the protocol calls them, which charts show to their users."""

    async def answer(request: NativeRequest) -> NativeReply:
        try:
            return await handler(request)
        except MdcacheError as error:
            failed = failure_response(error)
            said = msgspec.json.decode(failed.body, type=dict[str, object])
            body = msgspec.json.encode({"s": "error", "errmsg": said["msg"], **said})
            kept = (field for field in failed.fields if field[0] in {b"retry-after", b"proxy-status"})
            return NativeReply(uncached_response(failed.status, body, *kept), error_result(error))

    return answer


def _rows(printed: bytes) -> list[list[Any]]:
    rows: list[list[Any]] = msgspec.json.decode(b"[%b]" % printed)
    return rows


def _read(request: NativeRequest, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters; others are ignored, since charts add their own. Empty ones count as not sent."""
    pairs = (pair for pair in request.query.split("&") if pair and not pair.endswith("="))
    sent = read_parameters("&".join(pairs), {*required, *optional})
    for name in required:
        if name not in sent:
            raise refusals.missing(name)
    return sent


def _key(symbol: str, resolution: str) -> SeriesKey:
    """Return the series of a symbol, written `market:name`; without a market it is spot's."""
    head, colon, tail = symbol.partition(":")
    if colon and head.lower() not in set(Market):
        raise Refusal(400, -1130, "'symbol' must be market:name, where the market is spot, usdm or coinm.")
    market = Market(head.lower()) if colon else Market.SPOT
    interval = INTERVALS_OF.get(_ALIASES.get(resolution, resolution))
    if interval is None or (interval in SPOT_ONLY and market is not Market.SPOT):
        raise Refusal(400, -1120, f"'resolution' must be one of {', '.join(INTERVALS_OF)}; 1S on spot only.")
    name = symbol_name(tail if colon else head, "symbol", spot=market is Market.SPOT)
    return SeriesKey(market, "klines", name, "", interval)


def _seconds(sent: Mapping[str, str], name: str) -> int:
    value = sent.get(name, "0")
    if not _SECONDS.fullmatch(value):
        raise Refusal(400, -1130, f"'{name}' must be whole seconds since 1970.")
    return int(value) * 1000
