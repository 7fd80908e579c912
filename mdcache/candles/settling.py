"""Settling: decide when a closed row counts as final (docs/design.md#settling). Pure."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from mdcache.exchange.intervals import Interval
from mdcache.exchange.rows import Row

_MONTH_SLACK_MS = 4 * 86_400_000  # a month has 28 to 31 days, and `length_ms` is 28; one more to be safe


@dataclass(frozen=True, slots=True)
class SettlePolicy:
    """How long after its close a row is final: by two reads that agree (`settle_ms`), or by one (`confirm_ms`)."""

    settle_ms: int
    confirm_ms: int


@dataclass(frozen=True, slots=True)
class ReadTime:
    """When a read was sent: `as_of_ms` in exchange time, and the earliest time that it may have been.

    `doubt_ms`: how much earlier still, by a `Date` that contradicts the clock: nothing settles by less than that.
    """

    as_of_ms: int
    early_ms: int
    doubt_ms: int = 0

    def settles_by_ms(self, rows: Sequence[Row]) -> int:
        """Return the time by which rows settle; where the clock is in doubt, the newest row proves some, too."""
        if not self.doubt_ms:
            return self.early_ms
        shown_ms = rows[-1].open_ms if rows else 0
        return max(self.early_ms - self.doubt_ms, min(self.early_ms, shown_ms))


@dataclass(frozen=True, slots=True)
class Settling:
    """The rule, applied to one series."""

    policy: SettlePolicy
    interval: Interval
    zone_ms: int

    def next_open(self, open_ms: int) -> int:
        """Return the nominal end of the bucket that opened at `open_ms`."""
        return self.interval.next_open(open_ms, self.zone_ms)

    def settled_count(
        self, rows: Sequence[Row], held: Mapping[int, bytes], since: Mapping[int, int], read: ReadTime
    ) -> int:
        """Return how many of the first rows are settled: already held as settled, or final by this read.

        Args:
            rows: The rows of the read, in rising order.
            held: Settled rows as printed, by open time.
            since: By open time: since when a closed row has been shown unchanged (`unchanged_since`).
            read: When the read was sent.
        """
        slack_ms = _MONTH_SLACK_MS if self.interval.months else 0
        by_ms = read.settles_by_ms(rows)
        surely_ms = by_ms - self.policy.confirm_ms - self.interval.length_ms - slack_ms
        sure = bisect_left(rows, surely_ms, key=attrgetter("open_ms"))
        for position in range(sure, len(rows)):
            row = rows[position]
            if held.get(row.open_ms) == row.raw:
                continue
            newer = position + 1 < len(rows)
            if not self._is_final(row, since.get(row.open_ms), read.as_of_ms, by_ms, newer=newer):
                return position
        return len(rows)

    def unchanged_since(
        self, rows: Sequence[Row], before: Mapping[int, Row], since: Mapping[int, int], read: ReadTime
    ) -> dict[int, int]:
        """Return, by open time, the as-of of the first read that showed a row as it is now, `settle_ms` after its end.

        Rows that are final by one read are left out.
        """
        found: dict[int, int] = {}
        by_ms = read.settles_by_ms(rows)
        for row in reversed(rows):
            age = self._age_ms(row, by_ms)
            if age >= self.policy.confirm_ms:
                break
            if age >= self.policy.settle_ms:
                same = row.open_ms in before and before[row.open_ms].raw == row.raw
                found[row.open_ms] = since.get(row.open_ms, read.as_of_ms) if same else read.as_of_ms
        return found

    def _is_final(self, row: Row, since_ms: int | None, as_of_ms: int, by_ms: int, *, newer: bool) -> bool:
        age = self._age_ms(row, by_ms)
        if age >= self.policy.confirm_ms:
            return True
        agreed = since_ms is not None and as_of_ms - since_ms >= self.policy.settle_ms
        return newer and agreed and age >= self.policy.settle_ms

    def _age_ms(self, row: Row, by_ms: int) -> int:
        """Return how long ago, at least, a row's bucket ended; the row's own close time may be earlier (a pause)."""
        return by_ms - max(row.close_ms, self.next_open(row.open_ms) - 1)
