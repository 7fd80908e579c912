"""All series of the daemon, and the memory they share with the ready answers."""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mdcache.cache.attic import NoRest, Rest
from mdcache.candles.atrest import Which
from mdcache.candles.block import Block
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.candles.settling import Policy
from mdcache.clock import Clock
from mdcache.events import Events, Evicted
from mdcache.exchange.questions import Question, SeriesKey
from mdcache.stores.memory import Memory

_SERIES_BYTES = 4_000  # an empty series: object, shelf, coverage, tail, measured with tracemalloc
_ROW_OBJECT_BYTES = 200  # a tail's row beside its text


class Evictable(Protocol):
    """Something else whose bytes count here."""

    def give_up(self, key: Hashable) -> None:
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
class _Use:
    """The users of a busy series, oldest first, and when its blocks were last read or shown meanwhile."""

    pins: dict[Pin, None]
    touched_s: dict[int, float]

    def needs(self, index: int) -> bool:
        """Whether a user of now may count on this block: it came, or was shown, since the oldest began."""
        oldest = next(iter(self.pins))
        return self.touched_s.get(index, -math.inf) >= oldest.since_s


class Library:
    """Series by key, and the account of what they hold; the longest unasked goes when there is too much.

    `rest` tells where it goes to, and brings it back.
    """

    def __init__(self, clock: Clock, events: Events, policy: Policy, max_bytes: int, rest: Rest | None = None) -> None:
        self._clock = clock
        self._events = events
        self._policy = policy
        self._series: dict[SeriesKey, Series] = {}
        self._busy: dict[SeriesKey, _Use] = {}
        self.rest: Rest = rest or NoRest()
        self.memory = Memory(max_bytes, self._give_up)
        self._evictable: dict[str, Evictable] = {}

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def __len__(self) -> int:
        return len(self._series)

    @property
    def rows(self) -> int:
        """Settled and tail rows held."""
        return sum(len(s.shelf) + (len(s.tail.rows) if s.tail else 0) for s in self._series.values())

    def get(self, question: Question) -> Series:
        """The question's series, made where there is none."""
        key = question.key
        series = self._series.get(key)
        if series is None:
            series = Series(key, question.rule, self._policy, lambda old, new: self._changed(key, old, new))
            self._series[key] = series
            self.memory.hold(key, _SERIES_BYTES)
        self.memory.ask(key, self._clock.now())
        return series

    def forget(self, which: Which) -> int:
        """Know nothing any more of the series that match, in this step; returns how many there were."""
        matching = [series for series in self._series.values() if which.takes(series.key)]
        for series in matching:
            series.forget()
            self.merged(series)
        return len(matching)

    def find(self, key: SeriesKey) -> Series | None:
        """The series, if there is one."""
        return self._series.get(key)

    def served(self, series: Series, answer: Serve) -> None:
        """Blocks of `series` were shown: they go last."""
        self.rest.served(series, answer)
        now_s = self._clock.now()
        for block, _, _ in answer.pieces:
            self.memory.ask(_BlockKey(series.key, block.index), now_s)
            self._touch(series.key, block.index)

    def merged(self, series: Series) -> None:
        """`series` took in a reply: its tail may have grown, and something else may have to go."""
        if self._series.get(series.key) is series:
            tail = series.tail.rows if series.tail else ()
            nbytes = _SERIES_BYTES + sum(len(row.raw) + _ROW_OBJECT_BYTES for row in tail)
            self.memory.hold(series.key, nbytes)
            self.rest.changed(series)
        self.fit()

    def fit(self) -> None:
        """Hold the bound."""
        gone = self.memory.fit()
        if gone:
            self._events.emit(Evicted("entries", gone))

    def adopt(self, kind: str, holder: Evictable) -> None:
        """Let `holder` share the memory under keys (kind, …)."""
        self._evictable[kind] = holder

    def pin(self, key: SeriesKey) -> Pin:
        """A question or a flight of this series is under way: nothing it reads or shows may be given up."""
        pin = Pin(key, self._clock.now())
        self._busy.setdefault(key, _Use({}, {})).pins[pin] = None
        return pin

    def unpin(self, pin: Pin) -> None:
        """One user less."""
        use = self._busy[pin.key]
        del use.pins[pin]
        if not use.pins:
            del self._busy[pin.key]
            self.fit()

    def _touch(self, key: SeriesKey, index: int) -> None:
        use = self._busy.get(key)
        if use is not None:
            use.touched_s[index] = self._clock.now()

    def _changed(self, key: SeriesKey, old: Block | None, new: Block | None) -> None:
        block = new or old
        if block is None:
            return
        entry = _BlockKey(key, block.index)
        if new is None:
            self.memory.forget(entry)
        else:
            self.memory.hold(entry, new.nbytes)
            self._touch(key, block.index)

    def _give_up(self, key: Hashable) -> bool:
        if isinstance(key, _BlockKey):
            use = self._busy.get(key.series)
            if use is not None and use.needs(key.index):
                return False
            series = self._series[key.series]
            series.evict(key.index, rests=self.rest.keep(series))
        elif isinstance(key, SeriesKey):
            if key in self._busy:
                return False
            series = self._series.pop(key)
            self.rest.keep(series)
            series.forget()
        elif isinstance(key, tuple):
            self._evictable[str(key[0])].give_up(key)
        return True
