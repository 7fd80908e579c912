"""A one-minute series on a small timeline, for tables of examples: minute 0 is a moment in 2026, a row opens each."""

from collections.abc import Iterable

from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.tail import Tail
from mdcache.clock import Instant
from mdcache.exchange.rows import Row
from tests.support import toy_exchange

MINUTE_MS = 60_000
START_MS = 29_850_000 * MINUTE_MS
SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
POLICY = toy_exchange.make_series(SPOT).policy  # 3 s and a minute
TRADES = 60


def at(minute: float) -> int:
    """Milliseconds of `minute`: 3.5 is half a minute after minute 3 opened."""
    return START_MS + round(minute * MINUTE_MS)


def minute_of(ms: int) -> float:
    """The minute of a moment."""
    return (ms - START_MS) / MINUTE_MS


def now(minute: float, error_ms: int = 0) -> Instant:
    """A moment of exchange time."""
    return Instant(at(minute), error_ms)


def read_at(minute: float, error_ms: int = 0) -> ReadTime:
    """When a reply was sent for."""
    return ReadTime(at(minute), at(minute) - error_ms)


def row(minute: float, trades: int = TRADES) -> Row:
    """Return a row that is identified by its trades."""
    open_ms = at(minute)
    close_ms = open_ms + MINUTE_MS - 1
    raw = f'[{open_ms},"1","2","1","1","5",{close_ms},"5",{trades},"0","0","0"]'
    return Row(open_ms, close_ms, trades, raw.encode())


def rows(first: int, last: int, *, without: Iterable[int] = (), trades: dict[int, int] | None = None) -> list[Row]:
    """The rows of minutes `first` to `last`, both inclusive."""
    counts = trades or {}
    return [row(n, counts.get(n, TRADES)) for n in range(first, last + 1) if n not in set(without)]


def make_series(path: str = SPOT, interval: str = "1m") -> Series:
    """A series of which nothing is known."""
    return toy_exchange.make_series(path, interval)


def settle(series: Series, first: int, last: int, *, without: Iterable[int] = ()) -> None:
    """Know the minutes `first` to `last` as settled, as after a read of them."""
    series.blocks.replace(at(first), at(last + 1), rows(first, last, without=without))
    series.coverage.add(at(first), at(last + 1))


def show_tail(series: Series, first: int, last: int, as_of: float, error_ms: int = 0) -> None:
    """Hold a tail of the minutes `first` to `last`, read at `as_of`."""
    series.tail = Tail(at(first), tuple(rows(first, last)), at(as_of), error_ms=error_ms)


def covered(series: Series) -> list[tuple[float, float]]:
    """The coverage in minutes, [start, end)."""
    return [(minute_of(start), minute_of(end)) for start, end in series.coverage]


def settled_minutes(series: Series) -> list[float]:
    """The minutes whose rows are settled and in memory."""
    return [minute_of(open_ms) for open_ms, _ in series.blocks.printed_rows(0, 1 << 62)]


def tail_minutes(series: Series) -> list[float]:
    """The minutes whose rows the tail shows."""
    return [minute_of(each.open_ms) for each in series.tail.rows] if series.tail is not None else []
