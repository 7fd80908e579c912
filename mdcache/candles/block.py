"""Blocks: immutable runs of settled rows, aligned in time (docs/design.md#blocks), and all blocks of one series.

A block is its printed rows joined by commas, the offset at which each row ends, and the open times: about 12 bytes per
row beside the text. An answer joins a few slices of blocks; a merge rebuilds one block. A block that was not used
lately may be held compressed: it is decompressed when its rows are used, but not for its open times.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from operator import add, attrgetter
from typing import Protocol

from mdcache.candles.ranges import FOREVER_MS, RangeSet
from mdcache.exchange.rows import Row

_ROWS_PER_SPAN = 1000  # a block has at most 1,024 rows: off the grid there may be one or two more
_OVERHEAD_BYTES = 400  # the object, two arrays and the bytes' own headers, measured with sys.getsizeof
_open_ms = attrgetter("open_ms")
_COMPRESSED_OVERHEAD_BYTES = 300  # the same, with one array


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Settled rows of one aligned span: `text` is `row,row,row`; row i ends at `row_ends[i]` in it."""

    index: int
    open_times: "array[int]"
    row_ends: "array[int]"
    text: bytes

    def __len__(self) -> int:
        return len(self.open_times)

    @property
    def nbytes(self) -> int:
        """Return its approximate size in memory, in bytes."""
        return len(self.text) + 12 * len(self.open_times) + _OVERHEAD_BYTES

    def piece(self, i: int, j: int) -> bytes:
        """Return rows i..j-1 (j > i), joined by commas."""
        return self.text[self._start(i) : self.row_ends[j - 1]]

    def row(self, i: int) -> bytes:
        """Return row i as printed."""
        return self.text[self._start(i) : self.row_ends[i]]

    def rows(self, i: int, j: int) -> list[tuple[int, bytes]]:
        """Return (open time, printed row) of rows i..j-1."""
        found: list[tuple[int, bytes]] = []
        start = self._start(i)
        for open_ms, end in zip(self.open_times[i:j], self.row_ends[i:j], strict=True):
            found.append((open_ms, self.text[start:end]))
            start = end + 1
        return found

    def part(self, i: int, j: int) -> "Block":
        """Return rows i..j-1 as a block of their own; j > i."""
        start = self._start(i)
        ends = array("I", [end - start for end in self.row_ends[i:j]]) if start else self.row_ends[:j]
        return Block(self.index, self.open_times[i:j], ends, self.piece(i, j))

    def _start(self, i: int) -> int:
        return self.row_ends[i - 1] + 1 if i else 0


class BlockCodec(Protocol):
    """Compresses blocks; implemented by `stores/block_codec.py`."""

    def encode(self, block: Block) -> bytes:
        """Return the rows, compressed."""

    def decode(self, index: int, payload: bytes) -> Block:
        """Return block `index` from the `payload` that `encode` returned."""


@dataclass(frozen=True, slots=True, eq=False)
class CompressedBlock:
    """A block whose rows are held compressed."""

    index: int
    open_times: "array[int]"
    payload: bytes
    codec: BlockCodec

    def __len__(self) -> int:
        return len(self.open_times)

    @property
    def nbytes(self) -> int:
        """Its approximate size in memory, in bytes."""
        return len(self.payload) + 8 * len(self.open_times) + _COMPRESSED_OVERHEAD_BYTES

    def decompressed(self) -> Block:
        """Return the uncompressed block."""
        return self.codec.decode(self.index, self.payload)


HeldBlock = Block | CompressedBlock


def build_block(index: int, rows: Sequence[tuple[int, bytes]]) -> Block:
    """Build a block from (open time, printed row) pairs in rising order."""
    raws = [raw for _, raw in rows]
    return Block(index, array("q", [t for t, _ in rows]), _row_ends(raws, 0), b",".join(raws))


def _row_ends(raws: Sequence[bytes], start: int) -> "array[int]":
    """Return where each row ends in a text that has them from `start` on, joined by commas."""
    return array("I", map(add, accumulate(map(len, raws)), count(start)))


def _splice(old: Block, i: int, j: int, rows: Sequence[tuple[int, bytes]]) -> Block:
    """Return `old` with its rows i..j-1 replaced."""
    raws = [raw for _, raw in rows]
    pieces = ([old.piece(0, i)] if i else []) + raws
    pieces += [old.piece(j, len(old))] if j < len(old) else []
    ends = old.row_ends[:i]
    ends.extend(_row_ends(raws, ends[-1] + 1 if i else 0))
    if j < len(old):
        shift = (ends[-1] + 1 if ends else 0) - (old.row_ends[j - 1] + 1 if j else 0)
        ends.extend(array("I", [end + shift for end in old.row_ends[j:]]))
    opens = old.open_times[:i] + array("q", [t for t, _ in rows]) + old.open_times[j:]
    return Block(old.index, opens, ends, b",".join(pieces))


class SeriesBlocks:
    """The blocks of one series that are in memory. All spans are [start, end), in milliseconds.

    `on_change(old, new)` is called for each block that is added (`old` is `None`), replaced, compressed, decompressed
    or removed (`new` is `None`), so that memory can be accounted for. `spans`: those of all blocks. `unsaved`: indexes
    of blocks that are not saved yet.
    """

    __slots__ = ("_blocks", "_on_change", "_order", "spans", "unsaved", "width_ms")

    def __init__(self, length_ms: int, on_change: Callable[[HeldBlock | None, HeldBlock | None], None]) -> None:
        self.width_ms = length_ms * _ROWS_PER_SPAN
        self._blocks: dict[int, HeldBlock] = {}
        self._order: list[int] = []
        self._on_change = on_change
        self.spans = RangeSet()
        self.unsaved: set[int] = set()

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks.values())

    def __contains__(self, index: int) -> bool:
        return index in self._blocks

    def find(self, index: int) -> Block | None:
        """Return block `index`, or `None`."""
        return self._decompressed(index) if index in self._blocks else None

    def if_decompressed(self, index: int) -> Block | None:
        """Return block `index` if it is in memory and not compressed, else `None`."""
        held = self._blocks.get(index)
        return held if isinstance(held, Block) else None

    def indexes(self, start: int, end: int) -> list[int]:
        """Return the indexes of the blocks whose spans overlap [start, end), in rising order."""
        first, last = start // self.width_ms, (end - 1) // self.width_ms
        return self._order[bisect_left(self._order, first) : bisect_right(self._order, last)]

    def compress(self, block: Block, payload: bytes, codec: BlockCodec) -> None:
        """Replace `block` by the `payload` that `codec` made of it, unless it was replaced in the meantime."""
        if self._blocks.get(block.index) is block:
            self._set(block.index, CompressedBlock(block.index, block.open_times[:], payload, codec))

    def span(self, index: int) -> tuple[int, int]:
        """Return the aligned span of block `index`."""
        return index * self.width_ms, (index + 1) * self.width_ms

    def replace(self, start: int, end: int, rows: Sequence[Row]) -> None:
        """Replace the rows with `start` <= open time < `end` by `rows` (in rising order)."""
        by_index: dict[int, list[tuple[int, bytes]]] = {}
        at = 0
        while at < len(rows):
            index = rows[at].open_ms // self.width_ms
            after = bisect_left(rows, (index + 1) * self.width_ms, at, key=_open_ms)
            by_index[index] = [(row.open_ms, row.raw) for row in rows[at:after]]
            at = after
        for index in sorted({*self.indexes(start, end), *by_index}):
            self._replace_in_block(index, start, end, by_index.get(index, []))

    def drop(self, index: int) -> None:
        """Remove block `index` from memory only; nothing is marked to be saved."""
        self.unsaved.discard(index)
        self._set(index, None)

    def drop_all(self) -> None:
        """Drop all blocks; nothing is left to save."""
        for index in list(self._order):
            self._set(index, None)
        self.unsaved.clear()

    def restore(self, block: Block) -> None:
        """Add a block that was loaded from a store."""
        self._set(block.index, block)

    def oldest(self, start: int, end: int, limit: int) -> list[tuple[Block, int, int]]:
        """Return pieces (block, i, j) that make up the first `limit` rows in [start, end), in rising order."""
        pieces: list[tuple[Block, int, int]] = []
        for index in self.indexes(start, end):
            i, j = self._rows_between(index, start, end)
            j = min(j, i + limit)
            if i < j:
                pieces.append((self._decompressed(index), i, j))
                limit -= j - i
                if not limit:
                    break
        return pieces

    def newest(self, start: int, end: int, limit: int) -> list[tuple[Block, int, int]]:
        """Return pieces (block, i, j) that make up the last `limit` rows in [start, end), in rising order."""
        pieces: list[tuple[Block, int, int]] = []
        for index in reversed(self.indexes(start, end)):
            i, j = self._rows_between(index, start, end)
            i = max(i, j - limit)
            if i < j:
                pieces.append((self._decompressed(index), i, j))
                limit -= j - i
                if not limit:
                    break
        pieces.reverse()
        return pieces

    def printed_rows(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return (open time, printed row) of every row in [start, end)."""
        return [pair for block, i, j in self.oldest(start, end, FOREVER_MS) for pair in block.rows(i, j)]

    def count_repeated(self, rows: Sequence[Row], start: int, end: int) -> int:
        """Return how many rows there are in [start, end), if `rows` begins with exactly these; else 0."""
        at = 0
        for block, i, j in self.oldest(start, end, FOREVER_MS):
            after = at + j - i
            if block.piece(i, j) != b",".join([row.raw for row in rows[at:after]]):
                return 0
            at = after
        return at

    def first_open(self, start: int, end: int) -> int | None:
        """Return the open time of the first row in [start, end), or `None`."""
        for index in self.indexes(start, end):
            i, j = self._rows_between(index, start, end)
            if i < j:
                return self._blocks[index].open_times[i]
        return None

    def last_open(self, start: int, end: int) -> int | None:
        """Return the open time of the last row in [start, end), or `None`."""
        for index in reversed(self.indexes(start, end)):
            i, j = self._rows_between(index, start, end)
            if i < j:
                return self._blocks[index].open_times[j - 1]
        return None

    def count(self, start: int, end: int) -> int:
        """Return how many rows are in [start, end)."""
        spans = (self._rows_between(index, start, end) for index in self.indexes(start, end))
        return sum(j - i for i, j in spans)

    def _rows_between(self, index: int, start: int, end: int) -> tuple[int, int]:
        times = self._blocks[index].open_times
        return bisect_left(times, start), bisect_left(times, end)

    def _decompressed(self, index: int) -> Block:
        held = self._blocks[index]
        if isinstance(held, Block):
            return held
        block = held.decompressed()
        self._set(index, block)
        return block

    def _replace_in_block(self, index: int, start: int, end: int, rows: list[tuple[int, bytes]]) -> None:
        old = self.find(index)
        if old is None:
            if rows:
                self.unsaved.add(index)
                self._set(index, build_block(index, rows))
            return
        i, j = bisect_left(old.open_times, start), bisect_left(old.open_times, end)
        if old.rows(i, j) == rows:
            return
        new = _splice(old, i, j, rows)
        self.unsaved.add(index)
        self._set(index, new if len(new) else None)

    def _set(self, index: int, new: HeldBlock | None) -> None:
        old = self._blocks.pop(index, None)
        if new is None:
            if old is not None:
                self._order.remove(index)
                self.spans.remove(*self.span(index))
        else:
            self._blocks[index] = new
            if old is None:
                insort(self._order, index)
                self.spans.add(*self.span(index))
        if old is not None or new is not None:
            self._on_change(old, new)
