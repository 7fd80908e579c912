"""Move a series' blocks between memory and a store, and say what changed (docs/design.md#blocks)."""

from mdcache.candles.persistence import SeriesChange, SeriesOutline, StoredBlock
from mdcache.candles.ranges import FOREVER_MS, Span
from mdcache.candles.series import Series


def load_outline(series: Series, outline: SeriesOutline) -> None:
    """Set what a store has, before anything else is known."""
    for start, end in outline.outside_blocks:
        series.coverage.add(start, end)
    for spans in outline.blocks.values():
        for start, end in spans:
            series.stored.add(start, end)
    for empty_range in outline.empty_ranges:
        series.empty_ranges.add(empty_range)
    series.outline_loaded = True


def stored_blocks(series: Series, start: int, end: int) -> list[int]:
    """Return the indexes of the stored blocks whose rows in [start, end) are known, in rising order."""
    width = series.blocks.width_ms
    found: dict[int, None] = {}
    for a, b in series.stored.intersection(start, end):
        found.update(dict.fromkeys(range(a // width, (b - 1) // width + 1)))
    return list(found)


def stored_blocks_around(series: Series, start: int, end: int) -> list[int]:
    """Return the indexes of the stored blocks whose spans overlap [start, end).

    They must be restored before rows are merged there: a block is saved as a whole, so that a new one with the same
    index would replace the stored one.
    """
    width = series.blocks.width_ms
    return stored_blocks(series, start // width * width, -(-end // width) * width)


def restore_block(series: Series, index: int, stored_block: StoredBlock | None) -> None:
    """Move a stored block into memory. Any part of it that the store should have but has not becomes unknown."""
    start, end = series.blocks.span(index)
    expected = series.stored.intersection(start, end)
    if not expected:
        return
    series.stored.remove(start, end)
    if stored_block is not None:
        series.blocks.restore(stored_block.block)
        for a, b in stored_block.coverage:
            series.coverage.add(a, b)
        for a, b in stored_block.from_dumps:
            series.from_dumps.add(a, b)
    for a, b in expected:
        for lost_from, lost_to in series.coverage.gaps(a, b):
            series.evicted.add(lost_from, lost_to)
            series.empty_ranges.clear(lost_from, lost_to)
            series.blocks.unsaved.add(index)


def evict_block(series: Series, index: int, *, stored: bool = False) -> None:
    """Drop block `index` and its part of the coverage; `stored`: a store has it, so that it stays known."""
    start, end = series.blocks.span(index)
    if stored:
        for a, b in series.coverage.intersection(start, end):
            series.stored.add(a, b)
    else:
        series.evicted.add(start, end)
        series.empty_ranges.clear(start, end)
    series.blocks.drop(index)
    series.coverage.remove(start, end)
    series.from_dumps.remove(start, end)


def pop_change(series: Series) -> SeriesChange | None:
    """Return what changed since the last call, for a store to save; `None` if nothing did."""
    if not series.unsaved and not series.blocks.unsaved:
        return None
    indexes, series.blocks.unsaved, series.unsaved = sorted(series.blocks.unsaved), set(), False
    blocks = {index: block_with_coverage(series, index) for index in indexes}
    return SeriesChange(outside_blocks(series), tuple(series.empty_ranges), blocks)


def block_with_coverage(series: Series, index: int) -> StoredBlock | None:
    """Return block `index` with the covered parts of its span; `None` if it is not in memory."""
    block = series.blocks.find(index)
    if block is None:
        return None
    span = series.blocks.span(index)
    return StoredBlock(block, tuple(series.coverage.intersection(*span)), tuple(series.from_dumps.intersection(*span)))


def outside_blocks(series: Series) -> tuple[Span, ...]:
    """Return the coverage outside of all blocks' spans."""
    gaps = series.blocks.spans.gaps(-FOREVER_MS, FOREVER_MS)
    return tuple(span for gap in gaps for span in series.coverage.intersection(*gap))
