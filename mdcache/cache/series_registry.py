"""All series in memory: count bytes, also of bodies and ready answers, evict, and know when a block was last used."""

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from mdcache.cache.shown_times import ShownTimes
from mdcache.cache.write_behind import NoPersistence, Persistence
from mdcache.candles.block import Block, BlockCodec, HeldBlock
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.candles.stored_blocks import evict_block
from mdcache.clock import Clock
from mdcache.events import Events, MemoryEvicted
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KlineEndpoint
from mdcache.exchange.measured import AS_ASSUMED, Measured
from mdcache.stores.byte_lru import ByteLru

_SERIES_BYTES = 4_000  # an empty series: object, blocks, coverage, tail; measured with tracemalloc
_ROW_OBJECT_BYTES = 200  # a row of a tail, beside its text
_MIN_COMPRESSED_ROWS = 32  # compressing fewer costs more than it saves


class Evictable(Protocol):
    """A holder of other things whose bytes count here."""

    def evict(self, key: Hashable) -> None:
        """Drop what is held under `key`; its bytes no longer count."""


@dataclass(frozen=True, slots=True)
class BlockKey:
    """One block of one series."""

    series: SeriesKey
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """The use of a series by one question or flight, since `since_s` (by the clock's `now()`)."""

    key: SeriesKey
    since_s: float


@dataclass(slots=True)
class _PinnedSeries:
    """The pins of a series, oldest first, and when its blocks were last merged or served meanwhile."""

    pins: dict[Pin, None]
    touched_s: dict[int, float]

    def needs(self, index: int) -> bool:
        """Return whether a user may rely on this block: it was merged or served since the oldest pin."""
        oldest = next(iter(self.pins))
        return self.touched_s.get(index, -math.inf) >= oldest.since_s


class SeriesRegistry:
    """Series by key, within a bound on memory: what was used longest ago is evicted, to `persistence` if possible.

    `shown_times`: until when evicted ones were shown. `measured`: how a market's rows settle and are read, where that
    is not as usual (`policy`).
    """

    def __init__(
        self,
        clock: Clock,
        events: Events,
        policy: SettlePolicy,
        max_bytes: int,
        persistence: Persistence | None = None,
        measured: Measured = AS_ASSUMED,
    ) -> None:
        self._clock = clock
        self._events = events
        self._measured = measured
        self._lowered: dict[str, KlineEndpoint] = {}  # rules of paths whose pages turned out to be smaller
        self._policies = {market: SettlePolicy(t.settle_ms, t.confirm_ms) for market, t in measured.times.items()}
        self._policy = policy
        self._series: dict[SeriesKey, Series] = {}
        self._pinned: dict[SeriesKey, _PinnedSeries] = {}
        self.persistence: Persistence = persistence or NoPersistence()
        self.memory = ByteLru(max_bytes, self._evict)
        self.shown_times = ShownTimes()
        self._evictable: dict[str, Evictable] = {}
        self._used_s: OrderedDict[BlockKey, float] = OrderedDict()  # blocks not compressed, oldest first

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def __len__(self) -> int:
        return len(self._series)

    @property
    def rows(self) -> int:
        """The number of settled and tail rows in memory."""
        tails = (series.last_shown_tail for series in self._series.values())
        return sum(len(s.blocks) for s in self._series.values()) + sum(len(tail.rows) for tail in tails if tail)

    def get_or_create(self, question: KlineQuestion) -> Series:
        """Return the question's series; create it if there is none."""
        key = question.key
        series = self._series.get(key)
        if series is None:
            endpoint = self._lowered.get(question.endpoint.path) or self._measured.endpoint(question.endpoint)
            policy = self._policies.get(key.market, self._policy)
            series = Series(key, endpoint, policy, lambda old, new: self._on_block_change(key, old, new))
            self._series[key] = series
            self.memory.set_size(key, _SERIES_BYTES)
        self.memory.touch(key, self._clock.now())
        return series

    def lower_cap(self, endpoint: KlineEndpoint, rows: int) -> None:
        """Read a path by pages of at most so many rows from now on."""
        self._lowered[endpoint.path] = lowered = replace(endpoint, max_limit=min(endpoint.max_limit, rows))
        for series in self._series.values():
            if series.endpoint.path == endpoint.path:
                series.endpoint = lowered

    def find(self, key: SeriesKey) -> Series | None:
        """Return a series that is in memory, without noting a use."""
        return self._series.get(key)

    def forget(self, series_filter: SeriesFilter) -> int:
        """Forget the matching series, without waiting for anything; return how many there were."""
        matching = [series for series in self._series.values() if series_filter.matches(series.key)]
        for series in matching:
            series.forget()
            self.note_merged(series)
        return len(matching)

    def touch(self, series: Series, answer: Serve) -> None:
        """Note that the blocks of an answer were used, so that they are evicted last."""
        self.persistence.touch(series, answer)
        now_s = self._clock.now()
        for block, _, _ in answer.pieces:
            entry = BlockKey(series.key, block.index)
            self.memory.touch(entry, now_s)
            self._note_use(entry, now_s)
            self._touch_pinned(series.key, block.index)

    def take_idle(self, before_s: float) -> tuple[BlockKey, Block] | None:
        """Return an uncompressed block last used before `before_s`; each only once until it is used again."""
        while self._used_s and self._used_s[key := next(iter(self._used_s))] < before_s:
            del self._used_s[key]
            series = self._series.get(key.series)
            block = series.blocks.if_decompressed(key.index) if series is not None else None
            if block is not None and len(block) >= _MIN_COMPRESSED_ROWS:
                return key, block
        return None

    def compress(self, key: BlockKey, block: Block, payload: bytes, codec: BlockCodec) -> None:
        """Replace `block` by the `payload` that `codec` made of it, unless it was used or replaced in the meantime."""
        series = self._series.get(key.series)
        if series is not None and key not in self._used_s:
            series.blocks.compress(block, payload, codec)

    def note_merged(self, series: Series) -> None:
        """Save `series` after a reply was merged into it, and make room for its growth."""
        if self._series.get(series.key) is series:
            self.note_frames(series)
            self.persistence.save_soon(series)
        self.enforce_limit()

    def note_frames(self, series: Series) -> None:
        """Count the bytes of the tail of `series`, and of its frames; the next question to end makes room for them."""
        rows = [*(series.tail.rows if series.tail is not None else ()), *series.frame_rows]
        self.memory.set_size(series.key, _SERIES_BYTES + sum(len(row.raw) + _ROW_OBJECT_BYTES for row in rows))

    def enforce_limit(self) -> None:
        """Evict until the bound holds."""
        if evicted := self.memory.evict():
            self._events.emit(MemoryEvicted("entries", evicted))

    def release(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """Evict these blocks, except those that a question or flight needs: one long scan shall displace no others."""
        series = self._series.get(key)
        for index in indexes:
            if series is not None and index in series.blocks:
                self._evict(BlockKey(key, index))

    def register_evictable(self, kind: str, holder: Evictable) -> None:
        """Let `holder` share the memory, under keys `(kind, …)`."""
        self._evictable[kind] = holder

    def pin(self, key: SeriesKey) -> Pin:
        """Begin to use a series: nothing that is merged or served from now on is evicted until `unpin`."""
        pin = Pin(key, self._clock.now())
        self._pinned.setdefault(key, _PinnedSeries({}, {})).pins[pin] = None
        return pin

    def unpin(self, pin: Pin) -> None:
        """End a use of a series."""
        pinned = self._pinned[pin.key]
        del pinned.pins[pin]
        if not pinned.pins:
            del self._pinned[pin.key]
            self.enforce_limit()

    def _touch_pinned(self, key: SeriesKey, index: int) -> None:
        if (pinned := self._pinned.get(key)) is not None:
            pinned.touched_s[index] = self._clock.now()

    def _note_use(self, entry: BlockKey, now_s: float) -> None:
        self._used_s[entry] = now_s
        self._used_s.move_to_end(entry)

    def _on_block_change(self, key: SeriesKey, old: HeldBlock | None, new: HeldBlock | None) -> None:
        block = new or old
        if block is None:
            return
        entry = BlockKey(key, block.index)
        if isinstance(new, Block):
            self._note_use(entry, self._clock.now())
        else:
            self._used_s.pop(entry, None)
        if new is None:
            self.memory.remove(entry)
        else:
            self.memory.set_size(entry, new.nbytes)
            self._touch_pinned(key, block.index)

    def _evict(self, key: Hashable) -> bool:
        if isinstance(key, BlockKey):
            pinned = self._pinned.get(key.series)
            if pinned is not None and pinned.needs(key.index):
                return False
            series = self._series[key.series]
            evict_block(series, key.index, stored=self.persistence.save_now(series))
        elif isinstance(key, SeriesKey):
            if key in self._pinned:
                return False
            series = self._series.pop(key)
            self.persistence.save_now(series)
            if (tail := series.last_shown_tail) is not None:
                self.shown_times.note(key, tail.as_of_ms)
            series.forget()
        elif isinstance(key, tuple):
            self._evictable[str(key[0])].evict(key)
        return True
