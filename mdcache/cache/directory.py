"""Which symbols exist, per market: kept fresh behind the answers, and asked for before any kline is.

An unknown, well-formed name causes one shared refresh if the list is older than `invalid_ttl_s`; a name once
seen stays known.
"""

import asyncio
import copy
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mdcache.cache.solo import Solo
from mdcache.clock import Clock
from mdcache.errors import AskFailed, BrokenBody
from mdcache.events import Events, Failed, SymbolsLearnt
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.questions import Question
from mdcache.exchange.symbols import Symbols, read_symbols
from mdcache.exchange.weights import EXCHANGE_INFO
from mdcache.upstream.governor import Governor, Lane, Reply, Turn, Wire

_ERROR_BELIEVED_S = 5.0
# permission sets are most of spot's list, and nothing here asks for them: rest-api.md, GET /api/v3/exchangeInfo
_QUERY = {Family.SPOT: "showPermissionSets=false", Family.FUTURES: ""}
MAX_BODY_BYTES = 64 << 20  # spot's is 2 to 20 MB, permission sets included


class Bodies(Protocol):
    """Where the last body of each market rests; it never raises for a fault of its own."""

    async def load(self, market: Market) -> tuple[bytes, int] | None:
        """The body, and the exchange's time it was read at (ms); `None` if there is none."""
        ...

    def keep(self, market: Market, body: bytes, as_of_ms: int) -> None:
        """Have this body rest, behind the answers."""
        ...


@dataclass(slots=True)
class _Reading:
    """The governor's `Read` of one `exchangeInfo`."""

    market: Market
    turn: Turn
    before: Symbols
    endpoint: str = "exchangeInfo"
    reason: str = "symbols"
    body: bytes = b""

    def weight(self) -> int:
        return EXCHANGE_INFO[self.market.family]

    def seal(self) -> Wire:
        return Wire(f"{self.market.prefix}exchangeInfo", _QUERY[self.market.family], (), self.weight(), MAX_BODY_BYTES)

    def accept(self, reply: Reply) -> Symbols:
        self.body = reply.body
        return read_symbols(self.market, reply.body, reply.sent.ms, self.before)


class Directory:
    """The symbols of the three markets."""

    def __init__(
        self,
        governor: Governor,
        clock: Clock,
        events: Events,
        ttl_s: float,
        invalid_ttl_s: float,
        deadline_s: float,
        bodies: Bodies | None = None,
    ) -> None:
        self._bodies = bodies
        self._recalls = {market: Solo(partial(self._recall, market)) for market in Market}
        self._governor = governor
        self._clock = clock
        self._events = events
        self._ttl_s = ttl_s
        self._invalid_ttl_s = invalid_ttl_s
        self._deadline_s = deadline_s
        self._symbols = dict.fromkeys(Market, Symbols())
        self._read_at_s = dict.fromkeys(Market, float("-inf"))
        self._tried_at_s = dict.fromkeys(Market, float("-inf"))
        self._solos = {market: Solo(partial(self._refresh, market)) for market in Market}
        self._failed: dict[Market, tuple[float, AskFailed]] = {}
        self._unrecalled = set(Market)
        self._behind: set[asyncio.Task[None]] = set()

    def symbols(self, market: Market) -> Symbols:
        """What is known now."""
        return self._symbols[market]

    def age_s(self, market: Market) -> float:
        """Seconds since the list was read; infinite if it never was."""
        return self._clock.now() - self._read_at_s[market]

    def believed_s(self, market: Market) -> float:
        """Seconds until the list is to be read again: so long a symbol that does not trade is believed not to."""
        return max(0.0, self._ttl_s - self.age_s(market))

    async def check(self, question: Question) -> None:
        """Raise Binance's refusal if the question's symbol or pair is not on its market."""
        market = question.key.market
        if self._bodies is not None and market in self._unrecalled:
            await self._recalls[market].run()
        if self.age_s(market) == float("inf"):
            await self._ask_again(market)
        elif self.age_s(market) > self._ttl_s and self._may_try(market):
            self._refresh_behind(market)
        if self._symbols[market].knows(question):
            return
        if self.age_s(market) > self._invalid_ttl_s:
            await self._ask_again(market)
        if not self._symbols[market].knows(question):
            raise self._symbols[market].refusal(question)

    async def aclose(self) -> None:
        """End what is under way."""
        await asyncio.gather(*(solo.aclose() for solo in [*self._solos.values(), *self._recalls.values()]))

    async def _ask_again(self, market: Market) -> None:
        """Read the list; a failure is believed for a few seconds, or invented names would cost a read each."""
        failed_at_s, error = self._failed.get(market, (float("-inf"), None))
        if error is not None and self._clock.now() - failed_at_s < _ERROR_BELIEVED_S:
            raise copy.copy(error)
        try:
            await self._solos[market].run()
        except AskFailed as failure:
            self._failed[market] = self._clock.now(), failure
            raise

    def _may_try(self, market: Market) -> bool:
        return self._clock.now() - self._tried_at_s[market] > self._invalid_ttl_s

    def _refresh_behind(self, market: Market) -> None:
        self._tried_at_s[market] = self._clock.now()
        task = asyncio.get_running_loop().create_task(self._solos[market].run())
        self._behind.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # the list we have goes on serving; the next question tries again
            self._events.emit(Failed("symbols", f"{type(error).__name__}: {error}"))

    async def _recall(self, market: Market) -> None:
        """Begin with the list that rests; it is old enough for an unknown name to ask for another."""
        found = await self._bodies.load(market) if self._bodies is not None else None
        self._unrecalled.discard(market)
        if found is None or self.age_s(market) < float("inf"):
            return
        body, as_of_ms = found
        try:
            self._symbols[market] = read_symbols(market, body, as_of_ms, self._symbols[market])
        except BrokenBody as error:
            self._events.emit(Failed("symbols", str(error)))
            return
        age_s = (self._governor.clocks.now(market).ms - as_of_ms) / 1000
        self._read_at_s[market] = self._clock.now() - max(age_s, self._invalid_ttl_s + 1.0)
        self._governor.learn_limits(market, self._symbols[market].rate_limits)

    async def _refresh(self, market: Market) -> None:
        turn = Turn(Lane.HIGH, self._clock.now() + self._deadline_s)
        reading = _Reading(market, turn, self._symbols[market])
        found = await self._governor.fetch(reading)
        self._symbols[market] = found
        self._read_at_s[market] = self._clock.now()
        self._governor.learn_limits(market, found.rate_limits)
        if self._bodies is not None:
            self._bodies.keep(market, reading.body, found.as_of_ms)
        self._events.emit(SymbolsLearnt(market, len(found.names)))
