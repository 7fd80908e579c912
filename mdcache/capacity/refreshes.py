"""Compute what keeps the open candles of a demand fresh, and what it weighs (docs/design.md#settings)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mdcache.capacity.demand import Demand
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Family

_MINUTE_S = 60.0
_SETTLING_READS = 5  # a minute and family, at most
_LATE_FINAL_S = 2.0  # on futures, from the close to the final frame: docs/binance.md#kline-streams
_LONGEST_DERIVED_MS = INTERVALS["1d"].length_ms


class Source(StrEnum):
    """What keeps the open candle of a series fresh."""

    STREAM = "stream"
    DERIVED = "derived"
    POLLED = "polled"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """The settings that determine the cost.

    `ttls_s`: by interval; `share` of the limit (0 to 1); `exchange_info_s`: from one read of the symbols to the next.
    `streams`: whether streams feed what is asked for more often than `stream_idle_s`. `derive`: whether longer candles
    are derived where none does.
    """

    ttls_s: Mapping[str, float]
    share: float
    exchange_info_s: float
    streams: bool = False
    stream_idle_s: float = 300.0
    derive: bool = False


@dataclass(frozen=True, slots=True)
class Refreshes:
    """Weight a minute: of reads when a TTL has passed, of what closes add, of settling what streams have closed."""

    tails: float
    closes: float
    settling: float

    @property
    def weight(self) -> float:
        """Return the total."""
        return self.tails + self.closes + self.settling


def sources(asked: Demand, terms: PlanTerms) -> dict[str, Source]:
    """Return what keeps each interval's open candles fresh."""
    fed = terms.streams and asked.spacing_s <= terms.stream_idle_s
    found = dict.fromkeys(asked.intervals, Source.STREAM if fed else Source.POLLED)
    if terms.derive and not fed:
        found |= {name: Source.DERIVED for name in asked.intervals if _is_derived(name, asked.intervals)}
    return found


def refreshes(asked: Demand, terms: PlanTerms) -> Refreshes:
    """Return what the open candles cost."""
    found = sources(asked, terms)
    tails = closes = closed = 0.0  # reads a minute for one symbol
    for name, source in found.items():
        length_s = INTERVALS[name].length_ms / 1000
        each_close = _MINUTE_S / max(length_s, asked.spacing_s)
        match source:
            case Source.STREAM:
                closed += each_close
                closes += each_close * _read_share(asked)
            case Source.DERIVED:
                closes += each_close
            case Source.POLLED:
                regular = _MINUTE_S / _apart_s(terms.ttls_s[name], asked.spacing_s)
                tails += regular
                closes += max(0.0, reads_per_minute(length_s, terms.ttls_s[name], asked.spacing_s) - regular)
    settling = min(_SETTLING_READS, closed * asked.symbols) * asked.tail_weight
    each_read = asked.symbols * asked.tail_weight
    return Refreshes(tails * each_read, closes * each_read, settling)


def quiet_closes(asked: Demand, terms: PlanTerms) -> float:
    """Return the weight a minute that closes add where nothing is traded after them: no frame tells of those."""
    streamed = [name for name, source in sources(asked, terms).items() if source is Source.STREAM]
    reads = sum(_MINUTE_S / max(INTERVALS[name].length_ms / 1000, asked.spacing_s) for name in streamed)
    return reads * (1 - _read_share(asked)) * asked.symbols * asked.tail_weight


def reads_per_minute(length_s: float, ttl_s: float, spacing_s: float) -> float:
    """Return the tail reads per minute of one series that is asked for every `spacing_s` (0: without a pause).

    The first question after a close reads; after that, the first one that finds the tail older than the TTL does.
    """
    if spacing_s <= 0:
        return math.ceil(length_s / ttl_s) * _MINUTE_S / length_s
    asked = math.ceil(round(length_s / spacing_s, 6))  # questions in one candle
    apart = math.floor(round(ttl_s / spacing_s, 6)) + 1  # every so many questions, one reads
    return min(_MINUTE_S / spacing_s, math.ceil(asked / apart) * _MINUTE_S / length_s)


def _apart_s(ttl_s: float, spacing_s: float) -> float:
    """Return the seconds from one read to the next between closes."""
    return ttl_s if spacing_s <= 0 else (math.floor(round(ttl_s / spacing_s, 6)) + 1) * spacing_s


def _read_share(asked: Demand) -> float:
    """Return the share of closes of a traded symbol at which somebody asks before the final frame is there."""
    if asked.market.family is Family.SPOT:
        return 0.0  # a question waits for it: it comes within half a second
    return min(1.0, _LATE_FINAL_S / asked.spacing_s) if asked.spacing_s > 0 else 1.0


def _is_derived(name: str, intervals: tuple[str, ...]) -> bool:
    length_ms = INTERVALS[name].length_ms
    shorter = (INTERVALS[other].length_ms for other in intervals)
    return length_ms <= _LONGEST_DERIVED_MS and any(ms < length_ms and length_ms % ms == 0 for ms in shorter)
