"""Compute what keeps the open candles of a demand fresh, and what it weighs (docs/design.md#settings)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mdcache.candles.derivation import can_derive
from mdcache.capacity.demand import Demand
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Family
from mdcache.exchange.weights import page_limit

_MINUTE_S = 60.0
_SETTLING_READS = 5  # a minute and family, at most: docs/design.md#stream-settling
_SETTLE_AFTER_S = 1_200.0  # from the close of a row: the same
_LATE_FINAL_S = 2.0  # on futures, from the close to the final frame: docs/binance.md#kline-streams


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
        found |= dict.fromkeys(_derived(asked), Source.DERIVED)
    return found


def refreshes(asked: Demand, terms: PlanTerms) -> Refreshes:
    """Return what the open candles cost."""
    found = sources(asked, terms)
    tails = closes = settling = 0.0  # reads a minute for one symbol
    for name, source in found.items():
        length_s = INTERVALS[name].length_ms / 1000
        each_close = _MINUTE_S / max(length_s, asked.spacing_s)
        match source:
            case Source.STREAM:
                closes += each_close * _read_share(asked)
                settling += _settling_reads(length_s) * (1 - _read_share(asked))  # a close's read settles, too
            case Source.DERIVED:
                closes += each_close
            case Source.POLLED:
                regular = _MINUTE_S / _apart_s(terms.ttls_s[name], asked.spacing_s)
                tails += regular
                closes += max(0.0, reads_per_minute(length_s, terms.ttls_s[name], asked.spacing_s) - regular)
    each_read = asked.symbols * asked.tail_weight
    settled = min(_SETTLING_READS, settling * asked.symbols) * asked.tail_weight
    return Refreshes(tails * each_read, closes * each_read, settled)


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


def _settling_reads(length_s: float) -> float:
    """Return the reads a minute that settle one series: each settles what closed since the one before."""
    return _MINUTE_S / (length_s * math.ceil(_SETTLE_AFTER_S / length_s))


def _read_share(asked: Demand) -> float:
    """Return the share of closes of a traded symbol at which somebody asks before the final frame is there."""
    if asked.market.family is Family.SPOT:
        return 0.0  # a question waits for it: it comes within half a second
    return min(1.0, _LATE_FINAL_S / asked.spacing_s) if asked.spacing_s > 0 else 1.0


def _derived(asked: Demand) -> set[str]:
    """Return the intervals derived from a polled one, of which a page reaches back to the bucket before, the proof."""
    rows, polled, found = page_limit(asked.rule, asked.rows), list[SeriesKey](), set[str]()
    for name in sorted(asked.intervals, key=lambda name: INTERVALS[name].length_ms):
        series, proof_ms = SeriesKey(asked.market, "klines", "", "", name), 2 * INTERVALS[name].length_ms
        if any(can_derive(series, part) and rows * INTERVALS[part.interval].length_ms >= proof_ms for part in polled):
            found.add(name)
        else:
            polled.append(series)
    return found
