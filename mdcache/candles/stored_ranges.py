"""Resting: the spans of a series that are known and not here; their rows are in a store."""

from mdcache.candles.ranges import RangeSet


class StoredRanges(RangeSet):
    """Known spans, and the blocks in whose aligned spans of `width_ms` they lie."""

    __slots__ = ("_width_ms",)

    def __init__(self, width_ms: int) -> None:
        super().__init__()
        self._width_ms = width_ms

    def block_indexes(self, start: int, end: int) -> list[int]:
        """Indexes of the blocks whose known parts touch [start, end), in rising order."""
        width = self._width_ms
        found: dict[int, None] = {}
        for a, b in self.intersection(start, end):
            found.update(dict.fromkeys(range(a // width, (b - 1) // width + 1)))
        return list(found)

    def block_indexes_around(self, start: int, end: int) -> list[int]:
        """Indexes of the blocks whose spans touch [start, end): to be here before rows are merged there.

        A block is saved whole: one that was made anew beside a resting one would take its place.
        """
        width = self._width_ms
        return self.block_indexes(start // width * width, -(-end // width) * width)
