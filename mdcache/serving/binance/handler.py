"""Handle requests without a ready answer: parse, ask the cache, and keep the answer for the next time."""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mdcache.cache.answers import Answer, CacheStatus
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Instant
from mdcache.errors import DeadlinePassed, LaneFull, MdcacheError, Refusal, UpstreamFailed, UpstreamUnavailable
from mdcache.exchange import refusals
from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS, SymbolSelection, parse_selection
from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KlineEndpoint, Market
from mdcache.exchange.parameters import read_parameters, wants_micros
from mdcache.exchange.snapshots import parse_forwarded, parse_snapshot
from mdcache.results import Result
from mdcache.serving.binance.headers import CONTENT_TYPE
from mdcache.serving.binance.representation import Representation
from mdcache.serving.binance.request import ClientRequest
from mdcache.serving.hits import Hits
from mdcache.serving.ports import CandleSource, ExchangeInfoSource, Recorder, SnapshotSource
from mdcache.serving.responses import HttpResponse, answer_response, failure_response, uncached_response
from mdcache.upstream.governor import Governor

MAX_WAITING = 4_096  # questions in progress; each holds a task, a socket and its request
_BUSY_RETRY_S = 1.0
_NO_DIRECTIVES = FreshnessDirectives()
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_RESULTS = {
    CacheStatus.MISS: Result.MISS,
    CacheStatus.PARTIAL: Result.PARTIAL,
    CacheStatus.REFRESHED: Result.MISS,
    CacheStatus.REQUESTED: Result.MISS,
    CacheStatus.HIT: Result.HIT,
}


@dataclass(frozen=True, slots=True)
class AnswerSources:
    """The parts of the cache that answer."""

    candles: CandleSource
    snapshots: SnapshotSource
    exchange_info: ExchangeInfoSource


class BinanceHandler:
    """Answers requests as Binance would."""

    def __init__(
        self,
        sources: AnswerSources,
        hits: Hits,
        governor: Governor,
        recorder: Recorder,
        deadline_s: float,
        *,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._sources = sources
        self.hits = hits
        self._clocks = governor.clocks
        self._recorder = recorder
        self._deadline_s = deadline_s
        self._max_waiting = max_waiting
        self.waiting = 0

    async def respond(self, request: ClientRequest, began_s: float) -> HttpResponse:
        """Answer `request` from the cache or from Binance; an error of `errors.py` becomes the response.

        Args:
            request: The client's request; no ready answer is fresh enough for it.
            began_s: When it arrived, by the clock's `now()`.
        """
        try:
            representation, now = await self._fetch(request)
        except MdcacheError as error:
            self._record(request, error_result(error), began_s, None)
            return failure_response(error, *self._used_weight_fields(request.market))
        variant = representation.variant(request)
        used = self.hits.used_weights.newest(request.market)
        fields, _ = representation.fields(variant, now, used, from_memory=False)
        response = answer_response(
            representation.as_of_ms(now), fields, representation.body(variant), not_modified=variant.not_modified
        )
        self.hits.remember(request, representation, now)
        self._record(request, _result(representation.answer), began_s, representation.tail_age_s(now))
        return response

    async def time(self, market: Market, query: bytes, unit: str | None) -> HttpResponse:
        """Answer `time` from the exchange-synchronised clock; raise an error of `errors.py`."""
        micros = market is Market.SPOT and _refuse_parameters(query) and wants_micros(unit)
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._clocks.ensure(market)
        except TimeoutError as error:
            raise DeadlinePassed(_BUSY_RETRY_S, "no answer from Binance in time") from error
        return self._local_response(
            market, b'{"serverTime":%d}' % (self._clocks.now(market).ms * (1000 if micros else 1))
        )

    def ping(self, market: Market, query: bytes) -> HttpResponse:
        """Answer `ping` here; raise Binance's refusal of parameters."""
        if market is Market.SPOT:
            _refuse_parameters(query)
        return self._local_response(market, b"{}")

    async def _fetch(self, request: ClientRequest) -> tuple[Representation, Instant]:
        query, unit = decode_query(request.key[1]), request.key[2].decode("latin-1")
        if self.waiting >= self._max_waiting:
            raise LaneFull(_BUSY_RETRY_S, "too many questions are waiting")
        self.waiting += 1
        try:
            market, answer = await self._dispatch(request, query, unit or None)
        finally:
            self.waiting -= 1
        representation = Representation(answer, market)
        if representation.takes_long(request):
            await asyncio.to_thread(representation.compress)
        return representation, self._clocks.now(market)

    async def _dispatch(self, request: ClientRequest, query: str, unit: str | None) -> tuple[Market, Answer]:
        rule, sources = request.rule, self._sources
        directives, caller = request.directives or _NO_DIRECTIVES, request.caller
        if isinstance(rule, KlineEndpoint):
            question = parse_klines(rule, query, {"x-mbx-time-unit": unit} if unit else {})
            return rule.market, await sources.candles.answer(question, directives, caller)
        if rule in EXCHANGE_INFO_ENDPOINTS:
            selection = (
                parse_selection(query, unit) if rule.market is Market.SPOT else SymbolSelection(permission_sets=False)
            )
            if not selection.exceeds_default:
                return rule.market, await sources.exchange_info.answer(rule.market, selection, directives, caller)
        known = rule.path in ENDPOINTS
        snapshot = parse_snapshot(rule.path, query, unit) if known else parse_forwarded(rule, query)
        return snapshot.market, await sources.snapshots.answer(snapshot, directives, caller)

    def _local_response(self, market: Market, body: bytes) -> HttpResponse:
        return uncached_response(200, body, *self._used_weight_fields(market), content_type=CONTENT_TYPE[market])

    def _used_weight_fields(self, market: Market) -> tuple[tuple[bytes, bytes], ...]:
        used = self.hits.used_weights.newest(market)
        return () if used is None else ((b"x-mbx-used-weight-1m", b"%d" % used),)

    def _record(self, request: ClientRequest, result: Result, began_s: float, age_s: float | None) -> None:
        self._recorder.record(request.market.value, request.rule.short_path, result, request.client, began_s, age_s)


def decode_query(query: bytes) -> str:
    """Return the raw query as text; raise Binance's refusal of invalid bytes."""
    raw = unquote_to_bytes(query)
    try:
        raw.decode()
        text = query.decode()
    except UnicodeDecodeError:
        raise _illegal_characters() from None
    if _BAD_PERCENT.search(query) or _CONTROL.search(raw):
        raise _illegal_characters()
    return text


def _refuse_parameters(query: bytes) -> bool:
    """Return True if there is no parameter; otherwise raise spot's refusal."""
    sent = read_parameters(decode_query(query), None)
    if sent:
        raise refusals.unknown_parameters(0, len(sent))
    return True


def error_result(error: MdcacheError) -> Result:
    """Return `ERROR` if Binance failed or can't be asked, else `REFUSED`."""
    return Result.ERROR if isinstance(error, UpstreamUnavailable | UpstreamFailed) else Result.REFUSED


def _illegal_characters() -> Refusal:
    return Refusal(400, -1100, "Illegal characters found in a parameter.")  # errors.md, the form without names


def _result(answer: Answer) -> Result:
    if answer.stale:
        return Result.STALE
    return Result.COLLAPSED if answer.collapsed else _RESULTS[answer.cache_status]
