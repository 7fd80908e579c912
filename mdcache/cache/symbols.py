"""Which symbols exist, per market: kept fresh behind the answers, and asked for before any kline is.

An unknown, well-formed name causes one shared refresh if the list is older than `invalid_ttl_s`; a name once
seen stays known.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mdcache.cache.replicas.body_ports import BodySharing, NoBodySharing
from mdcache.clock import Clock
from mdcache.errors import InvalidBody, UpstreamFailed, UpstreamUnavailable
from mdcache.events import BackgroundTaskFailed, Events, SymbolsLoaded
from mdcache.exchange import refusals
from mdcache.exchange.exchange_info import ExchangeInfoDocument
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.symbols import MarketSymbols, read_symbols
from mdcache.exchange.weights import EXCHANGE_INFO
from mdcache.leases import Lease
from mdcache.upstream.governor import Governor, Lane, Priority, UpstreamReply, UpstreamRequest
from mdcache.upstream.replicas.shared_bodies import SharedBody

_ERROR_BELIEVED_S = 5.0
_COPY_S = 86_400.0  # an old list serves where none can be read
# permission sets are most of spot's list, and nothing here asks for them: rest-api.md, GET /api/v3/exchangeInfo
_QUERY = {Family.SPOT: "showPermissionSets=false", Family.FUTURES: ""}
MAX_BODY_BYTES = 64 << 20  # spot's is 2 to 20 MB, permission sets included


@dataclass(frozen=True, slots=True)
class ReadExchangeInfo:
    """What an `exchangeInfo` says: its names, joined with those known before, and the list itself."""

    symbols: MarketSymbols
    listing: ExchangeInfoDocument
    as_of_ms: int
    body: bytes


class ExchangeInfoStore(Protocol):
    """Where each market's last bodies rest, with spot's permission sets and without; faults of its own never raise."""

    async def load(self, market: Market, *, sets: bool) -> tuple[bytes, int] | None:
        """The body, and the exchange's time it was read at (ms); `None` if there is none."""
        ...

    def save(self, market: Market, body: bytes, as_of_ms: int, *, sets: bool) -> None:
        """Have this body rest, behind the answers."""
        ...


@dataclass(slots=True)
class InfoRead:
    """The governor's `Read` of one `exchangeInfo`; `sets`: with spot's permission sets."""

    market: Market
    priority: Priority
    before: MarketSymbols
    sets: bool = False
    endpoint: str = "exchangeInfo"
    reason: str = "symbols"
    min_as_of_ms: int = 0
    held_as_of_ms: int = -1
    max_age_s: float = _COPY_S
    waited_for_peer: bool = False
    lease: Lease | None = None
    learn: Callable[[ReadExchangeInfo], None] = lambda _: None

    @property
    def name(self) -> str:
        """The question in its one form; the rest is as in `copying.Copied`."""
        return f"exchangeInfo{'+sets' if self.sets else ''}"

    async def apply(self, copy: SharedBody) -> None:
        """Learn from what another replica read; `InvalidBody` where it is no `exchangeInfo`."""
        self.learn(_found(self.market, copy.body, copy.as_of_ms, self.before))

    def weight(self) -> int:
        """What it costs."""
        return EXCHANGE_INFO[self.market.family]

    def build_request(self) -> UpstreamRequest:
        """The request."""
        query = "" if self.sets else _QUERY[self.market.family]
        return UpstreamRequest(f"{self.market.prefix}exchangeInfo", query, (), self.weight(), MAX_BODY_BYTES)

    def accept(self, reply: UpstreamReply) -> ReadExchangeInfo:
        """What the body says; `InvalidBody` where it is no `exchangeInfo`."""
        return _found(self.market, reply.body, reply.sent.ms, self.before)


class Solo:
    """Runs `work` in a task of its own; callers shield it, so none of them can cancel it for the others."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Join the work under way, or begin it; its error is raised to everybody who waits."""
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.get_running_loop().create_task(self._call())
        await asyncio.wait({task})
        error = task.exception()
        if error is not None:
            raise copy.copy(error)

    async def _call(self) -> None:
        await self._work()

    async def aclose(self) -> None:
        """End the work under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class SymbolTable:
    """The symbols of the three markets."""

    def __init__(
        self,
        governor: Governor,
        clock: Clock,
        events: Events,
        ttl_s: float,
        invalid_ttl_s: float,
        deadline_s: float,
        store: ExchangeInfoStore | None = None,
        body_sharing: BodySharing | None = None,
    ) -> None:
        self._body_sharing = body_sharing or NoBodySharing()
        self._bodies = store
        self._loads = {market: Solo(partial(self._load, market)) for market in Market}
        self._governor = governor
        self._clock = clock
        self._events = events
        self._ttl_s = ttl_s
        self._invalid_ttl_s = invalid_ttl_s
        self._deadline_s = deadline_s
        self._symbols = dict.fromkeys(Market, MarketSymbols())
        self._read_at_s = dict.fromkeys(Market, float("-inf"))
        self._tried_at_s = dict.fromkeys(Market, float("-inf"))
        self._solos = {market: Solo(partial(self._refresh, market)) for market in Market}
        self._failed: dict[Market, tuple[float, UpstreamFailed]] = {}
        self._not_loaded = set(Market)
        self._behind: set[asyncio.Task[None]] = set()
        self.on_read: Callable[[InfoRead, ReadExchangeInfo], None] = lambda _read, _found: (
            None
        )  # who else wants each list

    def symbols(self, market: Market) -> MarketSymbols:
        """What is known now."""
        return self._symbols[market]

    def age_s(self, market: Market) -> float:
        """Seconds since the list was read; infinite if it never was."""
        return self._clock.now() - self._read_at_s[market]

    def fresh_for_s(self, market: Market) -> float:
        """Seconds until the list is to be read again: so long a symbol that does not trade is believed not to."""
        return max(0.0, self._ttl_s - self.age_s(market))

    async def check(self, market: Market, name: str, *, by_pair: bool) -> None:
        """Raise Binance's refusal if this symbol or pair is not on the market, and never was."""
        await self.ensure_loaded(market)
        if self.age_s(market) == float("inf"):
            await self._read_first(market)
        elif self.age_s(market) > self._ttl_s and self._may_try(market):
            self._refresh_in_background(market)
        if self._symbols[market].knows(name, by_pair=by_pair):
            return
        if self.age_s(market) > self._invalid_ttl_s:
            await self._read_again(market)
        if not self._symbols[market].knows(name, by_pair=by_pair):
            raise refusals.bad_pair(market) if by_pair else refusals.bad_symbol()

    async def aclose(self) -> None:
        """End what is under way."""
        await asyncio.gather(*(solo.aclose() for solo in [*self._solos.values(), *self._loads.values()]))

    async def _read_first(self, market: Market) -> None:
        """Read the list; one that another replica read long ago will do where that fails."""
        try:
            await self._read_again(market)
        except (UpstreamUnavailable, UpstreamFailed):
            if self.age_s(market) == float("inf"):
                raise

    async def _read_again(self, market: Market) -> None:
        """Read the list; a failure is believed for a few seconds, or invented names would cost a read each."""
        failed_at_s, error = self._failed.get(market, (float("-inf"), None))
        if error is not None and self._clock.now() - failed_at_s < _ERROR_BELIEVED_S:
            raise copy.copy(error)
        try:
            await self._solos[market].run()
        except UpstreamFailed as failure:
            self._failed[market] = self._clock.now(), failure
            raise

    def _may_try(self, market: Market) -> bool:
        return self._clock.now() - self._tried_at_s[market] > self._invalid_ttl_s

    def _refresh_in_background(self, market: Market) -> None:
        self._tried_at_s[market] = self._clock.now()
        task = asyncio.get_running_loop().create_task(self._solos[market].run())
        self._behind.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # the list we have goes on serving; the next question tries again
            self._events.emit(BackgroundTaskFailed("symbols", f"{type(error).__name__}: {error}"))

    async def read(self, read: InfoRead) -> None:
        """Have a list read and learn from it; raises what asking Binance raises."""
        read.learn = partial(self._learn, read)
        brought: SharedBody | None = None
        error: BaseException | None = None
        try:
            if not await self._body_sharing.satisfied_by_peers(read):
                found = await self._governor.fetch(read)
                self._learn(read, found)
                brought = SharedBody(found.body, found.as_of_ms)
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._body_sharing.finished(read, brought, error)

    def _learn(self, read: InfoRead, found: ReadExchangeInfo) -> None:
        market = read.market
        if found.as_of_ms >= self._symbols[market].as_of_ms:
            self._symbols[market] = found.symbols
            self._read_at_s[market] = self._clock.now() - self._age_of_s(market, found.as_of_ms)
            self._governor.set_limits(market, found.symbols.rate_limits)
            self._events.emit(SymbolsLoaded(market, len(found.symbols.names)))
        if self._bodies is not None:
            self._bodies.save(market, found.body, found.as_of_ms, sets=read.sets)
        self.on_read(read, found)

    def _age_of_s(self, market: Market, as_of_ms: int) -> float:
        return max(0.0, (self._governor.clocks.now(market).ms - as_of_ms) / 1000)

    async def ensure_loaded(self, market: Market) -> None:
        """Return when what rests of the market's lists is known, and what another replica knows."""
        if market in self._not_loaded:
            await self._loads[market].run()

    async def _load(self, market: Market) -> None:
        """Begin with the lists that rest; they are old enough for an unknown name to ask for another."""
        for sets in (False, True) if market is Market.SPOT else (False,):
            found = await self._bodies.load(market, sets=sets) if self._bodies is not None else None
            if found is not None:
                self._apply_stored(market, *found, sets=sets)
        read = InfoRead(market, Priority(Lane.LOW, 0.0), self._symbols[market])
        read.learn = partial(self._begin_with, read)
        await self._body_sharing.pull(read)
        self._not_loaded.discard(market)

    def _apply_stored(self, market: Market, body: bytes, as_of_ms: int, *, sets: bool) -> None:
        try:
            found = _found(market, body, as_of_ms, self._symbols[market])
        except InvalidBody as error:
            self._events.emit(BackgroundTaskFailed("symbols", str(error)))
            return
        self._begin_with(InfoRead(market, Priority(Lane.LOW, 0.0), found.symbols, sets=sets), found)

    def _begin_with(self, read: InfoRead, found: ReadExchangeInfo) -> None:
        market = read.market
        if found.as_of_ms > self._symbols[market].as_of_ms:
            self._symbols[market] = found.symbols
            age_s = max(self._age_of_s(market, found.as_of_ms), self._invalid_ttl_s + 1.0)
            self._read_at_s[market] = self._clock.now() - age_s
            self._governor.set_limits(market, found.symbols.rate_limits)
        self.on_read(read, found)

    async def _refresh(self, market: Market) -> None:
        turn = Priority(Lane.HIGH, self._clock.now() + self._deadline_s)
        old = self.age_s(market) > self._ttl_s  # else somebody asked for a name that it lacks
        floor_ms = self._governor.clocks.now(market).ms - int((self._ttl_s if old else self._invalid_ttl_s) * 1000)
        held_ms = self._symbols[market].as_of_ms
        await self.read(InfoRead(market, turn, self._symbols[market], min_as_of_ms=floor_ms, held_as_of_ms=held_ms))


def _found(market: Market, body: bytes, as_of_ms: int, before: MarketSymbols) -> ReadExchangeInfo:
    return ReadExchangeInfo(read_symbols(market, body, as_of_ms, before), ExchangeInfoDocument(body), as_of_ms, body)
