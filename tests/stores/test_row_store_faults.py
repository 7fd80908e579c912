"""The disk store where the disk fails, is full or hangs: truth is kept, or nothing is."""

import asyncio
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.block import build_block
from mdcache.candles.persistence import SeriesOutline, StoredBlock
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stores.disk.schema import connect
from tests.support.disk_row_store import (
    KEY,
    OTHER,
    WIDTH,
    HangingExecutor,
    OpenRowStore,
    SqliteFault,
    row,
    same,
    series_change,
    stored_block,
)
from tests.support.examples import examples
from tests.support.virtual_time import run

pytestmark = pytest.mark.virtual


@pytest.mark.untraced
@pytest.mark.parametrize("message", ["database or disk is full", "disk I/O error", "attempt to write a readonly"])
@given(after=st.integers(0, 12), times=st.sampled_from([1, 2, 5, 1000]), seed=st.integers(0, 2**32))
@examples(10, 500)
def test_a_fault_anywhere_loses_no_truth(
    tmp_path_factory: pytest.TempPathFactory, message: str, after: int, times: int, seed: int
) -> None:
    """Whatever fails and whenever: what comes back is what was saved last, or nothing."""

    async def main() -> None:
        rng = random.Random(seed)
        fault = SqliteFault(message)
        home = OpenRowStore(tmp_path_factory.mktemp("disk"), fault.connect)
        last: dict[int, StoredBlock] = {}
        for step in range(8):
            if step == 3:
                fault.strike(after, times)
            block = stored_block(rng.randrange(3), rng.randrange(1, 90), close=rng.choice(["2.00", "2.50"]))
            last[block.block.index] = block
            home.store.save(KEY, series_change(block))
            await home.clock.sleep(rng.choice([0.0, 0.5, 3.0]))
            if rng.random() < 0.4:
                for index, found in (await home.store.blocks(KEY, [0, 1, 2])).items():
                    assert same(found, last[index])
            if rng.random() < 0.1 and not home.store.trouble:
                await home.store.outline(KEY)
        if fault.times:
            assert home.store.trouble == message
            assert [event.state for event in home.events_of(TierStateChanged)][-1] == "down"
        fault.strike(0, 0)
        await home.clock.sleep(130.0)
        assert not home.store.trouble
        assert home.store.status()["waiting_series"] == 0
        for index, found in (await home.store.blocks(KEY, [0, 1, 2])).items():
            assert same(found, last[index])
        failures = len(home.events_of(TierFailed))
        assert len(home.events_of(TierStateChanged)) <= 2 * failures
        await home.close()

    run(main())


async def test_a_series_that_could_not_be_opened_is_forgotten(tmp_path: Path) -> None:
    fault = SqliteFault("disk I/O error")
    home = OpenRowStore(tmp_path, fault.connect)
    await home.save(KEY, series_change(stored_block(3, 4), stored_block(4, 4)))
    fault.strike(0, 1)
    assert await home.store.outline(KEY) == SeriesOutline()
    await home.save(KEY, series_change(stored_block(4, 2), bare=()))
    await home.close()
    home = OpenRowStore(tmp_path)
    outline = await home.store.outline(KEY)
    assert (outline.outside_blocks, outline.blocks) == ((), {4: stored_block(4, 2).coverage})
    await home.close()


async def test_a_full_disk_is_reported_and_recovered_from(tmp_path: Path) -> None:
    """SQLite's own words where the file may not grow."""

    def small(path: Path) -> sqlite3.Connection:
        opened = connect(path)
        opened.execute("PRAGMA max_page_count = 30")
        return opened

    home = OpenRowStore(tmp_path, small)
    for index in range(60):
        home.store.save(
            KEY,
            series_change(
                StoredBlock(
                    build_block(index, [row(n, volume=f"{n * 7919 % 9973 / 7:.8f}") for n in range(1000)]), ((0, 1),)
                )
            ),
        )
    await home.clock.sleep(100.0)
    assert "full" in home.store.trouble
    assert home.store.status()["state"] == "down"
    home.file._tables.db.execute("PRAGMA max_page_count = 100000")
    await home.clock.sleep(100.0)
    assert not home.store.trouble
    assert [event.state for event in home.events_of(TierStateChanged)] == ["down", "ok"]
    assert len((await home.store.outline(KEY)).blocks) == 60
    await home.close()


async def test_a_file_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    """SQLite itself would go on in the removed one, and all of that would be gone with the process."""
    folder = tmp_path / "state"
    folder.mkdir()
    home = OpenRowStore(folder)
    await home.save(KEY, series_change(stored_block(3, 4)))
    shutil.rmtree(folder)
    await home.save(OTHER, series_change(stored_block(4, 4)))
    assert [(event.lost, "removed" in event.detail) for event in home.events_of(TierFailed)] == [(True, True)]
    assert not home.store.trouble
    assert await home.store.outline(KEY) == SeriesOutline()
    await home.close()
    home = OpenRowStore(folder)
    assert set((await home.store.outline(OTHER)).blocks) == {4}
    await home.close()


async def test_more_than_may_wait_is_forgotten_on_the_disk_too(tmp_path: Path) -> None:
    fault = SqliteFault("disk I/O error")
    home = OpenRowStore(tmp_path, fault.connect)
    await home.save(KEY, series_change(stored_block(3, 4)))
    await home.save(OTHER, series_change(stored_block(3, 4)))
    fault.strike(0, 10_000)
    text = b"[" + b"7" * 6_000 + b"]"  # of a thousand rows in each block: 6 MB
    home.store.save(KEY, series_change(stored_block(3, 5)))
    for index in range(20):
        first = index * WIDTH
        block = build_block(index, [(first + n, text) for n in range(1_000)])
        home.store.save(OTHER, series_change(StoredBlock(block, ((first, first + 1_000),))))
    assert int(str(home.store.status()["waiting_bytes"])) <= 64 << 20
    fault.strike(0, 0)
    await home.clock.sleep(130.0)
    assert (await home.store.outline(KEY)).blocks.keys() <= {3}
    found = await home.store.blocks(KEY, [3])
    assert all(same(each, stored_block(3, 5)) for each in found.values())
    await home.close()


async def test_a_disk_that_hangs_holds_up_one_answer_for_two_seconds(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path)
    await home.save(KEY, series_change(stored_block(3, 4)))
    thread = HangingExecutor()
    home.store._access._thread = thread
    thread.hangs = True
    began = home.clock.now()
    assert await home.store.blocks(KEY, [3]) == {}
    assert 1.9 < home.clock.now() - began < 2.1
    assert await home.store.blocks(KEY, [3]) == {}
    assert home.clock.now() - began < 2.1
    assert home.store.trouble
    thread.go_on()
    await asyncio.sleep(0.01)
    assert not home.store.trouble
    assert (await home.store.blocks(KEY, [3])).keys() == {3}
    await home.close()
