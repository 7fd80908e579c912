"""Blocks that were not used for ten minutes are held compressed, and answers stay the same."""

import gc
import json
import sys
import tracemalloc
from pathlib import Path

import pytest

from mdcache.cache.idle_blocks import IdleBlocks
from mdcache.candles.block import Block, CompressedBlock, build_block
from mdcache.sim import SimConfig
from mdcache.stores import block_codec
from tests.support.virtual_daemon import InlineExecutor, VirtualDaemon
from tests.support.virtual_time import close_at_end

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
PLENTY = SimConfig(spot_limit=1_000_000)
MINUTE = 60_000
HOURS = Path(__file__).parent.parent / "fixtures" / "rows" / "BTCUSDT" / "1h"


def query(w: VirtualDaemon, days_ago: int, symbol: str = "BTCUSDT") -> str:
    start = w.clock.true_ms() // MINUTE * MINUTE - days_ago * 24 * 60 * MINUTE
    return f"symbol={symbol}&interval=1m&startTime={start}&endTime={start + 999 * MINUTE}&limit=1000"


def idle_blocks(w: VirtualDaemon) -> IdleBlocks:
    found = IdleBlocks(w.library, block_codec, InlineExecutor(), w.clock, w.bus)
    found.start()
    close_at_end(found.aclose)
    return found


def held(w: VirtualDaemon) -> list[Block | CompressedBlock]:
    return [block for series in w.library for block in series.blocks._blocks.values()]


def compressed(w: VirtualDaemon) -> int:
    return sum(isinstance(block, CompressedBlock) for block in held(w))


async def test_after_ten_minutes_a_block_is_compressed_and_a_question_does_not_notice() -> None:
    w = VirtualDaemon(PLENTY)
    idle_blocks(w)
    asked = query(w, 30)
    body = (await w.ask(SPOT, asked)).body
    full, blocks, calls = w.library.memory.held_bytes, len(held(w)), len(w.calls())
    await w.clock.sleep(580.0)
    assert compressed(w) == 0
    await w.clock.sleep(40.0)
    assert compressed(w) == blocks >= 1
    assert w.library.memory.held_bytes < full / 2  # a simulated row is less regular than a real one
    assert (await w.ask(SPOT, asked)).body == body
    assert (compressed(w), w.library.memory.held_bytes) == (0, full)
    assert len(w.calls()) == calls


async def test_what_compressing_freed_goes_back_to_the_system_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdcache.cache.idle_blocks._GIVEN_BACK_BYTES", 200_000)
    w, given = VirtualDaemon(PLENTY), list[int]()
    idle = IdleBlocks(w.library, block_codec, InlineExecutor(), w.clock, w.bus, lambda: given.append(1))
    idle.start()
    close_at_end(idle.aclose)
    await w.ask(SPOT, query(w, 30))  # a page frees less than that, two free more
    await w.clock.sleep(700.0)
    assert (compressed(w) >= 1, given) == (True, [])
    await w.ask(SPOT, query(w, 60))
    await w.clock.sleep(700.0)
    assert len(given) == 1


async def test_what_is_asked_for_stays_as_it_is() -> None:
    w = VirtualDaemon(PLENTY)
    idle_blocks(w)
    asked, other = query(w, 30), query(w, 60)
    await w.ask(SPOT, other)
    for _ in range(5):
        await w.ask(SPOT, asked)
        await w.clock.sleep(300.0)
    blocks = {block.index: block for block in held(w)}
    newest = max(blocks)
    assert isinstance(blocks[newest], Block)
    assert isinstance(blocks[min(blocks)], CompressedBlock)


async def test_bytes_are_those_of_what_is_held() -> None:
    w = VirtualDaemon(PLENTY)
    idle_blocks(w)
    for days in (30, 60, 90):
        await w.ask(SPOT, query(w, days))
    before = w.library.memory.held_bytes - sum(block.nbytes for block in held(w))
    await w.clock.sleep(700.0)
    assert compressed(w)
    assert w.library.memory.held_bytes - sum(block.nbytes for block in held(w)) == before
    await w.ask(SPOT, query(w, 60))
    assert w.library.memory.held_bytes - sum(block.nbytes for block in held(w)) == before
    for series in w.library:
        series.forget()
    assert w.library.memory.held_bytes == before


async def test_counting_rows_and_holes_decompresses_nothing() -> None:
    w = VirtualDaemon(PLENTY)
    idle_blocks(w)
    await w.ask(SPOT, query(w, 30))
    rows, holes = w.library.rows, [series.holes() for series in w.library]
    await w.clock.sleep(700.0)
    blocks = compressed(w)
    assert blocks
    assert (w.library.rows, [series.holes() for series in w.library]) == (rows, holes)
    assert compressed(w) == blocks


async def test_a_block_that_is_used_while_it_is_compressed_stays_as_it_is() -> None:
    w = VirtualDaemon(PLENTY)
    asked = query(w, 30)
    await w.ask(SPOT, asked)
    await w.clock.sleep(700.0)
    found = w.library.take_idle(w.clock.now() - 600.0)
    assert found is not None
    key, block = found
    await w.ask(SPOT, asked)
    w.library.compress(key, block, block_codec.encode(block), block_codec)
    assert compressed(w) == 0


def test_a_candle_takes_fewer_than_eighty_bytes() -> None:
    """Of real hours, with all the objects that hold them."""
    rows = [row for file in sorted(HOURS.glob("*.json")) for row in json.loads(file.read_text())]
    raw = [(row[0], json.dumps(row, separators=(",", ":")).encode()) for row in rows]
    block = build_block(7, raw)
    block_codec.encode(block)  # what the first use creates once is not counted
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        idle = CompressedBlock(block.index, block.open_times[:], block_codec.encode(block), block_codec)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(rows) < 80
    objects = sum(map(sys.getsizeof, (idle, idle.open_times, idle.payload)))
    assert objects <= idle.nbytes < 1.1 * objects
