"""Blocks: immutable runs of settled rows, aligned in time, and the shelf of one series' blocks.

A block is the printed rows joined by commas, where each one ends, and their open times: about 12 bytes a row
beside the text. An answer is a join of a few slices of blocks; a merge builds one block anew.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mdcache.exchange.rows import Row

BLOCK_ROWS = 1024
_ROWS_PER_SPAN = 1000  # a few under the bound: rows off the grid may bring one or two more
_OVERHEAD_BYTES = 400  # the object, two arrays and the bytes' own headers, measured with sys.getsizeof


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Settled rows of one aligned span: `text` is `row,row,row`; row i ends at `ends[i]` in it."""

    index: int
    open_times: "array[int]"
    row_ends: "array[int]"
    text: bytes

    def __len__(self) -> int:
        return len(self.open_times)

    @property
    def nbytes(self) -> int:
        """Memory it takes, in bytes, near enough."""
        return len(self.text) + 12 * len(self.open_times) + _OVERHEAD_BYTES

    def piece(self, i: int, j: int) -> bytes:
        """Rows i..j-1 joined by commas; j > i."""
        return self.text[self._start(i) : self.row_ends[j - 1]]

    def row(self, i: int) -> bytes:
        """Printed row i."""
        return self.text[self._start(i) : self.row_ends[i]]

    def _start(self, i: int) -> int:
        return self.row_ends[i - 1] + 1 if i else 0


def build_block(index: int, rows: Sequence[tuple[int, bytes]]) -> Block:
    """A block of (open time, printed row) pairs in rising order."""
    ends = array("I")
    at = -1
    for _, raw in rows:
        at += len(raw) + 1
        ends.append(at)
    return Block(index, array("q", [t for t, _ in rows]), ends, b",".join([raw for _, raw in rows]))


def _splice(old: Block, i: int, j: int, rows: Sequence[tuple[int, bytes]]) -> Block:
    """`old` with its rows i..j-1 replaced."""
    pieces = ([old.piece(0, i)] if i else []) + [raw for _, raw in rows]
    pieces += [old.piece(j, len(old))] if j < len(old) else []
    ends = old.row_ends[:i]
    at = ends[-1] if i else -1
    for _, raw in rows:
        at += len(raw) + 1
        ends.append(at)
    if j < len(old):
        shift = at + 1 - (old.row_ends[j - 1] + 1 if j else 0)
        ends.extend(array("I", [end + shift for end in old.row_ends[j:]]))
    opens = old.open_times[:i] + array("q", [t for t, _ in rows]) + old.open_times[j:]
    return Block(old.index, opens, ends, b",".join(pieces))


class SeriesBlocks:
    """The blocks of one series, by aligned span; all spans are [start, end) in milliseconds.

    `changed` is told of each block that came (`old` None), was replaced, or went (`new` None), so that memory
    can keep account. `unsaved` collects the indexes of blocks whose rows changed, for a store to keep.
    """

    __slots__ = ("_blocks", "_on_change", "_order", "unsaved", "width_ms")

    def __init__(self, length_ms: int, on_change: Callable[[Block | None, Block | None], None]) -> None:
        self.width_ms = length_ms * _ROWS_PER_SPAN
        self._blocks: dict[int, Block] = {}
        self._order: list[int] = []
        self._on_change = on_change
        self.unsaved: set[int] = set()

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks.values())

    def in_order(self) -> Iterator[Block]:
        """All blocks in rising order."""
        return (self._blocks[index] for index in self._order)

    def find(self, index: int) -> Block | None:
        """Block `index`, if there is one."""
        return self._blocks.get(index)

    def indexes(self, start: int, end: int) -> list[int]:
        """Indexes of the blocks whose spans touch [start, end), in rising order."""
        return self._order[self._first_at(start) : self._end_at(end)]

    def span(self, index: int) -> tuple[int, int]:
        """The aligned span of block `index`."""
        return index * self.width_ms, (index + 1) * self.width_ms

    def replace(self, start: int, end: int, rows: Sequence[Row]) -> None:
        """From now on the rows with `start` <= open time < `end` are exactly `rows` (rising order)."""
        by_index: dict[int, list[tuple[int, bytes]]] = {}
        for row in rows:
            by_index.setdefault(row.open_ms // self.width_ms, []).append((row.open_ms, row.raw))
        held = self._order[self._first_at(start) : self._end_at(end)]
        for index in sorted({*held, *by_index}):
            self._replace_in_block(index, start, end, by_index.get(index, []))

    def drop(self, index: int) -> None:
        """Give block `index` up; that is no change to save."""
        self.unsaved.discard(index)
        self._set(index, None)

    def restore(self, block: Block) -> None:
        """Take a saved block back."""
        self._set(block.index, block)

    def oldest(self, start: int, end: int, limit: int) -> list[tuple[Block, int, int]]:
        """Pieces (block, i, j) of the first `limit` rows in [start, end), in rising order."""
        pieces: list[tuple[Block, int, int]] = []
        for index in self._order[self._first_at(start) : self._end_at(end)]:
            block = self._blocks[index]
            i = bisect_left(block.open_times, start)
            j = min(bisect_left(block.open_times, end), i + limit)
            if i < j:
                pieces.append((block, i, j))
                limit -= j - i
                if not limit:
                    break
        return pieces

    def newest(self, start: int, end: int, limit: int) -> list[tuple[Block, int, int]]:
        """Pieces (block, i, j) of the last `limit` rows in [start, end), in rising order."""
        pieces: list[tuple[Block, int, int]] = []
        for index in reversed(self._order[self._first_at(start) : self._end_at(end)]):
            block = self._blocks[index]
            j = bisect_left(block.open_times, end)
            i = max(bisect_left(block.open_times, start), j - limit)
            if i < j:
                pieces.append((block, i, j))
                limit -= j - i
                if not limit:
                    break
        pieces.reverse()
        return pieces

    def printed_rows(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """(open time, printed row) of every row in [start, end)."""
        return [
            (block.open_times[n], block.row(n)) for block, i, j in self.oldest(start, end, 1 << 62) for n in range(i, j)
        ]

    def first_open(self, start: int, end: int) -> int | None:
        """Open time of the first row in [start, end)."""
        pieces = self.oldest(start, end, 1)
        return pieces[0][0].open_times[pieces[0][1]] if pieces else None

    def last_open(self, start: int, end: int) -> int | None:
        """Open time of the last row in [start, end)."""
        pieces = self.newest(start, end, 1)
        return pieces[0][0].open_times[pieces[0][1]] if pieces else None

    def _first_at(self, start: int) -> int:
        return bisect_left(self._order, start // self.width_ms)

    def _end_at(self, end: int) -> int:
        return bisect_right(self._order, (end - 1) // self.width_ms)

    def _replace_in_block(self, index: int, start: int, end: int, rows: list[tuple[int, bytes]]) -> None:
        old = self._blocks.get(index)
        if old is None:
            if rows:
                self.unsaved.add(index)
                self._set(index, build_block(index, rows))
            return
        i, j = bisect_left(old.open_times, start), bisect_left(old.open_times, end)
        if [(old.open_times[n], old.row(n)) for n in range(i, j)] == rows:
            return
        new = _splice(old, i, j, rows)
        self.unsaved.add(index)
        self._set(index, new if len(new) else None)

    def _set(self, index: int, new: Block | None) -> None:
        old = self._blocks.pop(index, None)
        if new is None:
            if old is not None:
                self._order.remove(index)
        else:
            self._blocks[index] = new
            if old is None:
                insort(self._order, index)
        if old is not None or new is not None:
            self._on_change(old, new)
