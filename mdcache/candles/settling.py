"""Settling: when a closed row counts as final (docs/design.md#settling). Pure."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdcache.exchange.intervals import Interval
from mdcache.exchange.rows import Row

_MONTH_SLACK_MS = 4 * 86_400_000  # 28 days are the least a month has, 31 the most; one more for good measure


@dataclass(frozen=True, slots=True)
class SettlePolicy:
    """When a closed row counts as final (docs/design.md#settling), in milliseconds."""

    settle_ms: int
    confirm_ms: int


@dataclass(frozen=True, slots=True)
class ReadTime:
    """When a reply was sent for: `as_of_ms` in exchange time, `early_ms` its earliest possible value.

    `settles`: whether the exchange's clock is trusted enough for rows to settle by it.
    """

    as_of_ms: int
    early_ms: int
    may_settle: bool = True


@dataclass(frozen=True, slots=True)
class Settling:
    """The rule for one series."""

    policy: SettlePolicy
    interval: Interval
    zone_ms: int

    def settled_count(
        self, rows: Sequence[Row], held: Mapping[int, bytes], since: Mapping[int, int], read: ReadTime
    ) -> int:
        """How many of the first rows are settled: they were, or they count as final by this read."""
        slack_ms = _MONTH_SLACK_MS if self.interval.months else 0
        surely_ms = read.early_ms - self.policy.confirm_ms - self.interval.length_ms - slack_ms
        sure = bisect_left(rows, surely_ms, key=_open_ms) if read.may_settle else 0
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
        """For rows shown `settle_ms` after their end: as-of of the first read that showed them just so."""
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
        """Rule docs/design.md#settling."""
        if not read.may_settle:
            return False
        age = self._age_ms(row, read)
        if age >= self.policy.confirm_ms:
            return True
        agreed = since_ms is not None and read.as_of_ms - since_ms >= self.policy.settle_ms
        return newer and agreed and age >= self.policy.settle_ms

    def _age_ms(self, row: Row, read: ReadTime) -> int:
        """How long ago it ended, at least. A cut close time may be that of a pause inside: the bucket's end counts."""
        return read.early_ms - max(row.close_ms, self.interval.next_open(row.open_ms, self.zone_ms) - 1)


def _open_ms(row: Row) -> int:
    return row.open_ms
