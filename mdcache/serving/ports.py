"""What serving needs of the rest of the daemon, as small as it is used here."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from mdcache.cache.answers import Answer, Caller
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Instant
from mdcache.exchange.exchange_info import SymbolSelection
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.snapshots import SnapshotQuestion


class Recorder(Protocol):
    """Counts requests; called for each of them, so it must cost about a microsecond."""

    def record(self, market: str, endpoint: str, result: str, client: str, seconds: float, age_s: float | None) -> None:
        """One request was answered in `seconds`; `age_s` is that of the tail it showed, `None` without one."""
        ...


class Clocks(Protocol):
    """The exchanges' clocks."""

    def now(self, market: Market) -> Instant:
        """Exchange time now."""
        ...

    async def ensure(self, market: Market) -> None:
        """Measure the market's clock if it never was; raises what `errors.py` tells."""
        ...


class UsedWeights(Protocol):
    """Knows what Binance said about usage."""

    def used_weight_header(self, market: Market) -> int | None:
        """Weight that Binance reported in this UTC minute; `None` where it reported nothing yet."""
        ...


class CandleSource(Protocol):
    """Answers kline questions."""

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> Answer:
        """The answer; raises what `errors.py` tells."""
        ...


class SnapshotSource(Protocol):
    """Answers what is no kline question."""

    async def answer(self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, caller: Caller) -> Answer:
        """The answer; raises what `errors.py` tells."""
        ...


class ExchangeInfoSource(Protocol):
    """Answers `exchangeInfo`."""

    async def answer(
        self, market: Market, selection: SymbolSelection, directives: FreshnessDirectives, caller: Caller
    ) -> Answer:
        """The answer; raises what `errors.py` tells."""
        ...


class ByteAccount(Protocol):
    """Bytes held under keys (`stores.memory.Memory`)."""

    def set_size(self, key: Hashable, nbytes: int) -> None:
        """`key` takes `nbytes` from now on."""
        ...

    def touch(self, key: Hashable, now_s: float) -> None:
        """`key` was asked for."""
        ...

    def remove(self, key: Hashable) -> None:
        """`key` is held no more."""
        ...


class ReadyEvictable(Protocol):
    """Something whose bytes count in the shared memory."""

    def evict(self, key: Hashable) -> None:
        """Drop what it holds under `key`."""
        ...


class SharedMemory(Protocol):
    """The memory that ready answers share with the series (`cache.library.Library`)."""

    @property
    def memory(self) -> ByteAccount:
        """The account."""
        ...

    def register_evictable(self, kind: str, holder: ReadyEvictable) -> None:
        """Let `holder` share it under keys (kind, …)."""
        ...

    def enforce_limit(self) -> None:
        """Give up what was asked for longest ago until the bound holds."""
        ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the daemon can answer: it can't for any of `reasons`; what is `degraded` is for people."""

    reasons: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


class GateControl(Protocol):
    """The operator's hand on the gates (`upstream.governor.Governor`)."""

    def open_gate(self, family: Family) -> None:
        """Open it at once."""
        ...

    def close_gate(self, family: Family, seconds: float) -> None:
        """Close it for a while."""
        ...
