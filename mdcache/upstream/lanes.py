"""The queue of waiting reads of one family: who is next. Pure: it is told the time, and decides nothing else.

Whether the next may be sent is the gate's and the budget's business; `Lanes` only orders, bounds and forgets.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from mdcache.errors import LaneFull
from mdcache.exchange.markets import Market

# Theory of operation
# ===================
#
# Between lanes: high before normal before low; but a lane that waits and was passed over nine times is next
# (a floor of sends where concurrency is scarce, beside the budget's floor of weight).
#
# Within a lane: tails that crossed a close first, then round robin by client. Each read gets a tag when it
# joins: one more than the later of its client's last tag and the tag served last. Serving the smallest tag
# first is round robin (start-time fair queueing), and a tag never changes, so that a heap holds the order.
#
# Reads of one market that are paced alike stand or fall together: they form a *class*, and if the budget or
# the concurrency refuses a class's first read, the driver blocks the class and asks for the next of another.
#
# A `Turn` may be improved by its flight at any time. `refile` looks at all of them again, before each pump.

MOST_WAITING = 10_000  # in each lane; DESIGN 6.9: everything is bounded
MOST_PASSES = 9  # DESIGN 6.5.5: each lane has a floor of 10 %
_STALE_ENTRIES = 64


class Lane(StrEnum):
    """Priority, best first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is the best."""
        return _RANK[self]


_RANK = {lane: rank for rank, lane in enumerate(Lane)}


@dataclass(slots=True)
class Turn:
    """How a read stands in the queue. Its flight may improve it until it is sent.

    `drop_at_s`: when its last waiter gives up, by the clock's `now()`; `math.inf` is allowed. `crossed`: a
    tail whose candle closed meanwhile. `paced`: the refresh of a tail we hold (DESIGN 6.5.4).
    """

    lane: Lane
    drop_at_s: float
    client: str = ""
    crossed: bool = False
    paced: bool = False


_T = TypeVar("_T")
Class = tuple[Market, bool]


@dataclass(slots=True, eq=False)
class Place(Generic[_T]):
    """A waiting read: `item` is the driver's. `lane`, `crossed` and `group` are how it is filed now."""

    item: _T
    market: Market
    turn: Turn
    lane: Lane
    crossed: bool
    group: Class
    weight: int
    tag: int = 0
    gone: bool = False


_Heap = list[tuple[bool, int, int, Place[_T]]]


@dataclass(slots=True)
class _LaneQueue(Generic[_T]):
    heaps: dict[Class, _Heap[_T]] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    served_tag: int = 0
    waiting: int = 0
    weight: int = 0
    passed: int = 0


class Lanes(Generic[_T]):
    """All waiting reads of a family."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._queues: dict[Lane, _LaneQueue[_T]] = {lane: _LaneQueue() for lane in Lane}
        self._places: dict[Place[_T], None] = {}
        self._serial = itertools.count()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place[_T]]:
        return iter(tuple(self._places))

    def waiting(self, lane: Lane) -> int:
        """How many wait in a lane."""
        return self._queues[lane].waiting

    def weight(self, lane: Lane) -> int:
        """Weight of all that wait in a lane, as it was when each joined."""
        return self._queues[lane].weight

    def add(self, item: _T, market: Market, turn: Turn, weight: int) -> Place[_T]:
        """Join the queue; raises `LaneFull` if as many wait in this lane as may."""
        if self._queues[turn.lane].waiting >= self._most_waiting:
            raise LaneFull(1.0, f"{self._most_waiting} reads are waiting in the {turn.lane} lane")
        place = Place(item, market, turn, turn.lane, turn.crossed, (market, turn.paced), weight)
        self._places[place] = None
        self._file(place)
        return place

    def remove(self, place: Place[_T]) -> None:
        """Leave the queue, sent or not."""
        if place.gone:
            return
        place.gone = True
        del self._places[place]
        self._leave(place)

    def refile(self) -> None:
        """Look at every turn again and file those anew that were improved."""
        for place in self._places:
            turn = place.turn
            if place.lane is not turn.lane or place.crossed is not turn.crossed or place.group[1] is not turn.paced:
                self._leave(place)
                place.lane, place.crossed, place.group = turn.lane, turn.crossed, (place.market, turn.paced)
                self._file(place)

    def next(self, blocked: set[tuple[Lane, Class]]) -> Place[_T] | None:
        """Who is next, of the classes that are not blocked; it stays in the queue until removed."""
        firsts = [place for lane in Lane if (place := self._first(lane, blocked)) is not None]
        owed = [place for place in firsts[1:] if self._queues[place.lane].passed >= MOST_PASSES]
        return next(iter([*owed, *firsts]), None)

    def serve(self, place: Place[_T]) -> None:
        """`place` is sent: take it out; the other lanes that wait were passed over once more."""
        served = self._queues[place.lane]
        heap = served.heaps[place.group]
        if heap[0][3] is place:  # left behind, it would be valid again once the place is restored
            heapq.heappop(heap)
        served.served_tag = max(served.served_tag, place.tag)
        served.passed = 0
        self.remove(place)
        for lane, queue in self._queues.items():
            if lane is not place.lane and queue.waiting:
                queue.passed += 1

    def restore(self, place: Place[_T]) -> None:
        """`place` was served and could not be sent: it waits again, behind those whose tag is the same."""
        place.gone = False
        self._places[place] = None
        self._push(place)

    # ------------------------------------------------------------------------------------- parts

    def _file(self, place: Place[_T]) -> None:
        queue = self._queues[place.lane]
        client = place.turn.client
        place.tag = max(queue.served_tag, queue.tags.get(client, 0)) + 1
        queue.tags[client] = place.tag
        self._push(place)

    def _push(self, place: Place[_T]) -> None:
        queue = self._queues[place.lane]
        queue.waiting += 1
        queue.weight += place.weight
        heap = queue.heaps.setdefault(place.group, [])
        if len(heap) > 2 * queue.waiting + _STALE_ENTRIES:
            heap[:] = [entry for entry in heap if not self._stale(entry, place.lane, place.group)]
            heapq.heapify(heap)
        heapq.heappush(heap, (not place.crossed, place.tag, next(self._serial), place))

    def _leave(self, place: Place[_T]) -> None:
        """Its entry in the heap stays behind and is skipped; an empty lane forgets tags and passes."""
        queue = self._queues[place.lane]
        queue.waiting -= 1
        queue.weight -= place.weight
        if not queue.waiting:
            self._queues[place.lane] = _LaneQueue()

    def _first(self, lane: Lane, blocked: set[tuple[Lane, Class]]) -> Place[_T] | None:
        queue = self._queues[lane]
        heads = []
        for group, heap in queue.heaps.items():
            while heap and self._stale(heap[0], lane, group):
                heapq.heappop(heap)
            if heap and (lane, group) not in blocked:
                heads.append(heap[0])
        return min(heads)[3] if heads else None

    @staticmethod
    def _stale(entry: tuple[bool, int, int, Place[_T]], lane: Lane, group: Class) -> bool:
        not_crossed, tag, _, place = entry
        filed = (place.lane, place.group, not place.crossed, place.tag)
        return place.gone or filed != (lane, group, not_crossed, tag)
