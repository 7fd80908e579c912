"""The disk store: what it promises, and what it does when the disk does not."""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcache.candles.atrest import Change, Kept, Outline, Which
from mdcache.candles.block import build
from mdcache.candles.voids import Void
from mdcache.events import Event, Events, TierFailed, TierMoved
from mdcache.exchange.markets import Market
from mdcache.exchange.questions import SeriesKey
from mdcache.stores.codec import COLUMNS, TEXT
from mdcache.stores.disk import DiskStore, origin
from mdcache.stores.places import YOUNG_ROWS
from mdcache.stores.schema import MIGRATIONS, VERSION, Connect, connect
from mdcache.stores.sqlite import File
from tests.world.loop import FakeClock, run
from tests.world.world import Inline

KEY = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")
OTHER = SeriesKey(Market.USDM, "continuousKlines", "BTCUSDT", "PERPETUAL", "3d")
WIDTH = 60_000_000


def row(open_ms: int, close: str = "2.00", volume: str = "5.0") -> tuple[int, bytes]:
    text = f'[{open_ms},"1.00","3.00","1.00","{close}","{volume}",{open_ms + 59_999},"9.0",4,"2.0","4.0","0"]'.encode()
    return open_ms, text


def kept(index: int, count: int, first: int = 0, close: str = "2.00") -> Kept:
    opens = [index * WIDTH + 60_000 * n for n in range(first, first + count)]
    return Kept(build(index, [row(t, close) for t in opens]), ((opens[0], opens[-1] + 1),))


def change(*blocks: Kept, gone: Iterable[int] = (), bare: Iterable[tuple[int, int]] = ((0, 10),)) -> Change:
    voids = (Void(5, 10, 1_000, hole=True),)
    return Change(tuple(bare), voids, {each.block.index: each for each in blocks} | dict.fromkeys(gone))


class Home:
    """A store on a folder, and what it tells."""

    def __init__(self, folder: Path, connect: Connect = connect, *, url: str = "https://a", mb: float = 100.0) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        origins = dict.fromkeys(Market, origin(url))
        self.path = folder / "candles.db"
        self.file = File(self.path, origins, int(mb * 1_000_000), self.clock, connect)
        self.store = DiskStore(self.file, Inline(), self.clock, Events(self.events.append))

    async def save(self, key: SeriesKey, *changes: Change) -> None:
        for each in changes:
            self.store.save(key, each)
            await self.store.flush()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def close(self) -> None:
        await self.store.aclose(5.0)


def same(one: Kept | None, other: Kept) -> bool:
    return one is not None and (one.block.text, one.block.opens, one.block.ends, one.known) == (
        other.block.text,
        other.block.opens,
        other.block.ends,
        other.known,
    )


def story(body: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    """A test that runs in a world's time."""

    def test(tmp_path: Path) -> None:
        async def main() -> None:
            await body(tmp_path)

        run(main())

    test.__name__ = body.__name__
    return test


# ------------------------------------------------------------------------------------------ contract


@story
async def test_what_is_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = kept(3, 100), kept(4, 7)
    await home.save(KEY, change(first, second))
    await home.save(OTHER, change(kept(9, 5)))
    await home.close()
    home = Home(tmp_path)
    outline = await home.store.outline(KEY)
    assert outline == Outline(((0, 10),), (Void(5, 10, 1_000, hole=True),), {3: first.known, 4: second.known})
    found = await home.store.blocks(KEY, [3, 4, 5])
    assert found.keys() == {3, 4}
    assert same(found[3], first)
    assert same(found[4], second)
    assert list((await home.store.outline(OTHER)).blocks) == [9]
    await home.close()


@story
async def test_what_waits_is_seen_by_who_reads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    old, new = kept(3, 10), kept(3, 11)
    await home.save(KEY, change(old, kept(4, 2)))
    home.store.save(KEY, change(new, gone=[4], bare=[(7, 9)]))
    outline = await home.store.outline(KEY)
    assert (outline.bare, outline.blocks) == (((7, 9),), {3: new.known})
    assert same((await home.store.blocks(KEY, [3]))[3], new)
    assert await home.store.blocks(KEY, [4]) == {}
    await home.close()
    home = Home(tmp_path)
    assert (await home.store.outline(KEY)).blocks == {3: new.known}
    await home.close()


@story
async def test_rows_that_are_added_do_not_rewrite_the_block(tmp_path: Path) -> None:
    home = Home(tmp_path)
    bases = set()
    for count in range(300, 300 + 2 * YOUNG_ROWS):
        await home.save(KEY, change(kept(3, count)))
        assert same((await home.store.blocks(KEY, [3]))[3], kept(3, count))
        ((base,),) = home.file._db.execute("SELECT base_rows FROM span").fetchall()
        bases.add(base)
    assert bases == {300, 300 + YOUNG_ROWS + 1}
    await home.save(KEY, change(kept(3, 310, close="2.50")))
    assert same((await home.store.blocks(KEY, [3]))[3], kept(3, 310, close="2.50"))
    await home.save(KEY, change(kept(3, 309, close="2.50")))
    assert same((await home.store.blocks(KEY, [3]))[3], kept(3, 309, close="2.50"))
    await home.close()


@story
async def test_what_is_written_quickly_is_packed_when_nothing_waits(tmp_path: Path) -> None:
    home = Home(tmp_path)
    thread = Held()
    home.store._thread = thread
    saved = {index: kept(index, 1000) for index in range(4)}
    for key in (KEY, OTHER):
        home.store.save(key, change(*saved.values()))
    await asyncio.sleep(0)
    thread.go_on(1)
    await home.store.flush()
    query = "SELECT DISTINCT substr(payload, 1, 1), sum(length(payload)) FROM base GROUP BY 1"
    ((form, loose_bytes),) = home.file._db.execute(query).fetchall()
    assert form == TEXT
    home.store.save(KEY, change(kept(3, 7)))  # and is not waited for by what comes meanwhile
    await asyncio.sleep(0)
    assert thread.names() == ["pack"]
    thread.go_on(1)
    await asyncio.sleep(0.01)
    assert thread.names() == ["write"]
    thread.free()
    await home.clock.sleep(1.0)
    assert not home.file.loose
    assert home.file.held_bytes == home.file._used_bytes()
    ((form, packed_bytes),) = home.file._db.execute(query).fetchall()
    assert form == COLUMNS
    assert packed_bytes < 0.8 * loose_bytes
    await home.close()
    home = Home(tmp_path)
    found = await home.store.blocks(OTHER, saved)
    assert all(same(found[index], saved[index]) for index in saved)
    assert same((await home.store.blocks(KEY, [3]))[3], kept(3, 7))
    await home.close()


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (Which(), set()),
        (Which(market=Market.SPOT), {OTHER}),
        (Which(subject="BTCUSDT", interval="3d"), {KEY}),
        (Which(subject="NONE"), {KEY, OTHER}),
    ],
)
def test_purge(tmp_path: Path, which: Which, left: set[SeriesKey]) -> None:
    async def main() -> None:
        home = Home(tmp_path)
        for key in (KEY, OTHER):
            await home.save(key, change(kept(3, 4)))
            home.store.save(key, change(kept(4, 4)))
        assert await home.store.purge(which) == 2 - len(left)
        await home.close()
        home = Home(tmp_path)
        for key in (KEY, OTHER):
            outline = await home.store.outline(key)
            assert set(outline.blocks) == ({3, 4} if key in left else set())
            assert bool(outline.bare) == (key in left)
        await home.close()

    run(main())


@story
async def test_each_upstream_has_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path, url="https://user:word@API.binance.com/")
    await home.save(KEY, change(kept(3, 4)))
    await home.close()
    assert b"word" not in (tmp_path / "candles.db").read_bytes()
    home = Home(tmp_path, url="https://testnet.binance.vision")
    assert await home.store.outline(KEY) == Outline()
    assert await home.store.purge(Which()) == 0
    await home.close()
    home = Home(tmp_path, url="https://api.binance.com")
    assert (await home.store.outline(KEY)).blocks.keys() == {3}
    await home.close()


@story
async def test_what_was_asked_for_longest_ago_goes_when_there_is_too_much(tmp_path: Path) -> None:
    home = Home(tmp_path, mb=0.2)
    for index in range(60):
        rng = random.Random(index)
        opens = [index * WIDTH + 60_000 * n for n in range(1000)]
        rows = [row(t, volume=f"{rng.random():.8f}") for t in opens]
        await home.save(KEY, change(Kept(build(index, rows), ((opens[0], opens[-1] + 1),))))
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


# -------------------------------------------------------------------------------------------- faults


class Faulty:
    """A connection whose statements fail where `fails` says so, as SQLite's do."""

    def __init__(self, inner: sqlite3.Connection, fails: Callable[[str], str]) -> None:
        self._inner = inner
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, query: str, *more: Any) -> Any:
        if message := self._fails(query):
            raise sqlite3.OperationalError(message)
        return self._inner.execute(query, *more)


class Fault:
    """Says when statements fail: after `after` of them, for `times`."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.after = self.times = 0

    def strike(self, after: int, times: int) -> None:
        self.after, self.times = after, times

    def __call__(self, query: str) -> str:
        if query == "ROLLBACK" or not self.times:
            return ""
        if self.after:
            self.after -= 1
            return ""
        self.times -= 1
        return self.message

    def connect(self, path: Path) -> Any:
        return Faulty(connect(path), self)


@pytest.mark.parametrize("message", ["database or disk is full", "disk I/O error", "attempt to write a readonly"])
@given(after=st.integers(0, 12), times=st.sampled_from([1, 2, 5, 1000]), seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_a_fault_anywhere_loses_no_truth(
    tmp_path_factory: pytest.TempPathFactory, message: str, after: int, times: int, seed: int
) -> None:
    """Whatever fails and whenever: what comes back is what was saved last, or nothing."""

    async def main() -> None:
        rng = random.Random(seed)
        fault = Fault(message)
        home = Home(tmp_path_factory.mktemp("disk"), fault.connect)
        last: dict[int, Kept] = {}
        for step in range(8):
            if step == 3:
                fault.strike(after, times)
            block = kept(rng.randrange(3), rng.randrange(1, 90), close=rng.choice(["2.00", "2.50"]))
            last[block.block.index] = block
            home.store.save(KEY, change(block))
            await home.clock.sleep(rng.choice([0.0, 0.5, 3.0]))
            if rng.random() < 0.4:
                for index, found in (await home.store.blocks(KEY, [0, 1, 2])).items():
                    assert same(found, last[index])
            if rng.random() < 0.1 and not home.store.trouble:
                await home.store.outline(KEY)
        if fault.times:
            assert home.store.trouble == message
            assert [event.state for event in home.of(TierMoved)][-1] == "down"
        fault.strike(0, 0)
        await home.clock.sleep(130.0)
        assert not home.store.trouble
        assert home.store.status()["waiting_series"] == 0
        for index, found in (await home.store.blocks(KEY, [0, 1, 2])).items():
            assert same(found, last[index])
        failures = len(home.of(TierFailed))
        assert len(home.of(TierMoved)) <= 2 * failures
        await home.close()

    run(main())


@story
async def test_a_series_that_could_not_be_opened_is_forgotten(tmp_path: Path) -> None:
    fault = Fault("disk I/O error")
    home = Home(tmp_path, fault.connect)
    await home.save(KEY, change(kept(3, 4), kept(4, 4)))
    fault.strike(0, 1)
    assert await home.store.outline(KEY) == Outline()
    await home.save(KEY, change(kept(4, 2), bare=()))
    await home.close()
    home = Home(tmp_path)
    outline = await home.store.outline(KEY)
    assert (outline.bare, outline.blocks) == ((), {4: kept(4, 2).known})
    await home.close()


@story
async def test_a_full_disk_is_told_and_got_over(tmp_path: Path) -> None:
    """SQLite's own words where the file may not grow."""

    def small(path: Path) -> sqlite3.Connection:
        opened = connect(path)
        opened.execute("PRAGMA max_page_count = 30")
        return opened

    home = Home(tmp_path, small)
    for index in range(20):
        home.store.save(
            KEY,
            change(Kept(build(index, [row(n, volume=f"{n * 7919 % 9973 / 7:.8f}") for n in range(1000)]), ((0, 1),))),
        )
    await home.clock.sleep(100.0)
    assert "full" in home.store.trouble
    assert home.store.status()["state"] == "down"
    home.file._db.execute("PRAGMA max_page_count = 100000")
    await home.clock.sleep(100.0)
    assert not home.store.trouble
    assert [event.state for event in home.of(TierMoved)] == ["down", "ok"]
    assert len((await home.store.outline(KEY)).blocks) == 20
    await home.close()


@story
async def test_more_than_may_wait_is_forgotten_on_the_disk_too(tmp_path: Path) -> None:
    fault = Fault("disk I/O error")
    home = Home(tmp_path, fault.connect)
    await home.save(KEY, change(kept(3, 4)))
    await home.save(OTHER, change(kept(3, 4)))
    fault.strike(0, 10_000)
    text = b"[" + b"7" * 6_000_000 + b"]"
    home.store.save(KEY, change(kept(3, 5)))
    for index in range(20):
        home.store.save(
            OTHER, change(Kept(build(index, [(index * WIDTH, text)]), ((index * WIDTH, index * WIDTH + 1),)))
        )
    assert int(str(home.store.status()["waiting_bytes"])) <= 64 << 20
    fault.strike(0, 0)
    await home.clock.sleep(130.0)
    assert (await home.store.outline(KEY)).blocks.keys() <= {3}
    found = await home.store.blocks(KEY, [3])
    assert all(same(each, kept(3, 5)) for each in found.values())
    await home.close()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150)
def test_torn_pages_never_show_a_wrong_row(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Bytes of the file change, pages are swapped or cut off: what is given is what was saved, or nothing is."""

    async def main() -> None:
        rng = random.Random(seed)
        folder = tmp_path_factory.mktemp("disk")
        home = Home(folder)
        saved = {index: kept(index, rng.randrange(1, 400)) for index in range(6)}
        await home.save(KEY, change(*saved.values()))
        await home.save(OTHER, change(*(kept(index, 5, close="2.50") for index in range(6))))
        await home.close()
        damage(home.path, rng)
        home = Home(folder)
        outline = await home.store.outline(KEY)
        assert set(outline.bare) <= {(0, 10)}
        for index, known in outline.blocks.items():
            assert known == saved[index].known
        for index, found in (await home.store.blocks(KEY, range(6))).items():
            assert same(found, saved[index])
        lost = set(saved) - set(await home.store.blocks(KEY, range(6)))
        assert not lost or home.of(TierFailed) or not outline.blocks or lost.isdisjoint(outline.blocks)
        anew = None
        for _ in range(4):  # whatever it was, it goes on; each damage that is met costs what rests, once
            await home.save(KEY, change(kept(7, 3)))
            await home.clock.sleep(5.0)
            anew = (await home.store.blocks(KEY, [7])).get(7)
            if home.store.trouble.endswith(("left as it is", "unsupported file format")):  # the bytes that tell whose
                return  # it is, and of which SQLite
        assert not home.store.trouble
        assert same(anew, kept(7, 3))
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
def test_a_file_that_is_none_is_set_aside(tmp_path: Path, content: bytes) -> None:
    async def main() -> None:
        (tmp_path / "candles.db").write_bytes(content)
        home = Home(tmp_path)
        assert await home.store.outline(KEY) == Outline()
        await home.save(KEY, change(kept(3, 4)))
        await home.clock.sleep(3.0)
        assert (await home.store.blocks(KEY, [3])).keys() == {3}
        assert not home.store.trouble
        if content:
            assert (tmp_path / "candles.db.broken").read_bytes() == content
        await home.close()

    run(main())


@story
async def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    await home.save(KEY, change(kept(3, 4)))
    home.file._db.execute(f"PRAGMA user_version = {VERSION + 1}")
    await home.close()
    before = home.path.read_bytes()
    home = Home(tmp_path)
    assert await home.store.outline(KEY) == Outline()
    await home.save(KEY, change(kept(3, 9)))
    await home.clock.sleep(100.0)
    assert await home.store.purge(Which()) == 0
    assert f"version {VERSION + 1}" in home.store.trouble
    assert len(home.of(TierMoved)) == 1
    await home.close()
    assert home.path.read_bytes() == before


@story
async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "candles.db") as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
        foreign.execute("PRAGMA user_version = 1")
    foreign.close()
    home = Home(tmp_path)
    assert await home.store.outline(KEY) == Outline()
    assert "another program" in home.store.trouble
    await home.close()


def test_the_version_is_that_of_the_last_migration() -> None:
    assert len(MIGRATIONS) == VERSION


class Held(Inline):
    """A thread whose jobs wait until they are let go."""

    def __init__(self) -> None:
        self.queue: list[tuple[Any, Any]] | None = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self.queue is None:
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        self.queue.append((future, fn))
        return future

    def names(self) -> list[str]:
        return [job.args[0].func.__name__ for _, job in self.queue or []]

    def go_on(self, count: int) -> None:
        for _ in range(count):
            future, job = (self.queue or []).pop(0)
            future.set_result(job())

    def free(self) -> None:
        self.go_on(len(self.queue or []))
        self.queue = None


class Hanging(Inline):
    """A disk that answers nothing while `hangs`."""

    def __init__(self) -> None:
        self.hangs = False
        self.queue: list[tuple[Any, Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not self.hangs:
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        self.queue.append((future, lambda: fn(*args, **kwargs)))
        return future

    def go_on(self) -> None:
        self.hangs = False
        for future, call in self.queue:
            future.set_result(call())
        self.queue.clear()


@story
async def test_a_disk_that_hangs_holds_up_one_answer_for_two_seconds(tmp_path: Path) -> None:
    home = Home(tmp_path)
    await home.save(KEY, change(kept(3, 4)))
    thread = Hanging()
    home.store._thread = thread
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
