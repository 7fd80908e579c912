"""Fetches of snapshots: one read of one question, shared by all who wait for it (6.3).

A fetch owns its task; who waits shields it. It queues with the best lane and the latest deadline of its waiters.
"""

import asyncio
import copy
from collections import OrderedDict
from typing import Protocol

import msgspec

from mdcache.cache.copying import Copying
from mdcache.cache.flights import improve
from mdcache.cache.landing import landed
from mdcache.candles.commons import Lease
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, BrokenBody, MdcacheError, Refusal
from mdcache.events import Collapsed, Events, Failed
from mdcache.exchange.limits import request_bucket
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import Snapshot
from mdcache.upstream.copies import Copy
from mdcache.upstream.governor import Governor, Lane, Reply, Turn, Wire

MAX_BODY_BYTES = 16 << 20  # the longest list, spot's ticker/24hr, takes 2 MB
_ERROR_BELIEVED_S = 1.0  # 6.3.3
_MOST_FAILED = 4_096

_json = msgspec.json.Decoder(msgspec.Raw)


class Shelf(Protocol):
    """Where bodies are kept here."""

    def held_ms(self, snapshot: Snapshot) -> int:
        """As-of of the body that is held; -1 for none."""
        ...

    def life_s(self, snapshot: Snapshot) -> float:
        """How long a body may be shown at all."""
        ...

    async def keep(self, fetch: "Fetch", body: bytes, as_of_ms: int) -> None:
        """Keep what it brought, also where nobody waits any more."""
        ...


class Fetch:
    """The governor's `Read` of one snapshot, and what those who share it know of it.

    `for_parts`: it is a list, and somebody wants an element of it. `brought`: body and as-of, once it landed.
    `spared`: another replica had read it, and nothing was sent; the rest is as in `copying.Copied`.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        turn: Turn,
        reason: str,
        governor: Governor,
        clock: Clock,
        shelf: Shelf,
        floor_ms: int,
    ) -> None:
        self.snapshot = snapshot
        self.turn = turn
        self.reason = reason
        self.market: Market = snapshot.market
        self.endpoint = snapshot.endpoint.tail
        self.sent: Instant | None = None
        self.sealed_at_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.for_parts = False
        self.brought: tuple[bytes, int] | None = None
        self.floor_ms = floor_ms
        self.held_ms = shelf.held_ms(snapshot)
        self.life_s = shelf.life_s(snapshot)
        self.spared = False
        self.waited = False
        self.lease: Lease | None = None
        self._governor = governor
        self._clock = clock
        self._shelf = shelf

    @property
    def name(self) -> str:
        """The question in its one form."""
        return str(self.snapshot)

    async def adopt(self, copy: Copy) -> None:
        """Keep what another replica read, if it is what was asked for."""
        check(self.snapshot, copy.body)
        await self.keep(copy.body, copy.as_of_ms)

    async def keep(self, body: bytes, as_of_ms: int) -> None:
        """Have it kept, and shown to who waits."""
        self.brought = body, as_of_ms
        await self._shelf.keep(self, body, as_of_ms)

    def weight(self) -> int:
        """What it costs."""
        return self.snapshot.weight

    def seal(self) -> Wire:
        """The request; in the same step one request is taken of the path's own bucket, where it has one."""
        path = self.snapshot.endpoint.path
        bucket = request_bucket(path)
        if bucket is not None:
            self._governor.take_request(bucket)
        self.sealed_at_s, self.sent = self._clock.now(), self._governor.clocks.now(self.market)
        return Wire(path, self.snapshot.query, self.snapshot.headers, self.weight(), MAX_BODY_BYTES)

    def accept(self, reply: Reply) -> tuple[bytes, int]:
        """The body, if it is what was asked for, and its as-of."""
        check(self.snapshot, reply.body)
        return reply.body, reply.sent.ms


class Fetches:
    """All that are under way; `shelf` keeps what they bring."""

    def __init__(
        self,
        governor: Governor,
        clock: Clock,
        events: Events,
        stalled_after_s: float,
        shelf: Shelf,
        copying: Copying,
    ) -> None:
        self._governor = governor
        self._clock = clock
        self._events = events
        self._stalled_after_s = stalled_after_s
        self._shelf = shelf
        self._copying = copying
        self._flying: dict[Snapshot, Fetch] = {}
        self._failed: OrderedDict[Snapshot, tuple[float, AskFailed | Refusal]] = OrderedDict()  # oldest first
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def join(self, snapshot: Snapshot, floor_ms: int, turn: Turn, reason: str) -> tuple[Fetch, bool]:
        """A fetch that brings `snapshot` as of `floor_ms` or later, and whether it is somebody else's.

        Raises the error that this very question met less than a second ago.
        """
        fetch = self._flying.get(snapshot)
        if fetch is not None and self._serves(fetch, floor_ms):
            improve(fetch.turn, turn)
            fetch.floor_ms = max(fetch.floor_ms, floor_ms)
            self._events.emit(Collapsed(snapshot.market))
            return fetch, True
        believed = self._failed.get(snapshot)
        if believed is not None and self._clock.now() < believed[0]:
            raise copy.copy(believed[1])
        fetch = self._new(snapshot, turn, reason, floor_ms)
        self._flying[snapshot] = fetch
        fetch.task = asyncio.get_running_loop().create_task(self._run(fetch), name=f"fetch {snapshot.endpoint.path}")
        self._tasks.add(fetch.task)
        fetch.task.add_done_callback(lambda task: self._ended(fetch, task))
        return fetch, False

    async def look(self, snapshot: Snapshot) -> bool:
        """Keep what another replica may have read; whether it had."""
        return await self._copying.look(self._new(snapshot, Turn(Lane.NORMAL, 0.0), "look", 0))

    def _new(self, snapshot: Snapshot, turn: Turn, reason: str, floor_ms: int) -> Fetch:
        return Fetch(snapshot, turn, reason, self._governor, self._clock, self._shelf, floor_ms)

    async def land(self, fetch: Fetch, deadline_s: float) -> None:
        """Wait until it has landed, or raise its error, or `DeadlinePassed` at `deadline_s`."""
        if fetch.task is not None:
            await landed(fetch.task, deadline_s - self._clock.now())

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _serves(self, fetch: Fetch, floor_ms: int) -> bool:
        if fetch.task is None or fetch.task.done():
            return False
        if fetch.sent is None:
            return True
        return fetch.sent.ms >= floor_ms and self._clock.now() - fetch.sealed_at_s <= self._stalled_after_s

    async def _run(self, fetch: Fetch) -> None:
        fetch.spared = await self._copying.spares(fetch)
        if not fetch.spared:
            await fetch.keep(*await self._governor.fetch(fetch))

    def _ended(self, fetch: Fetch, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._flying.get(fetch.snapshot) is fetch:
            del self._flying[fetch.snapshot]
        error = None if task.cancelled() else task.exception()
        landed = not (fetch.spared or task.cancelled() or error is not None or fetch.brought is None)
        self._copying.landed(fetch, Copy(*fetch.brought) if landed and fetch.brought is not None else None, error)
        if isinstance(error, AskFailed | Refusal):
            now_s = self._clock.now()
            while self._failed and (len(self._failed) >= _MOST_FAILED or next(iter(self._failed.values()))[0] <= now_s):
                self._failed.popitem(last=False)
            self._failed.pop(fetch.snapshot, None)
            # a copy has no traceback, whose frames hold the reply
            self._failed[fetch.snapshot] = (now_s + _ERROR_BELIEVED_S, copy.copy(error))
        elif error is not None and not isinstance(error, MdcacheError):
            self._events.emit(Failed("fetch", f"{type(error).__name__}: {error}"))


class _Part(msgspec.Struct):
    symbol: str = ""
    code: int = 0


_part = msgspec.json.Decoder(_Part)
_parts = msgspec.json.Decoder(list[_Part])


def check(snapshot: Snapshot, body: bytes) -> None:
    """Raise `BrokenBody` where a 200's body is no JSON, an error after all, or about something else."""
    try:
        body.decode()
        _json.decode(body)
        if body[:1] == b"{":
            _check_one(snapshot, _part.decode(body))
        elif body[:1] == b"[":
            _check_list(snapshot, body)
        else:
            raise BrokenBody("not-json", "neither object nor list")
    except UnicodeDecodeError as error:
        raise BrokenBody("encoding", snapshot.endpoint.path) from error
    except msgspec.ValidationError as error:
        raise BrokenBody("types", snapshot.endpoint.path) from error
    except msgspec.DecodeError as error:
        raise BrokenBody("not-json", snapshot.endpoint.path) from error


def _check_one(snapshot: Snapshot, part: _Part) -> None:
    if part.code < 0:
        raise BrokenBody("not-asked", f"an error with status 200: {part.code}")
    if not snapshot.endpoint.parts:
        return
    if snapshot.whole() is None or snapshot.value("symbols") or snapshot.endpoint.parts_in_list:
        raise BrokenBody("not-a-list", snapshot.endpoint.path)
    if part.symbol != snapshot.value("symbol"):
        raise BrokenBody("not-asked", f"{snapshot.endpoint.path} of another symbol")


def _check_list(snapshot: Snapshot, body: bytes) -> None:
    if not snapshot.endpoint.parts:
        return
    if snapshot.value("symbol") and not snapshot.endpoint.parts_in_list:
        raise BrokenBody("types", f"{snapshot.endpoint.path}: a list for one symbol")
    symbols = {part.symbol for part in _parts.decode(body)}
    asked = set(snapshot.named)
    if snapshot.value("symbolStatus"):  # leaves out those of another status
        asked &= symbols
    if snapshot.named and symbols != asked:
        raise BrokenBody("not-asked", f"{snapshot.endpoint.path} of other symbols")
    if not snapshot.named and not snapshot.value("pair") and not symbols and not snapshot.value("symbolStatus"):
        raise BrokenBody("empty", snapshot.endpoint.path)
