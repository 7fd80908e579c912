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

    `may_settle`: whether the exchange's clock is trusted enough for rows to settle by it.
    """

    as_of_ms: int
    early_ms: int
    may_settle: bool = True


@dataclass(frozen=True, slots=True)
class Settling:
    """The rule, applied to one series."""

    policy: SettlePolicy
    interval: Interval
    zone_ms: int

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
        surely_ms = read.early_ms - self.policy.confirm_ms - self.interval.length_ms - slack_ms
        sure = bisect_left(rows, surely_ms, key=attrgetter("open_ms")) if read.may_settle else 0
        for position in range(sure, len(rows)):
            row = rows[position]
            if held.get(row.open_ms) == row.raw:
                continue
            newer = position + 1 < len(rows)
            if not self._is_final(row, since.get(row.open_ms), read, newer=newer):
                return position
        return len(rows)

    def unchanged_since(
        self, rows: Sequence[Row], before: Mapping[int, Row], since: Mapping[int, int], read: ReadTime
    ) -> dict[int, int]:
        """Return, by open time, the as-of of the first read that showed a row as it is now, `settle_ms` after its end.

        Rows that are final by one read are left out.
        """
        found: dict[int, int] = {}
        for row in reversed(rows):
            age = self._age_ms(row, read)
            if age >= self.policy.confirm_ms:
                break
            if age >= self.policy.settle_ms:
                same = row.open_ms in before and before[row.open_ms].raw == row.raw
                found[row.open_ms] = since.get(row.open_ms, read.as_of_ms) if same else read.as_of_ms
        return found

    def _is_final(self, row: Row, since_ms: int | None, read: ReadTime, *, newer: bool) -> bool:
        if not read.may_settle:
            return False
        age = self._age_ms(row, read)
        if age >= self.policy.confirm_ms:
            return True
        agreed = since_ms is not None and read.as_of_ms - since_ms >= self.policy.settle_ms
        return newer and agreed and age >= self.policy.settle_ms

    def _age_ms(self, row: Row, read: ReadTime) -> int:
        """Return how long ago, at least, a row's bucket ended; the row's own close time may be earlier (a pause)."""
        return read.early_ms - max(row.close_ms, self.interval.next_open(row.open_ms, self.zone_ms) - 1)
