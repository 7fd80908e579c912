"""The tail: all rows of a series newer than its coverage, one value with one as-of, replaced whole."""

from dataclasses import dataclass, field

from mdcache.exchange.rows import Row


@dataclass(frozen=True, slots=True)
class Tail:
    """Everything with open time >= `start_ms` as Binance showed it at `as_of_ms` (exchange time, rising order).

    `since_ms` tells, for rows shown unchanged since they counted as shown after their close, the as-of of the
    first such read: by open time. It is what two agreeing reads are judged by (docs/design.md#settling). `as_of_ms`
    may be late by
    `error_ms`: a row that closed within it may not have been whole yet.
    """

    start_ms: int
    rows: tuple[Row, ...]
    as_of_ms: int
    since_ms: dict[int, int] = field(default_factory=dict)
    error_ms: int = 0

    @property
    def newest_close_ms(self) -> int | None:
        """Close time of the newest row."""
        return self.rows[-1].close_ms if self.rows else None

    @property
    def open_until_ms(self) -> int | None:
        """Close time of the newest row, if it was open when it was read, or may have been."""
        close = self.newest_close_ms
        return close if close is not None and self.as_of_ms - self.error_ms <= close else None

    def close_passed(self, now_ms: int) -> bool:
        """Whether its newest row was open when read and has closed since: half a candle for a whole one."""
        close = self.open_until_ms
        return close is not None and close < now_ms
