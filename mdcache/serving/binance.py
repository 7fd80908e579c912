"""The Binance-compatible paths.

A hit is a look into `Readies`, a check that the answer stands, and two messages. Everything else is parsed,
answered by `cache/` and, the second time, remembered.
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mdcache.cache.answers import Answer, Caller, How
from mdcache.candles.freshness import Wishes
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, CannotAsk, DeadlinePassed, LaneFull, MdcacheError, Refusal
from mdcache.exchange import refusals
from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.listing import INFO_ENDPOINTS, Selection, select
from mdcache.exchange.markets import KlinePath, Market
from mdcache.exchange.parameters import parameters, wants_micros
from mdcache.exchange.questions import parse
from mdcache.exchange.snapshots import forwarded, parse_snapshot
from mdcache.serving.asked import Asked
from mdcache.serving.headers import CONTENT_TYPE
from mdcache.serving.ports import CandleSource, Clocks, InfoSource, Recorder, SnapshotSource, Weights
from mdcache.serving.ready import Readies
from mdcache.serving.replies import Reply, plain, refusal_of
from mdcache.serving.shown import Shown

MOST_WAITING = 4_096  # questions in progress; each holds a task, a socket and its request
_BUSY_S = 1.0
_LARGE = 1 << 18  # a body this long takes over half a millisecond to compress: not on the loop
_NO_WISHES = Wishes()
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_RESULT = {How.MISS: "miss", How.PARTIAL: "partial", How.REFRESHED: "miss", How.REQUESTED: "miss", How.HIT: "hit"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Who answers what."""

    candles: CandleSource
    snapshots: SnapshotSource
    info: InfoSource


class Binance:
    """Answers what Binance would answer."""

    def __init__(
        self,
        sources: Sources,
        readies: Readies,
        clocks: Clocks,
        weights: Weights,
        clock: Clock,
        recorder: Recorder,
        deadline_s: float,
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._sources = sources
        self._readies = readies
        self._clocks = clocks
        self._weights = weights
        self._clock = clock
        self._recorder = recorder
        self._deadline_s = deadline_s
        self._most_waiting = most_waiting
        self._used: dict[Market, tuple[int, int | None]] = dict.fromkeys(Market, (-1, None))
        self.waiting = 0

    def again(self, asked: Asked, began_s: float) -> tuple[Shown, Instant] | None:
        """The ready answer to `asked`, if one stands and is as fresh as it wants."""
        return self._readies.find(asked.key, asked.wishes, began_s)

    def used_weight(self, market: Market, now: Instant) -> int | None:
        """For `X-MBX-USED-WEIGHT-1M`: what Binance had reported by this tenth of a second of its minute."""
        tenth = now.ms // 100  # minutes end where tenths do: it is never the last minute's
        known = self._used[market]
        if known[0] != tenth:
            known = self._used[market] = (tenth, self._weights.used_weight_header(market))
        return known[1]

    def record_hit(self, asked: Asked, shown: Shown, now: Instant, began_s: float) -> None:
        """Count a ready answer that was sent."""
        self._record(asked, "hit", began_s, _tail_age_s(shown.answer, now))

    def ready(self, asked: Asked, began_s: float) -> Reply | None:
        """The reply to `asked` if it needs nothing but sending."""
        found = self.again(asked, began_s)
        if found is None:
            return None
        shown, now = found
        reply = self._reply(asked, shown, now, again=True)
        self.record_hit(asked, shown, now, began_s)
        return reply

    async def read(self, asked: Asked, began_s: float) -> Reply:
        """The reply to `asked`, whatever it takes; of `errors.py`'s tree nothing is raised."""
        try:
            shown, now = await self._ask(asked)
        except MdcacheError as error:
            self._record(asked, fault(error), began_s, None)
            return refusal_of(error, *self._usage(asked.market))
        reply = self._reply(asked, shown, now, again=False)
        self._readies.offer(asked.key, shown, now)
        self._record(asked, _result(shown.answer), began_s, _tail_age_s(shown.answer, now))
        return reply

    async def time(self, market: Market, query: bytes, unit: str | None) -> Reply:
        """`time` from the exchange-synchronised clock; raises what `errors.py` tells."""
        micros = market is Market.SPOT and _plain(query) and wants_micros(unit)
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._clocks.ensure(market)
        except TimeoutError as error:
            raise DeadlinePassed(_BUSY_S, "no answer from Binance in time") from error
        return self._local(market, b'{"serverTime":%d}' % (self._clocks.now(market).ms * (1000 if micros else 1)))

    def ping(self, market: Market, query: bytes) -> Reply:
        """`ping`: this daemon answers; raises Binance's refusal of parameters."""
        if market is Market.SPOT:
            _plain(query)
        return self._local(market, b"{}")

    async def _ask(self, asked: Asked) -> tuple[Shown, Instant]:
        query, unit = readable(asked.key[1]), asked.key[2].decode("latin-1")
        if self.waiting >= self._most_waiting:
            raise LaneFull(_BUSY_S, "too many questions are waiting")
        self.waiting += 1
        try:
            market, answer = await self._answer(asked, query, unit or None)
        finally:
            self.waiting -= 1
        shown = Shown(answer, market)
        if asked.gzip and len(answer.body) > _LARGE:
            await asyncio.to_thread(shown.compress)
        return shown, self._clocks.now(market)

    async def _answer(self, asked: Asked, query: str, unit: str | None) -> tuple[Market, Answer]:
        rule, sources = asked.rule, self._sources
        wishes, caller = asked.wishes or _NO_WISHES, Caller(asked.client, asked.lane)
        if isinstance(rule, KlinePath):
            question = parse(rule, query, {"x-mbx-time-unit": unit} if unit else {})
            return rule.market, await sources.candles.answer(question, wishes, caller)
        if rule in INFO_ENDPOINTS:
            selection = select(query, unit) if rule.market is Market.SPOT else Selection(sets=False)
            if not selection.beyond:
                return rule.market, await sources.info.answer(rule.market, selection, wishes, caller)
        known = rule.path in ENDPOINTS
        snapshot = parse_snapshot(rule.path, query, unit) if known else forwarded(rule, query)
        return snapshot.market, await sources.snapshots.answer(snapshot, wishes, caller)

    def _reply(self, asked: Asked, shown: Shown, now: Instant, *, again: bool) -> Reply:
        form = shown.form(asked)
        used = self.used_weight(asked.market, now) if again else self._weights.used_weight_header(asked.market)
        pairs, _ = shown.fields(form, now, used, again=again)
        as_of = (b"x-mdcache-as-of", b"%d" % shown.as_of_ms(now))
        return Reply(304 if form.unchanged else 200, (as_of, *pairs), shown.body(form))

    def _local(self, market: Market, body: bytes) -> Reply:
        return plain(200, body, *self._usage(market), content_type=CONTENT_TYPE[market])

    def _usage(self, market: Market) -> tuple[tuple[bytes, bytes], ...]:
        used = self._weights.used_weight_header(market)
        return () if used is None else ((b"x-mbx-used-weight-1m", b"%d" % used),)

    def _record(self, asked: Asked, result: str, began_s: float, age_s: float | None) -> None:
        seconds = self._clock.now() - began_s
        self._recorder.record(asked.market.value, asked.rule.tail, result, asked.client, seconds, age_s)


def readable(query: bytes) -> str:
    """The raw query as text, if every byte of it can be meant; else the refusal Binance gives for such bytes."""
    raw = unquote_to_bytes(query)
    try:
        raw.decode()
        text = query.decode()
    except UnicodeDecodeError:
        raise _illegal() from None
    if _BAD_PERCENT.search(query) or _CONTROL.search(raw):
        raise _illegal()
    return text


def _plain(query: bytes) -> bool:
    """True: nothing was asked along; spot refuses what it does not read."""
    sent = parameters(readable(query), None)
    if sent:
        raise refusals.unread(0, len(sent))
    return True


def fault(error: MdcacheError) -> str:
    """Whose fault it is, as a metrics label: `error` where Binance or the gate is in the way, else `refused`."""
    return "error" if isinstance(error, CannotAsk | AskFailed) else "refused"


def _illegal() -> Refusal:
    return Refusal(400, -1100, "Illegal characters found in a parameter.")  # errors.md, the form without names


def _result(answer: Answer) -> str:
    if answer.marked:
        return "stale"
    return "collapsed" if answer.collapsed else _RESULT[answer.how]


def _tail_age_s(answer: Answer, now: Instant) -> float | None:
    return None if answer.settled else max(0, now.ms - answer.as_of_ms) / 1000
