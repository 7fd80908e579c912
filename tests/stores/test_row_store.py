"""The disk store: what it promises."""

import random
from pathlib import Path

import pytest

from mdcache.candles.block import build_block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import SeriesFilter, SeriesOutline, StoredBlock
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.stores.block_codec import decode
from mdcache.stores.block_parts import MAX_APPENDED_ROWS
from tests.support.disk_row_store import (
    KEY,
    OTHER,
    WIDTH,
    OpenRowStore,
    row,
    same,
    series_change,
    stored_block,
)

pytestmark = pytest.mark.virtual


async def test_what_is_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path)
    first, second = stored_block(3, 100), stored_block(4, 7)
    await home.save(KEY, series_change(first, second))
    await home.save(OTHER, series_change(stored_block(9, 5)))
    await home.close()
    home = OpenRowStore(tmp_path)
    outline = await home.store.outline(KEY)
    assert outline == SeriesOutline(
        ((0, 10),), (EmptyRange(5, 10, 1_000, hole=True),), {3: first.coverage, 4: second.coverage}
    )
    found = await home.store.blocks(KEY, [3, 4, 5])
    assert found.keys() == {3, 4}
    assert same(found[3], first)
    assert same(found[4], second)
    assert list((await home.store.outline(OTHER)).blocks) == [9]
    await home.close()


async def test_all_blocks_are_listed_but_those_of_other_upstreams(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path)
    assert await home.store.block_indexes() == {}
    await home.save(KEY, series_change(stored_block(4, 7), stored_block(3, 100)))
    await home.save(OTHER, series_change(stored_block(9, 5)))
    found = await home.store.block_indexes()
    assert {key: sorted(indexes) for key, indexes in found.items()} == {KEY: [3, 4], OTHER: [9]}
    await home.close()
    home = OpenRowStore(tmp_path, url="https://b")
    assert await home.store.block_indexes() == {}
    await home.close()


async def test_a_reader_sees_what_waits(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path)
    old, new = stored_block(3, 10), stored_block(3, 11)
    await home.save(KEY, series_change(old, stored_block(4, 2)))
    home.store.save(KEY, series_change(new, gone=[4], bare=[(7, 9)]))
    outline = await home.store.outline(KEY)
    assert (outline.outside_blocks, outline.blocks) == (((7, 9),), {3: new.coverage})
    assert same((await home.store.blocks(KEY, [3]))[3], new)
    assert await home.store.blocks(KEY, [4]) == {}
    await home.close()
    home = OpenRowStore(tmp_path)
    assert (await home.store.outline(KEY)).blocks == {3: new.coverage}
    await home.close()


async def test_rows_that_are_added_do_not_rewrite_the_block(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path)
    bases = set()
    for count in range(300, 300 + 2 * MAX_APPENDED_ROWS):
        await home.save(KEY, series_change(stored_block(3, count)))
        assert same((await home.store.blocks(KEY, [3]))[3], stored_block(3, count))
        ((base,),) = home.file._tables.db.execute("SELECT payload FROM base").fetchall()
        bases.add(len(decode(3, base)))
    assert bases == {300, 300 + MAX_APPENDED_ROWS + 1}
    await home.save(KEY, series_change(stored_block(3, 310, close="2.50")))
    assert same((await home.store.blocks(KEY, [3]))[3], stored_block(3, 310, close="2.50"))
    await home.save(KEY, series_change(stored_block(3, 309, close="2.50")))
    assert same((await home.store.blocks(KEY, [3]))[3], stored_block(3, 309, close="2.50"))
    await home.close()


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (SeriesFilter(), set()),
        (SeriesFilter(market=Market.SPOT), {OTHER}),
        (SeriesFilter(subject="BTCUSDT", interval="3d"), {KEY}),
        (SeriesFilter(subject="NONE"), {KEY, OTHER}),
    ],
)
async def test_purge(tmp_path: Path, which: SeriesFilter, left: set[SeriesKey]) -> None:
    home = OpenRowStore(tmp_path)
    for key in (KEY, OTHER):
        await home.save(key, series_change(stored_block(3, 4)))
        home.store.save(key, series_change(stored_block(4, 4)))
    assert await home.store.purge(which) == 2 - len(left)
    await home.close()
    home = OpenRowStore(tmp_path)
    for key in (KEY, OTHER):
        outline = await home.store.outline(key)
        assert set(outline.blocks) == ({3, 4} if key in left else set())
        assert bool(outline.outside_blocks) == (key in left)
    await home.close()


async def test_each_upstream_has_its_own(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path, url="https://user:word@API.binance.com/")
    await home.save(KEY, series_change(stored_block(3, 4)))
    await home.close()
    assert b"word" not in (tmp_path / "candles.db").read_bytes()
    home = OpenRowStore(tmp_path, url="https://testnet.binance.vision")
    assert await home.store.outline(KEY) == SeriesOutline()
    assert await home.store.purge(SeriesFilter()) == 0
    await home.close()
    home = OpenRowStore(tmp_path, url="https://api.binance.com")
    assert (await home.store.outline(KEY)).blocks.keys() == {3}
    await home.close()


async def test_what_was_asked_for_longest_ago_goes_when_there_is_too_much(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path, mb=0.2)
    for index in range(60):
        rng = random.Random(index)
        opens = [index * WIDTH + 60_000 * n for n in range(1000)]
        rows = [row(t, volume=f"{rng.random():.8f}") for t in opens]
        await home.save(KEY, series_change(StoredBlock(build_block(index, rows), ((opens[0], opens[-1] + 1),))))
        home.store.touch(KEY, [0, 1])
        await home.clock.sleep(1.0)
        await home.store.flush()
        assert home.file.held_bytes <= 200_000
    left = (await home.store.outline(KEY)).blocks.keys()
    assert {0, 1, 59} <= left
    assert 2 not in left
    assert (await home.store.blocks(KEY, left)).keys() == left
    assert await home.store.blocks(KEY, [2]) == {}
    assert not home.store.trouble
    await home.close()
    assert (tmp_path / "candles.db").stat().st_size < 300_000
