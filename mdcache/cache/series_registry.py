"""All series of the daemon, and the memory they share with the ready answers."""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mdcache.cache.write_behind import NoPersistence, Persistence
from mdcache.candles.block import Block
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.clock import Clock
from mdcache.events import Events, MemoryEvicted
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.stores.byte_lru import ByteLru

_SERIES_BYTES = 4_000  # an empty series: object, shelf, coverage, tail, measured with tracemalloc
_ROW_OBJECT_BYTES = 200  # a tail's row beside its text


class Evictable(Protocol):
    """Something else whose bytes count here."""

    def evict(self, key: Hashable) -> None:
        """Drop what it holds under `key`; the account forgets it by itself."""
        ...


@dataclass(frozen=True, slots=True)
class _BlockKey:
    series: SeriesKey
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """One user of a series, from `since_s` until it is unpinned."""

    key: SeriesKey
    since_s: float


@dataclass(slots=True)
class _PinnedSeries:
    """The users of a busy series, oldest first, and when its blocks were last read or shown meanwhile."""

    pins: dict[Pin, None]
    touched_s: dict[int, float]

    def needs(self, index: int) -> bool:
        """Whether a user of now may count on this block: it came, or was shown, since the oldest began."""
        oldest = next(iter(self.pins))
        return self.touched_s.get(index, -math.inf) >= oldest.since_s


class SeriesRegistry:
    """Series by key, and the account of what they hold; the longest unasked goes when there is too much.

    `rest` tells where it goes to, and brings it back.
    """

    def __init__(
        self, clock: Clock, events: Events, policy: SettlePolicy, max_bytes: int, persistence: Persistence | None = None
    ) -> None:
        self._clock = clock
        self._events = events
        self._policy = policy
        self._series: dict[SeriesKey, Series] = {}
        self._pinned: dict[SeriesKey, _PinnedSeries] = {}
        self.persistence: Persistence = persistence or NoPersistence()
        self.memory = ByteLru(max_bytes, self._evict)
        self._evictable: dict[str, Evictable] = {}

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def __len__(self) -> int:
        return len(self._series)

    @property
    def rows(self) -> int:
        """Settled and tail rows held."""
        return sum(len(s.blocks) + (len(s.tail.rows) if s.tail else 0) for s in self._series.values())

    def get_or_create(self, question: KlineQuestion) -> Series:
        """The question's series, made where there is none."""
        key = question.key
        series = self._series.get(key)
        if series is None:
            series = Series(key, question.endpoint, self._policy, lambda old, new: self._on_block_change(key, old, new))
            self._series[key] = series
            self.memory.set_size(key, _SERIES_BYTES)
        self.memory.touch(key, self._clock.now())
        return series

    def forget(self, series_filter: SeriesFilter) -> int:
        """Know nothing any more of the series that match, in this step; returns how many there were."""
        matching = [series for series in self._series.values() if series_filter.matches(series.key)]
        for series in matching:
            series.forget()
            self.note_merged(series)
        return len(matching)

    def find(self, key: SeriesKey) -> Series | None:
        """The series, if there is one."""
        return self._series.get(key)

    def touch(self, series: Series, answer: Serve) -> None:
        """Blocks of `series` were shown: they go last."""
        self.persistence.touch(series, answer)
        now_s = self._clock.now()
        for block, _, _ in answer.pieces:
            self.memory.touch(_BlockKey(series.key, block.index), now_s)
            self._touch_pinned(series.key, block.index)

    def note_merged(self, series: Series) -> None:
        """`series` took in a reply: its tail may have grown, and something else may have to go."""
        if self._series.get(series.key) is series:
            tail = series.tail.rows if series.tail else ()
            nbytes = _SERIES_BYTES + sum(len(row.raw) + _ROW_OBJECT_BYTES for row in tail)
            self.memory.set_size(series.key, nbytes)
            self.persistence.save_soon(series)
        self.enforce_limit()

    def enforce_limit(self) -> None:
        """Hold the bound."""
        gone = self.memory.evict()
        if gone:
            self._events.emit(MemoryEvicted("entries", gone))

    def register_evictable(self, kind: str, holder: Evictable) -> None:
        """Let `holder` share the memory under keys (kind, …)."""
        self._evictable[kind] = holder

    def pin(self, key: SeriesKey) -> Pin:
        """A question or a flight of this series is under way: nothing it reads or shows may be given up."""
        pin = Pin(key, self._clock.now())
        self._pinned.setdefault(key, _PinnedSeries({}, {})).pins[pin] = None
        return pin

    def unpin(self, pin: Pin) -> None:
        """One user less."""
        use = self._pinned[pin.key]
        del use.pins[pin]
        if not use.pins:
            del self._pinned[pin.key]
            self.enforce_limit()

    def _touch_pinned(self, key: SeriesKey, index: int) -> None:
        use = self._pinned.get(key)
        if use is not None:
            use.touched_s[index] = self._clock.now()

    def _on_block_change(self, key: SeriesKey, old: Block | None, new: Block | None) -> None:
        block = new or old
        if block is None:
            return
        entry = _BlockKey(key, block.index)
        if new is None:
            self.memory.remove(entry)
        else:
            self.memory.set_size(entry, new.nbytes)
            self._touch_pinned(key, block.index)

    def _evict(self, key: Hashable) -> bool:
        if isinstance(key, _BlockKey):
            use = self._pinned.get(key.series)
            if use is not None and use.needs(key.index):
                return False
            series = self._series[key.series]
            series.evict(key.index, stored=self.persistence.save_now(series))
        elif isinstance(key, SeriesKey):
            if key in self._pinned:
                return False
            series = self._series.pop(key)
            self.persistence.save_now(series)
            series.forget()
        elif isinstance(key, tuple):
            self._evictable[str(key[0])].evict(key)
        return True
