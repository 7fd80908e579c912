"""Every series as one line, for `/v1/status?series=1`."""

from collections.abc import Callable
from dataclasses import dataclass

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.tail_sources import TailSource, tail_source
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.series import Series
from mdcache.clock import Clock, Instant
from mdcache.exchange.markets import Market

_SLICE_S = 0.004  # then other tasks run: five thousand series take a tenth of a second


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


async def series_lines(
    registry: SeriesRegistry, clock: Clock, exchange_now: Callable[[Market], Instant]
) -> list[SeriesLine]:
    """List all series of `registry`, in slices of a few milliseconds."""
    listed = []
    began_s = clock.now()
    for series in list(registry):
        listed.append(_series_line(series, exchange_now(series.key.market).ms))
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
