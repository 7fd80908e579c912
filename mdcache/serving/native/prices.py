"""`GET /v1/price`: what the price was at a moment, from the shortest candle that shows it (docs/design.md#native)."""

from dataclasses import replace

import msgspec

from mdcache.cache.answers import Caller
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.errors import BodyFault, InvalidBody, Refusal
from mdcache.exchange import refusals
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name
from mdcache.exchange.rows import Row
from mdcache.relay.kept_seconds import KeptSeconds
from mdcache.results import Result
from mdcache.serving.native.answer_fields import summary
from mdcache.serving.native.candles_query import Span, parse_time
from mdcache.serving.native.found_rows import FoundRows
from mdcache.serving.native.messages import NativeReply, NativeRequest
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.stream_query import parse_market
from mdcache.serving.native.tables import json_rows
from mdcache.serving.responses import uncached_response
from mdcache.upstream.exchange_clock import ExchangeClocks

_KNOWN = ("market", "symbol", "at")
_SHORTEST = {Market.SPOT: ("1s", 1_000), Market.USDM: ("1m", 60_000), Market.COINM: ("1m", 60_000)}
_WEEK_MS, _ALL_WEEKS = 604_800_000, 1_000
_SHOWN_WITHIN_MS = 60_000  # after its close Binance shows a candle for good: docs/design.md#settling
_CLOSE = 4  # its place in a row


class PriceApp:
    """Answers `/v1/price`. `seconds`: those of futures, which no read shows."""

    def __init__(self, reads: RowReads, clocks: ExchangeClocks, seconds: KeptSeconds) -> None:
        self._reads = reads
        self._clocks = clocks
        self._seconds = seconds

    async def answer(self, request: NativeRequest) -> NativeReply:
        """Answer a question; raise an error of `errors.py`."""
        key, at_ms = _parse(request.query)
        client = request.client
        directives, caller = client.directives, client.caller
        if at_ms > self._clocks.now(key.market).late_ms:
            raise Refusal(400, -1130, "'at' lies ahead: nobody knows that price.")
        second = self._seconds.find(key.market, key.subject, at_ms)
        if second is not None:
            return self._by_stream(key, second)
        _, length_ms = _SHORTEST[key.market]
        span = Span(start_ms=at_ms - length_ms + 1, end_ms=at_ms)
        found = await self._reads.find(key, span, directives, caller)
        opened_ms = at_ms // length_ms * length_ms
        seen_ms = at_ms if found.stale else opened_ms
        if found.as_of_ms < seen_ms:  # what came before the moment says nothing of it
            wanted = replace(directives or FreshnessDirectives(), min_as_of_ms=seen_ms)
            found = await self._reads.find(key, span, wanted, caller)
        rows = _rows(self._reads, found)
        if not rows and found.as_of_ms < opened_ms + length_ms + _SHOWN_WITHIN_MS:
            raise InvalidBody(BodyFault.LAGGING, f"{key} at {at_ms}")
        if not rows:
            raise await self._explain(key, at_ms, directives, caller)
        row = rows[-1]
        named = {
            "market": key.market,
            "symbol": key.subject,
            "interval": key.interval,
            "price": row[_CLOSE],
            "row": row,
        }
        fields, result, age_s = summary([found], self._clocks.now(key.market).ms)
        reply = uncached_response(
            200, msgspec.json.encode(named), *(field for field in fields if field[0] != b"cache-control")
        )
        return NativeReply(reply, result, age_s)

    def _by_stream(self, key: SeriesKey, second: Row) -> NativeReply:
        row = msgspec.json.decode(json_rows(second.raw, 1, newest_open=False), type=list[msgspec.Raw])
        named = {
            "market": key.market,
            "symbol": key.subject,
            "interval": "1s",
            "price": row[_CLOSE],
            "row": row,
        }
        now_ms = b"%d" % self._clocks.now(key.market).ms  # a closed candle is true for good
        fields = (
            (b"cache-status", b"mdcache; hit; detail=stream"),
            (b"age", b"0"),
            (b"x-mdcache-as-of", now_ms),
            (b"x-mdcache-now", now_ms),
        )
        return NativeReply(uncached_response(200, msgspec.json.encode(named), *fields), Result.HIT, None)

    async def _explain(
        self, key: SeriesKey, at_ms: int, directives: FreshnessDirectives | None, caller: Caller
    ) -> Refusal:
        """Return why there is no candle at a moment."""
        weeks = replace(key, interval="1w")  # of which few reads show all
        found = await self._reads.find(weeks, Span(limit=_ALL_WEEKS), directives, caller)
        rows = _rows(self._reads, found)
        if not rows:
            return Refusal(400, -1130, f"{key.subject} has no candles yet.")
        first_ms = int(bytes(rows[0][0]))
        if at_ms < first_ms + _WEEK_MS:
            text = f"{key.subject} had no price at {at_ms}: it was first traded in the week that began at {first_ms}."
            return Refusal(400, -1130, text)
        return Refusal(404, -1130, f"Binance has no {key.interval} candle of {key.subject} at {at_ms}: it is a hole.")


def _rows(reads: RowReads, found: FoundRows) -> list[list[msgspec.Raw]]:
    return msgspec.json.decode(b"[%b]" % b",".join(reads.printed(found)), type=list[list[msgspec.Raw]])


def _parse(query: str) -> tuple[SeriesKey, int]:
    sent = read_parameters(query, None)
    for name in _KNOWN:
        if name not in sent:
            raise refusals.missing(name)
    if unknown := sent.keys() - set(_KNOWN):
        raise Refusal(400, -1104, f"Unknown parameter '{min(unknown)[:50]}'.")
    market = parse_market(sent)
    symbol = symbol_name(sent["symbol"], "symbol", spot=market is Market.SPOT)
    interval, _ = _SHORTEST[market]
    return SeriesKey(market, "klines", symbol, "", interval), parse_time("at", sent["at"])
