"""The disk store's file: torn, of another program or version, or none at all."""

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.persistence import SeriesFilter, SeriesOutline
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stores.disk.schema import VERSION
from tests.support.disk_row_store import KEY, OTHER, OpenRowStore, same, series_change, stored_block
from tests.support.examples import examples
from tests.support.virtual_time import run

pytestmark = pytest.mark.virtual


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(15, 500)
def test_torn_pages_never_show_a_wrong_row(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Bytes of the file change, pages are swapped or cut off: what is given is what was saved, or nothing is."""

    async def main() -> None:
        rng = random.Random(seed)
        folder = tmp_path_factory.mktemp("disk")
        home = OpenRowStore(folder)
        saved = {index: stored_block(index, rng.randrange(1, 400)) for index in range(6)}
        await home.save(KEY, series_change(*saved.values()))
        await home.save(OTHER, series_change(*(stored_block(index, 5, close="2.50") for index in range(6))))
        await home.close()
        damage(home.path, rng)
        home = OpenRowStore(folder)
        outline = await home.store.outline(KEY)
        assert set(outline.outside_blocks) <= {(0, 10)}
        for index, known in outline.blocks.items():
            assert known == saved[index].coverage
        for index, found in (await home.store.blocks(KEY, range(6))).items():
            assert same(found, saved[index])
        lost = set(saved) - set(await home.store.blocks(KEY, range(6)))
        assert not lost or home.events_of(TierFailed) or not outline.blocks or lost.isdisjoint(outline.blocks)
        anew = None
        for _ in range(4):  # it continues after any damage; each damage that is found drops what is stored, once
            await home.save(KEY, series_change(stored_block(7, 3)))
            await home.clock.sleep(5.0)
            anew = (await home.store.blocks(KEY, [7])).get(7)
            if home.store.trouble.endswith(("left as it is", "unsupported file format")):  # damage in the bytes
                return  # that identify the file
        assert not home.store.trouble
        assert same(anew, stored_block(7, 3))
        await home.close()

    run(main())


def damage(path: Path, rng: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    page = 4096
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(raw))
        match rng.randrange(4):
            case 0:
                raw[at] ^= rng.randrange(1, 256)
            case 1:
                raw[at : at + 512] = bytes(len(raw[at : at + 512]))
            case 2:
                start, other = (rng.randrange(len(raw) // page or 1) * page for _ in range(2))
                raw[start : start + page], raw[other : other + page] = (
                    raw[other : other + page],
                    raw[start : start + page],
                )
            case _:
                raw[at:] = b""
                raw = raw or bytearray(b"x")
    path.write_bytes(raw)


@pytest.mark.parametrize("content", [b"", b"no database at all", b"x" * 100_000])
async def test_a_file_that_is_none_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "candles.db").write_bytes(content)
    home = OpenRowStore(tmp_path)
    assert await home.store.outline(KEY) == SeriesOutline()
    await home.save(KEY, series_change(stored_block(3, 4)))
    await home.clock.sleep(3.0)
    assert (await home.store.blocks(KEY, [3])).keys() == {3}
    assert not home.store.trouble
    if content:
        assert (tmp_path / "candles.db.broken").read_bytes() == content
    await home.close()


async def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    home = OpenRowStore(tmp_path)
    await home.save(KEY, series_change(stored_block(3, 4)))
    home.file._tables.db.execute(f"PRAGMA user_version = {VERSION + 1}")
    await home.close()
    before = home.path.read_bytes()
    home = OpenRowStore(tmp_path)
    assert await home.store.outline(KEY) == SeriesOutline()
    await home.save(KEY, series_change(stored_block(3, 9)))
    await home.clock.sleep(100.0)
    assert await home.store.purge(SeriesFilter()) == 0
    assert f"version {VERSION + 1}" in home.store.trouble
    assert len(home.events_of(TierStateChanged)) == 1
    await home.close()
    assert home.path.read_bytes() == before


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "candles.db") as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
        foreign.execute("PRAGMA user_version = 1")
    foreign.close()
    home = OpenRowStore(tmp_path)
    assert await home.store.outline(KEY) == SeriesOutline()
    assert "another program" in home.store.trouble
    await home.close()
