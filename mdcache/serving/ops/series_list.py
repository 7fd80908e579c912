"""What is kept of all series, counted, and of each as one line, for `/v1/status` and `/v1/series`."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.tail_sources import TailSource, count_tails, tail_source
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.series import Series
from mdcache.clock import Clock, Instant
from mdcache.exchange.markets import Market

_SLICE_S = 0.004  # then other tasks run: five thousand series take a tenth of a second
_COUNTED = 256  # series that are counted at a time: half a millisecond


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One series in memory. `symbol` may be a pair; `contract_type` is empty if there is none.

    `source`: what the tail owes its as-of to (`rest`, `stream`, `derived`). `age_s`: how old it is; both are `None`
    without a tail. `holes`: buckets without a row within the coverage. `resting`: more of it is in a store.
    `first_open`, `last_open`: of what is known, in milliseconds; `None` if nothing is.
    """

    market: str
    kind: str
    symbol: str
    contract_type: str
    interval: str
    zone_minutes: int
    micros: bool
    rows: int
    age_s: float | None
    source: TailSource | None
    holes: int
    resting: bool
    first_open: int | None = None
    last_open: int | None = None


@dataclass(frozen=True, slots=True)
class SeriesCounts:
    """Totals of all series.

    `voids`: by market, the empty ranges that may still fill and are checked again, including recent holes. `tails`: in
    use, by market and source.
    """

    count: int
    rows: int
    voids: Mapping[str, int]
    tails: Mapping[str, Mapping[str, int]]


async def count_series(
    registry: SeriesRegistry, clock: Clock, exchange_now: Callable[[Market], Instant]
) -> SeriesCounts:
    """Count all series of `registry`, and let other tasks run in between."""
    series = list(registry)
    rows, voids = 0, Counter({market.value: 0 for market in Market})
    tails = {market.value: Counter(dict.fromkeys(map(str, TailSource), 0)) for market in Market}
    for at in range(0, len(series), _COUNTED):
        part = series[at : at + _COUNTED]
        for each in part:
            tail = each.last_shown_tail
            rows += len(each.blocks) + (len(tail.rows) if tail is not None else 0)
            voids[each.key.market.value] += len(each.empty_ranges)
        for market, found in count_tails(part, exchange_now).items():
            tails[market].update(found)
        await clock.sleep(0)
    return SeriesCounts(len(series), rows, voids, tails)


async def series_lines(
    chosen: Iterable[Series], clock: Clock, exchange_now: Callable[[Market], Instant]
) -> list[msgspec.Raw]:
    """List series as JSON, each a `SeriesLine`, in slices of a few milliseconds."""
    listed = []
    began_s = clock.now()
    for series in list(chosen):
        line = _series_line(series, exchange_now(series.key.market).ms)
        listed.append(msgspec.Raw(msgspec.json.encode(line)))
        if clock.now() - began_s > _SLICE_S:
            await clock.sleep(0)
            began_s = clock.now()
    return listed


def _series_line(series: Series, now_ms: int) -> SeriesLine:
    key, tail = series.key, series.live_tail
    return SeriesLine(
        market=key.market.value,
        kind=key.kind,
        symbol=key.subject,
        contract_type=key.contract_type,
        interval=key.interval,
        zone_minutes=key.zone_minutes,
        micros=key.micros,
        rows=len(series.blocks) + (len(tail.rows) if tail is not None else 0),
        age_s=None if tail is None else round(max(0, now_ms - tail.as_of_ms) / 1000, 3),
        source=tail_source(series),
        holes=series.holes(),
        resting=len(series.stored) > 0,
        first_open=_first_open(series),
        last_open=_last_open(series),
    )


def _first_open(series: Series) -> int | None:
    stored = next(iter(series.stored), None)  # it begins within its first block
    first = series.blocks.first_open(0, FOREVER_MS)
    tail = series.live_tail
    if first is None and tail is not None and tail.rows:
        first = tail.rows[0].open_ms
    return first if stored is None or (first is not None and first < stored[0]) else stored[0]


def _last_open(series: Series) -> int | None:
    tail = series.live_tail
    return tail.rows[-1].open_ms if tail is not None and tail.rows else series.blocks.last_open(0, FOREVER_MS)
