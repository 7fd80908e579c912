"""A disk store on a folder, what is saved in it, and disks that fail, wait and hang."""

import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from mdcache.candles.block import build_block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import SeriesChange, StoredBlock
from mdcache.events import Event, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.origin import origin
from mdcache.stores.disk.row_file import RowFile
from mdcache.stores.disk.row_store import DiskRowStore
from mdcache.stores.disk.schema import Connect, connect
from tests.support.virtual_daemon import InlineExecutor
from tests.support.virtual_time import VirtualClock

KEY = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")
OTHER = SeriesKey(Market.USDM, "continuousKlines", "BTCUSDT", "PERPETUAL", "3d")
WIDTH = 60_000_000


def row(open_ms: int, close: str = "2.00", volume: str = "5.0") -> tuple[int, bytes]:
    text = f'[{open_ms},"1.00","3.00","1.00","{close}","{volume}",{open_ms + 59_999},"9.0",4,"2.0","4.0","0"]'.encode()
    return open_ms, text


def stored_block(index: int, count: int, first: int = 0, close: str = "2.00") -> StoredBlock:
    opens = [index * WIDTH + 60_000 * n for n in range(first, first + count)]
    return StoredBlock(build_block(index, [row(t, close) for t in opens]), ((opens[0], opens[-1] + 1),))


def series_change(
    *blocks: StoredBlock, gone: Iterable[int] = (), bare: Iterable[tuple[int, int]] = ((0, 10),)
) -> SeriesChange:
    voids = (EmptyRange(5, 10, 1_000, hole=True),)
    return SeriesChange(tuple(bare), voids, {each.block.index: each for each in blocks} | dict.fromkeys(gone))


class OpenRowStore:
    """A store in a folder, and its events."""

    def __init__(self, folder: Path, connect: Connect = connect, *, url: str = "https://a", mb: float = 100.0) -> None:
        self.clock = VirtualClock()
        self.events: list[Event] = []
        origins = dict.fromkeys(Market, origin(url))
        self.path = folder / "candles.db"
        self.file = RowFile(self.path, origins, int(mb * 1_000_000), self.clock, connect)
        self.store = DiskRowStore(self.file, InlineExecutor(), self.clock, Events(self.events.append))

    async def save(self, key: SeriesKey, *changes: SeriesChange) -> None:
        for each in changes:
            self.store.save(key, each)
            await self.store.flush()

    def events_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def close(self) -> None:
        await self.store.aclose(5.0)


def same(one: StoredBlock | None, other: StoredBlock) -> bool:
    return one is not None and (one.block.text, one.block.open_times, one.block.row_ends, one.coverage) == (
        other.block.text,
        other.block.open_times,
        other.block.row_ends,
        other.coverage,
    )


class FaultyConnection:
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


class SqliteFault:
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
        return FaultyConnection(connect(path), self)


class HangingExecutor(InlineExecutor):
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
