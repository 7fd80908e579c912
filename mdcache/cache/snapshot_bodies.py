"""Hold bodies of snapshots in memory, and cut single answers out of lists.

aiocache holds the bytes; the registry's memory bound decides which are evicted.
aiocache has no bound of its own, and its expiry is not used because it would arm a timer for each key.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import cast

from aiocache import SimpleMemoryCache

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import Clock
from mdcache.exchange.snapshot_checks import elements_by_symbol
from mdcache.exchange.snapshots import SnapshotQuestion

KIND = "snapshot"  # first part of these entries' keys in the shared memory
_OVERHEAD = 1_000  # overhead of a body in bytes: key, entry, aiocache's own
_ELEMENT_OVERHEAD = 250  # overhead of one element in a list's index, in bytes


@dataclass(slots=True)
class HeldBody:
    """A body's metadata; the bytes are in aiocache.

    `as_of_ms`: exchange time. `for_elements`: a list that was read because many of its elements were asked for.
    `elements`: by symbol, once one was asked for. `questions`: those that an element answered, and `saved_weight`: what
    they would have cost; counted only until the list has paid for itself.
    """

    as_of_ms: int
    for_elements: bool
    nbytes: int
    elements: dict[str, bytes] | None = None
    questions: set[SnapshotQuestion] = field(default_factory=set)
    saved_weight: int = 0

    def lacks(self, snapshot: SnapshotQuestion) -> bool:
        """Return whether it is known to lack a symbol of `snapshot`."""
        return self.elements is not None and not self.elements.keys() >= set(snapshot.symbols)

    def count(self, snapshot: SnapshotQuestion, max_weight: int) -> None:
        """Count a question that an element answered, up to the weight of the list."""
        if self.saved_weight < max_weight and snapshot not in self.questions:
            self.questions.add(snapshot)
            self.saved_weight += snapshot.weight


class SnapshotBodies:
    """Bodies by question; their bytes count in the registry's memory."""

    def __init__(self, registry: SeriesRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._held: dict[SnapshotQuestion, HeldBody] = {}
        # without a time-out it never suspends, so that a body and its metadata change in the same step
        self._cache = SimpleMemoryCache(namespace=KIND, timeout=None)
        self._dropping: set[asyncio.Task[object]] = set()
        registry.register_evictable(KIND, self)

    def __len__(self) -> int:
        return len(self._held)

    def held(self, snapshot: SnapshotQuestion) -> HeldBody | None:
        """Return the metadata of its body, and count that as a use."""
        held = self._held.get(snapshot)
        if held is not None:
            self._registry.memory.touch((KIND, snapshot), self._clock.now())
        return held

    def newest_as_of_ms(self, snapshot: SnapshotQuestion, list_question: SnapshotQuestion | None) -> int:
        """Return the as-of of the newest body that could answer `snapshot`: its own, or the list that contains it."""
        own = self._held.get(snapshot)
        held = self._held.get(list_question) if list_question is not None else None
        newest_ms = own.as_of_ms if own is not None else 0
        return newest_ms if held is None or held.lacks(snapshot) else max(newest_ms, held.as_of_ms)

    async def body(self, snapshot: SnapshotQuestion) -> bytes | None:
        """Return its bytes; `None` if they were evicted meanwhile."""
        return cast("bytes | None", await self._cache.get(str(snapshot)))

    async def element(
        self, list_question: SnapshotQuestion, held: HeldBody, snapshot: SnapshotQuestion
    ) -> bytes | None:
        """Return the answer to `snapshot`, cut out of a held list; `None` if the list lacks a symbol."""
        if held.elements is None:
            body = await self.body(list_question)
            if body is None:
                return None
            held.elements = elements_by_symbol(body)
            held.nbytes += len(body) + _ELEMENT_OVERHEAD * len(held.elements)
            self._registry.memory.set_size((KIND, list_question), held.nbytes)
            self._registry.enforce_limit()
        if held.lacks(snapshot):
            return None
        wanted = set(snapshot.symbols)
        found = (
            [raw for symbol, raw in held.elements.items() if symbol in wanted]
            if len(wanted) > 1
            else [held.elements[symbol] for symbol in wanted]
        )
        held.count(snapshot, list_question.weight)
        listed = snapshot.endpoint.single_as_list or bool(snapshot.value("symbols"))
        return b"[%b]" % b",".join(found) if listed else found[0]

    async def keep(self, snapshot: SnapshotQuestion, body: bytes, as_of_ms: int, *, for_elements: bool) -> None:
        """Keep a body, unless a newer one is held."""
        before = self._held.get(snapshot)
        if before is not None and before.as_of_ms > as_of_ms:
            return
        await self._cache.set(str(snapshot), body, ttl=None)
        held = HeldBody(as_of_ms, for_elements, len(body) + _OVERHEAD)
        self._held[snapshot] = held
        self._registry.memory.set_size((KIND, snapshot), held.nbytes)
        self._registry.memory.touch((KIND, snapshot), self._clock.now())
        self._registry.enforce_limit()

    def evict(self, key: Hashable) -> None:
        """Drop a body, whose bytes no longer count."""
        _, snapshot = cast("tuple[str, SnapshotQuestion]", key)
        self._held.pop(snapshot, None)
        task = asyncio.get_running_loop().create_task(self._drop(snapshot))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def clear(self, series_filter: SeriesFilter) -> None:
        """Forget all of them, if `series_filter` is no narrower than a market."""
        for snapshot in list(self._held) if series_filter.whole_markets else ():
            del self._held[snapshot]
            self._registry.memory.remove((KIND, snapshot))
            await self._cache.delete(str(snapshot))

    async def _drop(self, snapshot: SnapshotQuestion) -> None:
        if snapshot not in self._held:  # it may have been kept again in the meantime
            await self._cache.delete(str(snapshot))
