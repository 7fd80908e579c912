"""Fakes of what serving is given: clocks, a recorder, candles, a governor."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mdcache.cache.answers import Answer, Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock, Instant
from mdcache.errors import NotCached
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.exchange_clock import ExchangeClocks

NOW_MS = 1_790_771_371_858


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return NOW_MS + int((self.seconds - 1_000.0) * 1000 + 1e-6)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class FakeExchangeClocks:
    """Exchange time: the manual clock's wall. `trouble` is raised by `ensure`."""

    clock: ManualClock
    trouble: Exception | None = None
    stuck: bool = False
    ensured: list[Market] = field(default_factory=list)

    corrections: int = 0

    def now(self, market: Market) -> Instant:
        return Instant(self.clock.wall_ms(), 5)

    def reaches_s(self, market: Market, ms: float) -> float:
        return self.clock.seconds + (ms - self.clock.wall_ms()) / 1000 - 1e-6

    async def ensure(self, market: Market) -> None:
        self.ensured.append(market)
        if self.stuck:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble


@dataclass(frozen=True)
class Record:
    market: str
    endpoint: str
    result: str
    client: str
    seconds: float
    age_s: float | None


class FakeTally:
    """Writes a record for each hit it counts."""

    def __init__(self, record: Callable[[], None]) -> None:
        self._record = record
        self._count = 0
        self.age_s = 0.0

    @property
    def count(self) -> int:
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        assert count == self._count + 1
        self._count = count
        self._record()


class FakeRecorder:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records: list[Record] = []

    def record(self, market: str, endpoint: str, result: str, client: str, began_s: float, age_s: float | None) -> None:
        self.records.append(Record(market, endpoint, result, client, self._clock.now() - began_s, age_s))

    def hit_counts(self, market: str, endpoint: str, client: str) -> "FakeHitCounts":
        return FakeHitCounts(self, market, endpoint, client)


@dataclass
class FakeHitCounts:
    recorder: FakeRecorder
    market: str
    endpoint: str
    client: str

    def record(self, began_s: float, age_s: float | None) -> None:
        self.recorder.record(self.market, self.endpoint, "hit", self.client, began_s, age_s)

    def tally(self, age_s: float | None) -> tuple[FakeTally, float]:
        record = Record(self.market, self.endpoint, "hit", self.client, 0.0, age_s)
        return FakeTally(lambda: self.recorder.records.append(record)), 3_600.0


class FakeCandles:
    """Answers with what `make` returns, or raises it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.asked: list[tuple[KlineQuestion, FreshnessDirectives, Caller]] = []
        self.hold: asyncio.Event | None = None
        self.called = asyncio.Event()

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        self.asked.append((question, directives, caller))
        self.called.set()
        if self.hold is not None:
            await self.hold.wait()
        made: KlineAnswer | Exception = self.make()
        if isinstance(made, Exception):
            raise made
        return made


@dataclass
class FakeGovernor:
    """What serving asks a governor: clocks, the used weight, the gates."""

    clocks: FakeExchangeClocks | ExchangeClocks
    used_weight: int | None = 7
    orders: list[tuple[Family, float | None]] = field(default_factory=list)

    def reported_usage(self, market: Market) -> tuple[int, int | None]:
        return self.clocks.now(market).ms // 60_000, self.used_weight

    def open_gate(self, family: Family) -> None:
        self.orders.append((family, None))

    def close_gate(self, family: Family, seconds: float) -> None:
        self.orders.append((family, seconds))


class _NothingElse:
    """No snapshots here: `test_snapshots.py` has the real ones."""

    async def answer(self, *asked: object) -> Answer:
        raise NotCached(asked)


NOTHING_ELSE = _NothingElse()
