"""Bodies of snapshots at rest: aiocache holds the bytes; what they weigh and what goes first is the account's.

aiocache neither bounds itself nor is asked to expire anything: its own expiry would arm a timer for each key.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import cast

import msgspec
from aiocache import SimpleMemoryCache

from mdcache.cache.library import Library
from mdcache.clock import Clock
from mdcache.exchange.snapshots import Snapshot

KIND = "snapshot"  # first part of these entries' keys in the shared memory
_OVERHEAD = 1_000  # bytes around a body: key, entry, aiocache's own
_PART_OVERHEAD = 250  # bytes of one element in a list's index, beside its own


class _Named(msgspec.Struct):
    symbol: str = ""


_raws = msgspec.json.Decoder(list[msgspec.Raw])
_named = msgspec.json.Decoder(_Named)


@dataclass(slots=True)
class Held:
    """What is known of a body.

    `as_of_ms`: exchange time. `for_parts`: a list that was read because so many asked for elements of it. `parts`:
    its elements by symbol, once anybody asked for one. `cut`: the questions that were answered by some, and
    `spared` what they would have cost; no more of them than pay for the list.
    """

    as_of_ms: int
    for_parts: bool
    nbytes: int
    parts: dict[str, bytes] | None = None
    cut: set[Snapshot] = field(default_factory=set)
    spared: int = 0

    def lacks(self, snapshot: Snapshot) -> bool:
        """Whether it is known not to have all that `snapshot` asks for."""
        return self.parts is not None and not self.parts.keys() >= set(snapshot.named)

    def answered(self, snapshot: Snapshot, price: int) -> None:
        """It answered `snapshot` by an element; the list itself costs `price`."""
        if self.spared < price and snapshot not in self.cut:
            self.cut.add(snapshot)
            self.spared += snapshot.weight


class Bodies:
    """The bodies by question; they are adopted by the memory they are given."""

    def __init__(self, library: Library, clock: Clock) -> None:
        self._library = library
        self._clock = clock
        self._held: dict[Snapshot, Held] = {}
        # without a time-out nothing of it suspends, so that what is known of a body and the body change in one step
        self._cache = SimpleMemoryCache(namespace=KIND, timeout=None)
        self._dropping: set[asyncio.Task[object]] = set()
        library.adopt(KIND, self)

    def __len__(self) -> int:
        return len(self._held)

    def held(self, snapshot: Snapshot) -> Held | None:
        """What is known of its body; it counts as asked for."""
        held = self._held.get(snapshot)
        if held is not None:
            self._library.memory.ask((KIND, snapshot), self._clock.now())
        return held

    def newest_ms(self, snapshot: Snapshot, whole: Snapshot | None) -> int:
        """As-of of the newest that could answer `snapshot`: its own body, or the list it is an element of."""
        own = self._held.get(snapshot)
        held = self._held.get(whole) if whole is not None else None
        newest_ms = own.as_of_ms if own is not None else 0
        return newest_ms if held is None or held.lacks(snapshot) else max(newest_ms, held.as_of_ms)

    async def body(self, snapshot: Snapshot) -> bytes | None:
        """Its bytes; `None` if memory gave them up meanwhile."""
        return cast("bytes | None", await self._cache.get(str(snapshot)))

    async def element(self, whole: Snapshot, held: Held, snapshot: Snapshot) -> bytes | None:
        """The answer to `snapshot` cut out of the list held for `whole`; `None` where the list lacks a symbol."""
        if held.parts is None:
            body = await self.body(whole)
            if body is None:
                return None
            held.parts = {_named.decode(raw).symbol: bytes(raw) for raw in _raws.decode(body)}
            held.nbytes += len(body) + _PART_OVERHEAD * len(held.parts)
            self._library.memory.hold((KIND, whole), held.nbytes)
            self._library.fit()
        if held.lacks(snapshot):
            return None
        wanted = set(snapshot.named)
        found = (
            [raw for symbol, raw in held.parts.items() if symbol in wanted]
            if len(wanted) > 1
            else [held.parts[symbol] for symbol in wanted]
        )
        held.answered(snapshot, whole.weight)
        listed = snapshot.endpoint.parts_in_list or bool(snapshot.value("symbols"))
        return b"[%b]" % b",".join(found) if listed else found[0]

    async def keep(self, snapshot: Snapshot, body: bytes, as_of_ms: int, *, for_parts: bool) -> None:
        """Keep a body; never in the place of a newer one."""
        before = self._held.get(snapshot)
        if before is not None and before.as_of_ms > as_of_ms:
            return
        await self._cache.set(str(snapshot), body, ttl=None)
        held = Held(as_of_ms, for_parts, len(body) + _OVERHEAD)
        self._held[snapshot] = held
        self._library.memory.hold((KIND, snapshot), held.nbytes)
        self._library.memory.ask((KIND, snapshot), self._clock.now())
        self._library.fit()

    def give_up(self, key: Hashable) -> None:
        """Memory wants these bytes back; it forgets the key by itself."""
        _, snapshot = cast("tuple[str, Snapshot]", key)
        self._held.pop(snapshot, None)
        task = asyncio.get_running_loop().create_task(self._drop(snapshot))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def clear(self) -> int:
        """Forget all of them (a purge); returns how many there were."""
        gone = list(self._held)
        for snapshot in gone:
            del self._held[snapshot]
            self._library.memory.forget((KIND, snapshot))
            await self._cache.delete(str(snapshot))
        return len(gone)

    async def _drop(self, snapshot: Snapshot) -> None:
        if snapshot not in self._held:  # it may have come back meanwhile
            await self._cache.delete(str(snapshot))
