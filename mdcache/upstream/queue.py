"""The queue of waiting reads of one family: who is next. Pure: it is told the time, and decides nothing else.

Whether the next may be sent is the gate's and the budget's business; `ReadQueue` only orders, bounds and forgets.
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
# A `Priority` may be improved by its flight at any time. `refile` looks at all of them again, before each pump.

MAX_WAITING = 10_000  # in each lane; docs/design.md#security: everything is bounded
MAX_PASSED_OVER = 9  # docs/design.md#lanes: each lane has a floor of 10 %
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
class Priority:
    """How a read stands in the queue. Its flight may improve it until it is sent.

    `drop_at_s`: when its last waiter gives up, by the clock's `now()`; `math.inf` is allowed. `crossed`: a
    tail whose candle closed meanwhile. `paced`: the refresh of a tail we hold (docs/design.md#pacing).
    """

    lane: Lane
    deadline_s: float
    client: str = ""
    close_passed: bool = False
    paced: bool = False


_T = TypeVar("_T")
ReadClass = tuple[Market, bool]


@dataclass(slots=True, eq=False)
class QueueEntry(Generic[_T]):
    """A waiting read: `item` is the driver's. `lane`, `crossed` and `group` are how it is filed now."""

    item: _T
    market: Market
    priority: Priority
    lane: Lane
    close_passed: bool
    read_class: ReadClass
    weight: int
    tag: int = 0
    removed: bool = False


_Heap = list[tuple[bool, int, int, QueueEntry[_T]]]


@dataclass(slots=True)
class _LaneQueue(Generic[_T]):
    heaps: dict[ReadClass, _Heap[_T]] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    served_tag: int = 0
    waiting: int = 0
    weight: int = 0
    passed_over: int = 0


class ReadQueue(Generic[_T]):
    """All waiting reads of a family."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._queues: dict[Lane, _LaneQueue[_T]] = {lane: _LaneQueue() for lane in Lane}
        self._entries: dict[QueueEntry[_T], None] = {}
        self._serial = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[QueueEntry[_T]]:
        return iter(tuple(self._entries))

    def waiting(self, lane: Lane) -> int:
        """How many wait in a lane."""
        return self._queues[lane].waiting

    def weight(self, lane: Lane) -> int:
        """Weight of all that wait in a lane, as it was when each joined."""
        return self._queues[lane].weight

    def add(self, item: _T, market: Market, priority: Priority, weight: int) -> QueueEntry[_T]:
        """Join the queue; raises `LaneFull` if as many wait in this lane as may."""
        if self._queues[priority.lane].waiting >= self._max_waiting:
            raise LaneFull(1.0, f"{self._max_waiting} reads are waiting in the {priority.lane} lane")
        place = QueueEntry(
            item, market, priority, priority.lane, priority.close_passed, (market, priority.paced), weight
        )
        self._entries[place] = None
        self._file(place)
        return place

    def remove(self, entry: QueueEntry[_T]) -> None:
        """Leave the queue, sent or not."""
        if entry.removed:
            return
        entry.removed = True
        del self._entries[entry]
        self._uncount(entry)

    def reorder(self) -> None:
        """Look at every turn again and file those anew that were improved."""
        for place in self._entries:
            turn = place.priority
            if (
                place.lane is not turn.lane
                or place.close_passed is not turn.close_passed
                or place.read_class[1] is not turn.paced
            ):
                self._uncount(place)
                place.lane, place.close_passed, place.read_class = (
                    turn.lane,
                    turn.close_passed,
                    (place.market, turn.paced),
                )
                self._file(place)

    def peek(self, blocked: set[tuple[Lane, ReadClass]]) -> QueueEntry[_T] | None:
        """Who is next, of the classes that are not blocked; it stays in the queue until removed."""
        firsts = [place for lane in Lane if (place := self._first(lane, blocked)) is not None]
        owed = [place for place in firsts[1:] if self._queues[place.lane].passed_over >= MAX_PASSED_OVER]
        return next(iter([*owed, *firsts]), None)

    def take(self, entry: QueueEntry[_T]) -> None:
        """`place` is sent: take it out; the other lanes that wait were passed over once more."""
        served = self._queues[entry.lane]
        heap = served.heaps[entry.read_class]
        if heap[0][3] is entry:  # left behind, it would be valid again once the place is restored
            heapq.heappop(heap)
        served.served_tag = max(served.served_tag, entry.tag)
        served.passed_over = 0
        self.remove(entry)
        for lane, queue in self._queues.items():
            if lane is not entry.lane and queue.waiting:
                queue.passed_over += 1

    def put_back(self, entry: QueueEntry[_T]) -> None:
        """`place` was served and could not be sent: it waits again, behind those whose tag is the same."""
        entry.removed = False
        self._entries[entry] = None
        self._push(entry)

    # ------------------------------------------------------------------------------------- parts

    def _file(self, entry: QueueEntry[_T]) -> None:
        queue = self._queues[entry.lane]
        client = entry.priority.client
        entry.tag = max(queue.served_tag, queue.tags.get(client, 0)) + 1
        queue.tags[client] = entry.tag
        self._push(entry)

    def _push(self, entry: QueueEntry[_T]) -> None:
        queue = self._queues[entry.lane]
        queue.waiting += 1
        queue.weight += entry.weight
        heap = queue.heaps.setdefault(entry.read_class, [])
        if len(heap) > 2 * queue.waiting + _STALE_ENTRIES:
            heap[:] = [item for item in heap if not self._stale(item, entry.lane, entry.read_class)]
            heapq.heapify(heap)
        heapq.heappush(heap, (not entry.close_passed, entry.tag, next(self._serial), entry))

    def _uncount(self, entry: QueueEntry[_T]) -> None:
        """Its entry in the heap stays behind and is skipped; an empty lane forgets tags and passes."""
        queue = self._queues[entry.lane]
        queue.waiting -= 1
        queue.weight -= entry.weight
        if not queue.waiting:
            self._queues[entry.lane] = _LaneQueue()

    def _first(self, lane: Lane, blocked: set[tuple[Lane, ReadClass]]) -> QueueEntry[_T] | None:
        queue = self._queues[lane]
        heads = []
        for group, heap in queue.heaps.items():
            while heap and self._stale(heap[0], lane, group):
                heapq.heappop(heap)
            if heap and (lane, group) not in blocked:
                heads.append(heap[0])
        return min(heads)[3] if heads else None

    @staticmethod
    def _stale(entry: tuple[bool, int, int, QueueEntry[_T]], lane: Lane, group: ReadClass) -> bool:
        not_crossed, tag, _, place = entry
        filed = (place.lane, place.read_class, not place.close_passed, place.tag)
        return place.removed or filed != (lane, group, not_crossed, tag)
