"""The ports of `serving`: what it requires of other layers."""

from dataclasses import dataclass
from typing import Protocol

from mdcache.cache.answers import Answer, Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.plan import Serve
from mdcache.exchange.exchange_info import SymbolSelection
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotQuestion
from mdcache.serving.binance.reply import HitTally


class HitCounts(Protocol):
    """Counts the hits of one market, endpoint and client."""

    def record(self, began_s: float, age_s: float | None) -> None:
        """Count a hit, as `Recorder.record` does."""

    def tally(self, age_s: float | None, /) -> tuple[HitTally, float]:
        """Return a counter for hits with tails about `age_s` old, and the age up to which it may be used.

        Each of these hits takes a few microseconds; they are not timed.
        """


class Recorder(Protocol):
    """Counts requests; it is called for each one, so it must cost about a microsecond."""

    def record(self, market: str, endpoint: str, result: str, client: str, began_s: float, age_s: float | None) -> None:
        """Count a request that arrived at `began_s` and is answered now.

        `age_s` is the age of the tail it showed, `None` without one.
        """

    def hit_counts(self, market: str, endpoint: str, client: str) -> HitCounts:
        """Return what counts the hits of these, at less cost than `record`."""


class CandleSource(Protocol):
    """Answers kline questions."""

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        """Return the answer; raise an error of `errors.py`."""


class RowSource(Protocol):
    """Finds the rows of a kline question."""

    async def find(
        self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller
    ) -> tuple[Serve, KlineAnswer]:
        """Return its rows, and the answer without a body; raise an error of `errors.py`."""


class SnapshotSource(Protocol):
    """Answers all other questions."""

    async def answer(self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, caller: Caller) -> Answer:
        """Return the answer; raise an error of `errors.py`."""


class ExchangeInfoSource(Protocol):
    """Answers `exchangeInfo`."""

    async def answer(
        self, market: Market, selection: SymbolSelection, directives: FreshnessDirectives, caller: Caller
    ) -> Answer:
        """Return the answer; raise an error of `errors.py`."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the daemon can answer: it can't if there are `reasons`; `degraded` is for people."""

    reasons: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
