"""The bounded queue of changes to write to the disk, merged by series while they wait. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from mdcache.candles.persistence import SeriesChange, SeriesFilter
from mdcache.exchange.klines import SeriesKey
from mdcache.stores.disk.row_file import SeriesWrite

_MAX_BYTES = 64 << 20  # of changes that wait because the disk is too slow
_MAX_SERIES = 50_000


@dataclass(slots=True)
class PendingWrite:
    """What is to be written of one series; `discard_first`: delete what is stored of it first."""

    discard_first: bool = False
    change: SeriesChange | None = None
    touched: set[int] = field(default_factory=set)

    @property
    def nbytes(self) -> int:
        """The size of its blocks in memory."""
        blocks = self.change.blocks.values() if self.change is not None else ()
        return sum(stored.block.nbytes for stored in blocks if stored is not None)

    def merge(self, later: "PendingWrite") -> None:
        """Add a later write of the same series."""
        if later.discard_first:
            self.discard_first, self.change, self.touched = True, None, set()
        self.touched |= later.touched
        if later.change is not None:
            blocks = {**(self.change.blocks if self.change is not None else {}), **later.change.blocks}
            self.change = SeriesChange(later.change.outside_blocks, later.change.empty_ranges, blocks)


class PendingWrites:
    """The queue: the waiting writes, in order, and those in progress.

    `purges` are done before everything that waits; a series that one of them matches counts as deleted.
    """

    def __init__(self) -> None:
        self.purges: list[SeriesFilter] = []
        self.nbytes = 0
        self._waiting: dict[SeriesKey, PendingWrite] = {}
        self._writing: dict[SeriesKey, PendingWrite] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting or self._writing or self.purges)

    def of(self, key: SeriesKey) -> PendingWrite:
        """Return all that is to be written of a series, including what is being written."""
        purged = any(series_filter.matches(key) for series_filter in self.purges)
        found = PendingWrite(discard_first=purged)
        for entries in (self._writing, self._waiting):
            if key in entries:
                found.merge(entries[key])
        return found

    def add(self, key: SeriesKey, write: PendingWrite) -> list[SeriesKey]:
        """Add `write` to what waits of the series.

        Returns:
            Series that waited with too much: they are deleted on the disk, too, and read again when needed.
        """
        waiting = self._waiting.setdefault(key, PendingWrite())
        self.nbytes -= waiting.nbytes
        waiting.merge(write)
        self.nbytes += waiting.nbytes
        if len(self._waiting) > _MAX_SERIES:
            self.purges, self._waiting, self.nbytes = [SeriesFilter()], {}, 0
        lost: list[SeriesKey] = []
        while self.nbytes > _MAX_BYTES:
            oldest = next(key for key, each in self._waiting.items() if each.nbytes)
            self._remove(oldest)
            self._waiting[oldest] = PendingWrite(discard_first=True)
            lost.append(oldest)
        return lost

    def drop(self, series_filter: SeriesFilter) -> None:
        """Drop what waits of the matching series; what is being written of them will be deleted afterwards."""
        for key in [key for key in self._waiting if series_filter.matches(key)]:
            self._remove(key)
        for key, entry in self._writing.items():
            if series_filter.matches(key):
                entry.merge(PendingWrite(discard_first=True))

    def begin(self, limit: int) -> list[SeriesWrite]:
        """Start to write the first `limit` series; they count as being written until `end`."""
        self._writing = {key: self._remove(key) for key in list(islice(self._waiting, limit))}
        return [
            SeriesWrite(key, each.discard_first, each.change, sorted(each.touched))
            for key, each in self._writing.items()
        ]

    def end(self, works: Sequence[SeriesWrite], done: int) -> None:
        """End writing: the first `done` of `works` were written, the others wait again, in front if any was."""
        writing, self._writing = self._writing, {}
        back: dict[SeriesKey, PendingWrite] = {}
        for work in works[done:]:
            entry = writing[work.key]
            if work.key in self._waiting:
                entry.merge(self._remove(work.key))
            self.nbytes += entry.nbytes
            back[work.key] = entry
        self._waiting = back | self._waiting if done else self._waiting | back

    def _remove(self, key: SeriesKey) -> PendingWrite:
        entry = self._waiting.pop(key)
        self.nbytes -= entry.nbytes
        return entry
