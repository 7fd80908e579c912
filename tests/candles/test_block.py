"""The blocks of a series against the plainest thing that could be right: a dict (docs/design.md#blocks)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.block import HeldBlock, SeriesBlocks
from mdcache.candles.ranges import FOREVER_MS
from mdcache.exchange.rows import Row
from mdcache.stores import block_codec
from tests.candles.test_ranges import make


def row(t: int, salt: int = 0) -> Row:
    return Row(t, t + 9, 1, f'[{t},"{"x" * (t * 7 % 5)}{salt}"]'.encode())


@given(seed=st.integers(0, 2**32))
def test_blocks_is_a_sorted_dict(seed: int) -> None:
    rng = random.Random(seed)
    held = held_bytes = 0

    def changed(old: HeldBlock | None, new: HeldBlock | None) -> None:
        nonlocal held, held_bytes
        held += (len(new) if new else 0) - (len(old) if old else 0)
        held_bytes += (new.nbytes if new else 0) - (old.nbytes if old else 0)

    blocks = SeriesBlocks(10, changed)
    truth: dict[int, bytes] = {}
    for step in range(30):
        start = rng.randrange(0, 50_000)
        end = start + rng.choice([1, 10, 500, 12_000])
        fresh = [row(t, step) for t in sorted({rng.randrange(start, end) for _ in range(rng.randrange(40))})]
        blocks.replace(start, end, fresh)
        truth = {t: raw for t, raw in truth.items() if not start <= t < end}
        truth |= {one.open_ms: one.raw for one in fresh}
        for index in blocks.indexes(0, 1 << 60):
            block = blocks.if_decompressed(index)
            if block is not None and rng.random() < 0.5:
                blocks.compress(block, block_codec.encode(block), block_codec)
        inside = [t for t in sorted(truth) if start <= t < end]
        assert (blocks.first_open(start, end), blocks.last_open(start, end)) == (
            (inside[0], inside[-1]) if inside else (None, None)
        )
        assert blocks.count(start, end) == len(inside)
        if rng.random() < 0.5:
            assert blocks.printed_rows(0, 1 << 60) == sorted(truth.items())
        lo, hi, limit = rng.randrange(60_000), rng.randrange(60_000), rng.randrange(1, 60)
        between = [(t, raw) for t, raw in sorted(truth.items()) if lo <= t < hi]
        for pieces, expected in (
            (blocks.oldest(lo, hi, limit), between[:limit]),
            (blocks.newest(lo, hi, limit), between[-limit:]),
        ):
            assert b",".join(b.piece(i, j) for b, i, j in pieces) == b",".join(raw for _, raw in expected)
        assert held == len(truth) == len(blocks)
        assert [*blocks.spans] == [*make(blocks.span(index) for index in blocks.indexes(0, 1 << 60))]
    sizes = [len(block) for index in blocks.indexes(0, FOREVER_MS) if (block := blocks.find(index)) is not None]
    assert max(sizes, default=0) <= 1_024
