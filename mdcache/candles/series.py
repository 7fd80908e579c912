"""One series: what we know of it. Blocks of settled rows with their coverage, plus the tail.

`merge.py` takes in replies, `share.py` what other replicas know; `plan.py` tells what is missing.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from mdcache.candles.block import Block, SeriesBlocks
from mdcache.candles.empty_ranges import EmptyRanges
from mdcache.candles.persistence import SeriesChange, SeriesOutline, StoredBlock
from mdcache.candles.ranges import RangeSet
from mdcache.candles.settling import SettlePolicy, Settling
from mdcache.candles.stored_ranges import StoredRanges
from mdcache.candles.tail import Tail
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KlineEndpoint

_FOREVER = 1 << 62
_MOST_REVISED = 256
_MEAN_MONTH_MS = 2_629_746_000  # of the Gregorian calendar


class KnownRow(NamedTuple):
    """A row we have; `tail_trades` is at hand for rows of the tail only."""

    open_ms: int
    raw: bytes
    tail_trades: int | None

    @property
    def trades(self) -> int:
        """Its trade count."""
        return int(self.raw.split(b",")[8]) if self.tail_trades is None else self.tail_trades


class Series:
    """Knowledge of one series.

    `settled_version` moves when something known changed (a revision, a hole filled, a purge) or was given up and
    read again, `tail_version` when the tail was replaced: an answer built from older versions no longer stands.

    `resting` is what is known and not here: rows in a store. The span of a block is either here or resting, never
    both; what is about to be merged with a reply must be here (`admit`). `opened`: the store was asked.
    """

    __slots__ = (
        "blocks",
        "coverage",
        "empty_ranges",
        "endpoint",
        "evicted",
        "interval",
        "key",
        "merged_as_of_ms",
        "outline_loaded",
        "policy",
        "revised_as_of",
        "settled_version",
        "settling",
        "stored",
        "tail",
        "tail_version",
        "unproven_empty",
        "unsaved",
        "zone_ms",
    )

    def __init__(
        self,
        key: SeriesKey,
        endpoint: KlineEndpoint,
        policy: SettlePolicy,
        on_change: Callable[[Block | None, Block | None], None] = lambda _old, _new: None,
    ) -> None:
        self.key = key
        self.endpoint = endpoint
        self.policy = policy
        self.interval = INTERVALS[key.interval]
        self.zone_ms = key.zone_minutes * 60_000
        self.settling = Settling(policy, self.interval, self.zone_ms)
        self.blocks = SeriesBlocks(self.interval.length_ms, on_change)
        self.coverage = RangeSet()
        self.stored = StoredRanges(self.blocks.width_ms)
        self.outline_loaded = False
        self.unsaved = False
        self.evicted = RangeSet()  # known once, given up, and not read again since
        self.empty_ranges = EmptyRanges()
        self.tail: Tail | None = None
        self.unproven_empty: list[
            tuple[int, int]
        ] = []  # inclusive spans a back read showed empty, which proves nothing
        self.merged_as_of_ms = -1  # as-of of the newest reply taken in
        self.revised_as_of: dict[
            int, int
        ] = {}  # by open time, newest finds last: as-of of the read that found it changed
        self.settled_version = 0
        self.tail_version = 0

    def next_open(self, open_ms: int) -> int:
        """Nominal end of the bucket that opened at `open_ms`."""
        return self.interval.next_open(open_ms, self.zone_ms)

    def newest_settled(self) -> int:
        """Open time of the newest settled row that the tail joins; -1 if there is none."""
        joined = None if self.tail is None else self.coverage.at(self.tail.start_ms - 1)
        found = None if joined is None else self.blocks.last_open(*joined)
        return -1 if found is None else found

    def newest_known(self) -> int:
        """Open time of the newest row of the tail, else of the newest settled one it joins; -1 if there is none."""
        rows = self.tail.rows if self.tail is not None else ()
        return rows[-1].open_ms if rows else self.newest_settled()

    def known_between(self, lo: int, hi: int) -> list[KnownRow]:
        """What was shown as closed, and the newest row, with `lo` <= open time < `hi`."""
        known = [KnownRow(t, raw, None) for t, raw in self.blocks.printed_rows(lo, hi)]
        tail = self.tail
        if tail is not None:
            known += [
                KnownRow(row.open_ms, row.raw, row.trades)
                for row in tail.rows
                if lo <= row.open_ms < hi and (row.close_ms < tail.as_of_ms or row is tail.rows[-1])
            ]
        return known

    # ------------------------------------------------------------------------------------- at rest

    def load_outline(self, outline: SeriesOutline) -> None:
        """Take up what rests, before anything else is known."""
        for start, end in outline.outside_blocks:
            self.coverage.add(start, end)
        for spans in outline.blocks.values():
            for start, end in spans:
                self.stored.add(start, end)
        for void in outline.empty_ranges:
            self.empty_ranges.add(void)
        self.outline_loaded = True

    def restore_block(self, index: int, stored_block: StoredBlock | None) -> None:
        """A resting block is here from now on; what was thought to rest and is not in it is unknown, there too."""
        start, end = self.blocks.span(index)
        expected = self.stored.intersection(start, end)
        if not expected:
            return
        self.stored.remove(start, end)
        if stored_block is not None:
            self.blocks.restore(stored_block.block)
            for a, b in stored_block.coverage:
                self.coverage.add(a, b)
        for a, b in expected:
            for lost_from, lost_to in self.coverage.gaps(a, b):
                self.evicted.add(lost_from, lost_to)
                self.empty_ranges.clear(lost_from, lost_to)
                self.blocks.unsaved.add(index)

    def pop_change(self) -> SeriesChange | None:
        """What changed since it was last taken, for a store to keep; `None` if nothing did."""
        if not self.unsaved and not self.blocks.unsaved:
            return None
        indexes, self.blocks.unsaved, self.unsaved = sorted(self.blocks.unsaved), set(), False
        return SeriesChange(
            self.outside_blocks(),
            tuple(self.empty_ranges),
            {index: self.block_with_coverage(index) for index in indexes},
        )

    def block_with_coverage(self, index: int) -> StoredBlock | None:
        """Block `index` with what is known of its span; `None` where it is not here."""
        block = self.blocks.find(index)
        return (
            None if block is None else StoredBlock(block, tuple(self.coverage.intersection(*self.blocks.span(index))))
        )

    def outside_blocks(self) -> tuple[tuple[int, int], ...]:
        """What is known outside of all blocks' spans."""
        bare: list[tuple[int, int]] = []
        for start, end in self.coverage:
            cursor = start
            for index in self.blocks.indexes(start, end):
                lo, hi = self.blocks.span(index)
                if cursor < lo:
                    bare.append((cursor, lo))
                cursor = hi
            if cursor < end:
                bare.append((cursor, end))
        return tuple(bare)

    # ------------------------------------------------------------------------------------ queries

    def holes(self) -> int:
        """Covered buckets without a row, between rows."""
        found = 0
        for start, end in self.coverage:
            pieces = self.blocks.oldest(start, end, _FOREVER)
            if not pieces:
                continue
            first, last = pieces[0][0].open_times[pieces[0][1]], pieces[-1][0].open_times[pieces[-1][2] - 1]
            length = _MEAN_MONTH_MS if self.interval.months else self.interval.length_ms
            found += max(0, round((last - first) / length) + 1 - sum(j - i for _, i, j in pieces))
        return found

    def shown_empty_at(self, t: int) -> bool:
        """Whether a back read has shown nothing at `t`: asking it again would teach nothing."""
        return any(lo <= t <= hi for lo, hi in self.unproven_empty)

    def forget(self) -> None:
        """Know nothing any more (a purge); what rests is the store's to forget."""
        for block in list(self.blocks.in_order()):
            self.blocks.drop(block.index)
        self.blocks.unsaved.clear()
        self.unsaved = False
        self.coverage = RangeSet()
        self.stored = StoredRanges(self.blocks.width_ms)
        self.evicted = RangeSet()
        self.empty_ranges = EmptyRanges()
        self.tail = None
        self.unproven_empty = []
        self.revised_as_of = {}
        self.settled_version += 1
        self.tail_version += 1

    def evict(self, index: int, *, stored: bool = False) -> None:
        """Give up block `index` and its part of the coverage; `rests`: it was saved, and may come back."""
        start, end = self.blocks.span(index)
        if stored:
            for a, b in self.coverage.intersection(start, end):
                self.stored.add(a, b)
        else:
            self.evicted.add(start, end)
            self.empty_ranges.clear(start, end)
        self.blocks.drop(index)
        self.coverage.remove(start, end)

    def note_revised(self, opens: Iterable[int], as_of_ms: int) -> None:
        """These settled rows were found changed, or where none was known, by a read as of `as_of_ms`."""
        for open_ms in opens:
            self.revised_as_of.pop(open_ms, None)
            self.revised_as_of[open_ms] = as_of_ms
        while len(self.revised_as_of) > _MOST_REVISED:
            del self.revised_as_of[next(iter(self.revised_as_of))]

    def note_read_again(self, start: int, end: int) -> None:
        """[start, end) is known again: a revision since it was given up would go unnoticed in older answers."""
        if start < end and self.evicted.gaps(start, end) != [(start, end)]:
            self.evicted.remove(start, end)
            self.settled_version += 1
