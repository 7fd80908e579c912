"""The tail: all rows of a series newer than its coverage, as one immutable value with one as-of."""

from dataclasses import dataclass, field

from mdcache.exchange.rows import Row


@dataclass(frozen=True, slots=True)
class Tail:
    """Every row with open time >= `start_ms`, as Binance printed it at `as_of_ms` (exchange time), in rising order.

    `since_ms`: by open time, the as-of of the first read that showed a closed row as it is now; two agreeing reads
    settle it (docs/design.md#settling). `error_ms`: how much earlier the true as-of may be; a row that closed within
    that time may have been read unfinished. `cadence_ms`: how often a stream sends what shows its newest row, 0 if it
    was read. `final`: a final frame shows the newest row, which is complete, although the as-of is no later.
    `derived`: the newest row was derived from a shorter series.
    """

    start_ms: int
    rows: tuple[Row, ...]
    as_of_ms: int
    since_ms: dict[int, int] = field(default_factory=dict)
    error_ms: int = 0
    cadence_ms: int = 0
    final: bool = False
    derived: bool = False

    @property
    def newest_close_ms(self) -> int | None:
        """The close time of the newest row."""
        return self.rows[-1].close_ms if self.rows else None

    @property
    def open_until_ms(self) -> int | None:
        """The close time of the newest row, if it was open when read, or may have been."""
        close_ms = None if self.final else self.newest_close_ms
        return close_ms if close_ms is not None and self.as_of_ms - self.error_ms <= close_ms else None

    def shows_open(self, row: Row) -> bool:
        """Return whether `row`, one of this tail's, is that of an open candle."""
        return row is self.rows[-1] and self.open_until_ms is not None

    def close_passed(self, now_ms: int) -> bool:
        """Return whether the newest row was open when read and has closed since, so that the row is incomplete."""
        close_ms = self.open_until_ms
        return close_ms is not None and close_ms < now_ms
