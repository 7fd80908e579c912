"""One series: what we know of it, and the one door through which a reply's rows become knowledge.

A series is blocks of settled rows with their coverage, plus the tail. `doubts.py` looks at a reply first, `merge`
takes it in. Nothing here waits, reads a clock or asks anybody.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from mdcache.candles.atrest import Change, Kept, Outline
from mdcache.candles.block import Block, Shelf
from mdcache.candles.coverage import Coverage
from mdcache.candles.tail import Tail
from mdcache.candles.voids import Void, Voids
from mdcache.candles.window import Proof, Window, prove
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import KlinePath
from mdcache.exchange.questions import SeriesKey
from mdcache.exchange.rows import Row

_FOREVER = 1 << 62
_BLANKS = 16
_MOST_REVISED = 256
_NOTHING: Mapping[int, int] = MappingProxyType({})
_MEAN_MONTH_MS = 2_629_746_000  # of the Gregorian calendar
_MONTH_SLACK_MS = 4 * 86_400_000  # 28 days are the least a month has, 31 the most; one more for good measure


@dataclass(frozen=True, slots=True)
class Policy:
    """When a closed row counts as final (6.2.2), in milliseconds."""

    settle_ms: int
    confirm_ms: int


@dataclass(frozen=True, slots=True)
class ReadAt:
    """When a reply was sent for: `as_of_ms` in exchange time, `early_ms` its earliest possible value.

    `settles`: whether the exchange's clock is trusted enough for rows to settle by it.
    """

    as_of_ms: int
    early_ms: int
    settles: bool = True


class Known(NamedTuple):
    """A row we have; `tail_trades` is at hand for rows of the tail only."""

    open_ms: int
    raw: bytes
    tail_trades: int | None

    @property
    def trades(self) -> int:
        """Its trade count."""
        return int(self.raw.split(b",")[8]) if self.tail_trades is None else self.tail_trades


@dataclass(frozen=True, slots=True)
class Revision:
    """A row shown as closed that Binance prints differently now; `now` is empty where it is gone."""

    open_ms: int
    was: bytes
    now: bytes


class Series:
    """Knowledge of one series.

    `settled_version` moves when something known changed (a revision, a hole filled, a purge) or was given up and
    read again, `tail_version` when the tail was replaced: an answer built from older versions no longer stands.

    `resting` is what is known and not here: rows in a store. The span of a block is either here or resting, never
    both; what is about to be merged with a reply must be here (`admit`). `opened`: the store was asked.
    """

    __slots__ = (
        "blanks",
        "coverage",
        "evicted",
        "interval",
        "key",
        "merged_ms",
        "opened",
        "policy",
        "resting",
        "revised",
        "rule",
        "settled_version",
        "shelf",
        "tail",
        "tail_version",
        "unsaved",
        "voids",
        "zone_ms",
    )

    def __init__(
        self,
        key: SeriesKey,
        rule: KlinePath,
        policy: Policy,
        changed: Callable[[Block | None, Block | None], None] = lambda _old, _new: None,
    ) -> None:
        self.key = key
        self.rule = rule
        self.policy = policy
        self.interval = INTERVALS[key.interval]
        self.zone_ms = key.zone_minutes * 60_000
        self.shelf = Shelf(self.interval.length_ms, changed)
        self.coverage = Coverage()
        self.resting = Coverage()
        self.opened = False
        self.unsaved = False
        self.evicted = Coverage()  # known once, given up, and not read again since
        self.voids = Voids()
        self.tail: Tail | None = None
        self.blanks: list[tuple[int, int]] = []  # inclusive spans a back read showed empty, which proves nothing
        self.merged_ms = -1  # as-of of the newest reply taken in
        self.revised: dict[int, int] = {}  # by open time, newest finds last: as-of of the read that found it changed
        self.settled_version = 0
        self.tail_version = 0

    def next_open(self, open_ms: int) -> int:
        """Nominal end of the bucket that opened at `open_ms`."""
        return self.interval.next_open(open_ms, self.zone_ms)

    def newest_settled(self) -> int:
        """Open time of the newest settled row that the tail joins; -1 if there is none."""
        joined = None if self.tail is None else self.coverage.at(self.tail.start_ms - 1)
        found = None if joined is None else self.shelf.last_open(*joined)
        return -1 if found is None else found

    def newest_known(self) -> int:
        """Open time of the newest row of the tail, else of the newest settled one it joins; -1 if there is none."""
        rows = self.tail.rows if self.tail is not None else ()
        return rows[-1].open_ms if rows else self.newest_settled()

    def known_between(self, lo: int, hi: int) -> list[Known]:
        """What was shown as closed, and the newest row, with `lo` <= open time < `hi`."""
        known = [Known(t, raw, None) for t, raw in self.shelf.pairs(lo, hi)]
        tail = self.tail
        if tail is not None:
            known += [
                Known(row.open_ms, row.raw, row.trades)
                for row in tail.rows
                if lo <= row.open_ms < hi and (row.close_ms < tail.as_of_ms or row is tail.rows[-1])
            ]
        return known

    def merge(self, rows: list[Row], window: Window, read: ReadAt) -> list[Revision]:
        """Take in the whole reply to `window`; returns what it changed of what was shown as closed."""
        proof = prove(window, rows, self.rule, read.as_of_ms, self.policy.confirm_ms)
        self._note_blanks(rows, window, read)
        if proof is None:
            return []
        if read.as_of_ms < self.merged_ms:
            self._fill(rows, proof, read)
            return []
        self.merged_ms = read.as_of_ms
        if not proof.tail and self.tail is not None and proof.hi_ms > self.tail.start_ms:
            proof = Proof(proof.lo_ms, self.tail.start_ms, tail=False)
        rows = [row for row in rows if row.open_ms >= proof.lo_ms and (proof.tail or row.open_ms < proof.hi_ms)]
        if proof.lo_ms >= proof.hi_ms and not proof.tail:
            return []
        return self._take(rows, proof, read)

    # ------------------------------------------------------------------------------------- at rest

    def open(self, outline: Outline) -> None:
        """Take up what rests, before anything else is known."""
        for start, end in outline.bare:
            self.coverage.add(start, end)
        for spans in outline.blocks.values():
            for start, end in spans:
                self.resting.add(start, end)
        for void in outline.voids:
            self.voids.note(void)
        self.opened = True

    def resting_indexes(self, start: int, end: int) -> list[int]:
        """Indexes of the resting blocks whose known parts touch [start, end), in rising order."""
        width = self.shelf.width_ms
        found: dict[int, None] = {}
        for a, b in self.resting.pieces(start, end):
            found.update(dict.fromkeys(range(a // width, (b - 1) // width + 1)))
        return list(found)

    def resting_around(self, start: int, end: int) -> list[int]:
        """Indexes of the resting blocks whose spans touch [start, end): to be here before rows are merged there.

        A block is saved whole: one that was made anew beside a resting one would take its place.
        """
        width = self.shelf.width_ms
        return self.resting_indexes(start // width * width, -(-end // width) * width)

    def admit(self, index: int, kept: Kept | None) -> None:
        """A resting block is here from now on; what was thought to rest and is not in it is unknown, there too."""
        start, end = self.shelf.span(index)
        expected = self.resting.pieces(start, end)
        if not expected:
            return
        self.resting.cut(start, end)
        if kept is not None:
            self.shelf.admit(kept.block)
            for a, b in kept.known:
                self.coverage.add(a, b)
        for a, b in expected:
            for lost_from, lost_to in self.coverage.gaps(a, b):
                self.evicted.add(lost_from, lost_to)
                self.voids.clear(lost_from, lost_to)
                self.shelf.unsaved.add(index)

    def take_change(self) -> Change | None:
        """What changed since it was last taken, for a store to keep; `None` if nothing did."""
        if not self.unsaved and not self.shelf.unsaved:
            return None
        indexes, self.shelf.unsaved, self.unsaved = sorted(self.shelf.unsaved), set(), False
        return Change(self.bare(), tuple(self.voids), {index: self.kept(index) for index in indexes})

    def kept(self, index: int) -> Kept | None:
        """Block `index` with what is known of its span; `None` where it is not here."""
        block = self.shelf.find(index)
        return None if block is None else Kept(block, tuple(self.coverage.pieces(*self.shelf.span(index))))

    def bare(self) -> tuple[tuple[int, int], ...]:
        """What is known outside of all blocks' spans."""
        bare: list[tuple[int, int]] = []
        for start, end in self.coverage:
            cursor = start
            for index in self.shelf.indexes(start, end):
                lo, hi = self.shelf.span(index)
                if cursor < lo:
                    bare.append((cursor, lo))
                cursor = hi
            if cursor < end:
                bare.append((cursor, end))
        return tuple(bare)

    def _note_change(self, start: int, end: int, before: tuple[object, object]) -> None:
        """Have saved what changed in [start, end) besides rows: what is known there, and which emptiness may fill."""
        if self._shape(start, end) != before:
            self.unsaved = True
            self.shelf.unsaved.update(self.shelf.indexes(start, end))

    def _shape(self, start: int, end: int) -> tuple[object, object]:
        return self.coverage.pieces(start, end), self.voids.shape()

    # ------------------------------------------------------------------------------------ queries

    def holes(self) -> int:
        """Covered buckets without a row, between rows."""
        found = 0
        for start, end in self.coverage:
            pieces = self.shelf.oldest(start, end, _FOREVER)
            if not pieces:
                continue
            first, last = pieces[0][0].opens[pieces[0][1]], pieces[-1][0].opens[pieces[-1][2] - 1]
            length = _MEAN_MONTH_MS if self.interval.months else self.interval.length_ms
            found += max(0, round((last - first) / length) + 1 - sum(j - i for _, i, j in pieces))
        return found

    def blank_at(self, t: int) -> bool:
        """Whether a back read has shown nothing at `t`: asking it again would teach nothing."""
        return any(lo <= t <= hi for lo, hi in self.blanks)

    def forget(self) -> None:
        """Know nothing any more (a purge); what rests is the store's to forget."""
        for block in list(self.shelf.blocks()):
            self.shelf.drop(block.index)
        self.shelf.unsaved.clear()
        self.unsaved = False
        self.coverage = Coverage()
        self.resting = Coverage()
        self.evicted = Coverage()
        self.voids = Voids()
        self.tail = None
        self.blanks = []
        self.revised = {}
        self.settled_version += 1
        self.tail_version += 1

    def evict(self, index: int, *, rests: bool = False) -> None:
        """Give up block `index` and its part of the coverage; `rests`: it was saved, and may come back."""
        start, end = self.shelf.span(index)
        if rests:
            for a, b in self.coverage.pieces(start, end):
                self.resting.add(a, b)
        else:
            self.evicted.add(start, end)
            self.voids.clear(start, end)
        self.shelf.drop(index)
        self.coverage.cut(start, end)

    def _note_blanks(self, rows: list[Row], window: Window, read: ReadAt) -> None:
        if window.start_ms is not None:
            return
        end = read.as_of_ms if window.end_ms is None else window.end_ms
        self.blanks = [(lo, hi) for lo, hi in self.blanks if self.coverage.gaps(lo, hi + 1)][-_BLANKS:]
        if len(rows) < window.limit:
            self.blanks.append((0, rows[0].open_ms - 1 if rows else end))
        if rows and self.next_open(rows[-1].open_ms) <= end:
            self.blanks.append((rows[-1].open_ms + 1, end))

    def take_tail(self, tail: Tail) -> list[Revision]:
        """Take in a tail that somebody else read, as if it were a reply; `share.py` tells when it may come in."""
        self.merged_ms = max(self.merged_ms, tail.as_of_ms)
        proof = Proof(tail.start_ms, tail.start_ms, tail=True)
        read = ReadAt(tail.as_of_ms, tail.as_of_ms - tail.error_ms)
        return self._take(list(tail.rows), proof, read, tail.since_ms)

    def note_revised(self, opens: Iterable[int], as_of_ms: int) -> None:
        """These settled rows were found changed, or where none was known, by a read as of `as_of_ms`."""
        for open_ms in opens:
            self.revised.pop(open_ms, None)
            self.revised[open_ms] = as_of_ms
        while len(self.revised) > _MOST_REVISED:
            del self.revised[next(iter(self.revised))]

    def _take(self, rows: list[Row], proof: Proof, read: ReadAt, shown: Mapping[int, int] = _NOTHING) -> list[Revision]:
        """`shown`: what others know of since when rows are shown unchanged, as in `Tail.since_ms`."""
        tail = self.tail or Tail(0, (), -1)
        held = dict(self.shelf.pairs(proof.lo_ms, _FOREVER if proof.tail else proof.hi_ms))
        before = {row.open_ms: row for row in tail.rows}
        since = self._since(rows, before, tail.since_ms, read) if proof.tail else {}
        since |= {t: min(since.get(t, ms), ms) for t, ms in shown.items()}
        revisions = self._revisions(rows, held, tail, proof)
        fills = self._in_holes(rows, held)
        self.note_revised([*(revision.open_ms for revision in revisions), *fills], read.as_of_ms)
        if revisions or fills:
            self.settled_version += 1
        settled = self._settled_count(rows, held, since, read)
        if settled < len(rows):
            end = rows[settled].open_ms
        elif proof.tail:
            end = rows[-1].open_ms + 1 if rows else proof.lo_ms
        else:
            end = proof.hi_ms
        past = _FOREVER if proof.tail else proof.hi_ms
        shape = self._shape(proof.lo_ms, past)
        self.shelf.replace(proof.lo_ms, past, rows[:settled])
        self.coverage.cut(end, past)
        self.coverage.add(proof.lo_ms, end)
        if proof.tail:  # with the bucket below it: whatever is there, a read of the tail has nothing to add
            self.read_again(proof.lo_ms - self.interval.length_ms, _FOREVER)
        else:
            self.read_again(proof.lo_ms, end)
        self._note_voids(rows, settled, proof, end, read.as_of_ms)
        self._note_change(proof.lo_ms, past, shape)
        if proof.tail:
            kept = {t: s for t, s in since.items() if t >= end}
            self.tail = Tail(end, tuple(rows[settled:]), read.as_of_ms, kept, read.as_of_ms - read.early_ms)
            self.tail_version += 1
        return revisions

    def read_again(self, start: int, end: int) -> None:
        """[start, end) is known again: a revision since it was given up would go unnoticed in older answers."""
        if start < end and self.evicted.gaps(start, end) != [(start, end)]:
            self.evicted.cut(start, end)
            self.settled_version += 1

    def _in_holes(self, rows: list[Row], held: dict[int, bytes]) -> list[int]:
        """Open times of rows where we knew that there is none."""
        if not rows or self.coverage.gaps(rows[0].open_ms, rows[-1].open_ms + 1) == [
            (rows[0].open_ms, rows[-1].open_ms + 1)
        ]:
            return []
        return [row.open_ms for row in rows if row.open_ms not in held and self.coverage.at(row.open_ms)]

    def _settled_count(self, rows: list[Row], held: dict[int, bytes], since: dict[int, int], read: ReadAt) -> int:
        """How many of the first rows are settled: they were, or they count as final by this read."""
        slack_ms = _MONTH_SLACK_MS if self.interval.months else 0
        surely_ms = read.early_ms - self.policy.confirm_ms - self.interval.length_ms - slack_ms
        sure = bisect_left(rows, surely_ms, key=_open_ms) if read.settles else 0
        for position in range(sure, len(rows)):
            row = rows[position]
            if held.get(row.open_ms) == row.raw:
                continue
            newer = position + 1 < len(rows)
            if not self._final(row, since.get(row.open_ms), read, newer=newer):
                return position
        return len(rows)

    def _final(self, row: Row, since_ms: int | None, read: ReadAt, *, newer: bool) -> bool:
        """Rule 6.2.2. A cut close time may be that of a pause inside the bucket: its nominal end counts."""
        if not read.settles:
            return False
        age = read.early_ms - max(row.close_ms, self.next_open(row.open_ms) - 1)
        if age >= self.policy.confirm_ms:
            return True
        agreed = since_ms is not None and read.as_of_ms - since_ms >= self.policy.settle_ms
        return newer and agreed and age >= self.policy.settle_ms

    def _since(self, rows: list[Row], before: dict[int, Row], since: dict[int, int], read: ReadAt) -> dict[int, int]:
        """For rows shown `settle_ms` after their end: as-of of the first read that showed them just so."""
        found: dict[int, int] = {}
        for row in reversed(rows):
            age = read.early_ms - max(row.close_ms, self.next_open(row.open_ms) - 1)
            if age >= self.policy.confirm_ms:
                break
            if age >= self.policy.settle_ms:
                same = row.open_ms in before and before[row.open_ms].raw == row.raw
                found[row.open_ms] = since.get(row.open_ms, read.as_of_ms) if same else read.as_of_ms
        return found

    def _revisions(self, rows: list[Row], held: dict[int, bytes], tail: Tail, proof: Proof) -> list[Revision]:
        was = dict(held)
        was |= {row.open_ms: row.raw for row in tail.rows if row.open_ms in tail.since_ms}
        shown = {row.open_ms: row.raw for row in rows}
        past = _FOREVER if proof.tail else proof.hi_ms
        return [
            Revision(open_ms, raw, shown.get(open_ms, b""))
            for open_ms, raw in was.items()
            if proof.lo_ms <= open_ms < past and shown.get(open_ms) != raw
        ]

    def _fill(self, rows: list[Row], proof: Proof, read: ReadAt) -> None:
        """A reply older than what was merged since: it fills gaps with rows that are surely final, no more."""
        hi = proof.hi_ms if self.tail is None else min(proof.hi_ms, self.tail.start_ms)
        for start, end in self.coverage.gaps(proof.lo_ms, hi):
            inside = [row for row in rows if start <= row.open_ms < end]
            count = self._settled_count(inside, {}, {}, read)
            known_to = end if count == len(inside) else inside[count].open_ms
            shape = self._shape(start, known_to)
            self.shelf.replace(start, known_to, inside[:count])
            self.coverage.add(start, known_to)
            self.read_again(start, known_to)
            gap = Proof(start, known_to, tail=False)
            self._note_voids(inside[:count], count, gap, known_to, read.as_of_ms)
            self._note_change(start, known_to, shape)

    def _note_voids(self, rows: list[Row], settled: int, proof: Proof, end: int, as_of_ms: int) -> None:
        """Remember the emptiness in [proof.lo_ms, end), where `rows[:settled]` are all there is."""
        self.voids.clear(proof.lo_ms, _FOREVER if proof.tail else proof.hi_ms)
        around = self.coverage.at(proof.lo_ms)
        if around is None:
            return
        left = self.shelf.last_open(around[0], proof.lo_ms)
        right = rows[settled].open_ms if settled < len(rows) else self.shelf.first_open(end, around[1])
        opens = [row.open_ms for row in rows[:settled]]
        previous = left
        for open_ms in [*opens, *([] if right is None else [right])]:
            start = proof.lo_ms if previous is None else self.next_open(previous)
            if start < open_ms and (previous is not None or open_ms - start >= self.interval.length_ms):
                self.voids.note(Void(start, open_ms, as_of_ms, hole=previous is not None))
            previous = open_ms
        if right is None and not proof.tail:
            start = proof.lo_ms if previous is None else self.next_open(previous)
            if start < end:
                self.voids.note(Void(start, end, as_of_ms, hole=False))


def _open_ms(row: Row) -> int:
    return row.open_ms
