"""The queue of waiting reads of one family: which is next. Pure.

Whether the next may be sent is the gate's and the budget's business; `ReadQueue` only orders, bounds and forgets.
"""

import asyncio
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mdcache.errors import LaneFull
from mdcache.exchange.markets import Market
from mdcache.upstream.budget import Reservation
from mdcache.upstream.models import Fetchable, UpstreamReply, UpstreamRequest
from mdcache.upstream.priority import Lane, Priority

# Theory of operation
# ===================
#
# Between lanes: high before normal before low; but a lane that waits and was passed over nine times is next
# (a floor of sends where concurrency is scarce, beside the budget's floor of weight).
#
# Within a lane: tails whose candle closed first, then round robin by client. Each read gets a tag when it
# joins: one more than the later of its client's last tag and the tag served last. Serving the smallest tag
# first is round robin (start-time fair queueing), and a tag never changes, so that a heap holds the order.
#
# Reads of one market that are paced alike stand or fall together: they form a *class*, and if the budget or
# the concurrency refuses a class's first read, the scheduler blocks the class and asks for the next of another.
#
# A `Priority` may be improved by its flight at any time. `reorder` looks at all of them again, before each pump.

MAX_WAITING = 10_000  # in each lane; docs/design.md#security: everything is bounded
MAX_PASSED_OVER = 9  # docs/design.md#lanes: each lane has a floor of 10 %
_STALE_ENTRIES = 64

ReadClass = tuple[Market, bool]


@dataclass(slots=True, eq=False)
class QueuedRead:
    """One attempt of a read, from the queue to its outcome. `lane`, `close_passed`, `read_class`: how it is filed now.

    `weight`: as it was when it joined. What is `None` is set when it is granted.
    """

    read: Fetchable[Any]
    future: asyncio.Future[UpstreamReply]
    queued_at_s: float
    weight: int
    lane: Lane = field(init=False)
    close_passed: bool = field(init=False)
    read_class: ReadClass = field(init=False)
    tag: int = 0
    removed: bool = False
    request: UpstreamRequest | None = None
    reservation: Reservation | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        """File it by its priority."""
        self.file()

    @property
    def market(self) -> Market:
        """Where it is asked."""
        return self.read.market

    @property
    def priority(self) -> Priority:
        """How it should stand."""
        return self.read.priority

    @property
    def misfiled(self) -> bool:
        """Whether its priority was improved."""
        now = self.priority
        return (self.lane, self.close_passed, self.read_class[1]) != (now.lane, now.close_passed, now.paced)

    def file(self) -> None:
        """Stand as its priority says."""
        now = self.priority
        self.lane, self.close_passed, self.read_class = now.lane, now.close_passed, (self.market, now.paced)


_Heap = list[tuple[bool, int, int, QueuedRead]]


@dataclass(slots=True)
class _LaneQueue:
    heaps: dict[ReadClass, _Heap] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    served_tag: int = 0
    waiting: int = 0
    weight: int = 0
    passed_over: int = 0


class ReadQueue:
    """All waiting reads of a family."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._lanes: dict[Lane, _LaneQueue] = {lane: _LaneQueue() for lane in Lane}
        self._reads: dict[QueuedRead, None] = {}
        self._serial = itertools.count()

    def __len__(self) -> int:
        return len(self._reads)

    def __iter__(self) -> Iterator[QueuedRead]:
        return iter(tuple(self._reads))

    def waiting(self, lane: Lane) -> int:
        """Return how many wait in a lane."""
        return self._lanes[lane].waiting

    def weight(self, lane: Lane) -> int:
        """Return the weight of all that wait in a lane, as it was when each joined."""
        return self._lanes[lane].weight

    def add(self, queued: QueuedRead) -> None:
        """Join the queue.

        Raises:
            LaneFull: as many wait in this lane as may.
        """
        if self._lanes[queued.lane].waiting >= self._max_waiting:
            raise LaneFull(1.0, f"{self._max_waiting} reads are waiting in the {queued.lane} lane")
        self._reads[queued] = None
        self._push(queued)

    def remove(self, queued: QueuedRead) -> None:
        """Leave the queue, sent or not."""
        if queued.removed:
            return
        queued.removed = True
        del self._reads[queued]
        self._uncount(queued)

    def reorder(self) -> None:
        """Look at every priority again and file those anew that were improved."""
        for queued in self._reads:
            if queued.misfiled:
                self._uncount(queued)
                queued.file()
                self._push(queued)

    def peek(self, blocked: set[tuple[Lane, ReadClass]]) -> QueuedRead | None:
        """Return the next, of the classes that are not blocked; it stays in the queue until removed."""
        firsts = [queued for lane in Lane if (queued := self._first(lane, blocked)) is not None]
        owed = [queued for queued in firsts[1:] if self._lanes[queued.lane].passed_over >= MAX_PASSED_OVER]
        return next(iter([*owed, *firsts]), None)

    def take(self, queued: QueuedRead) -> None:
        """Take out one that is sent; the other lanes that wait were passed over once more."""
        served = self._lanes[queued.lane]
        served.served_tag = max(served.served_tag, queued.tag)
        served.passed_over = 0
        self.remove(queued)
        for lane, each in self._lanes.items():
            if lane is not queued.lane and each.waiting:
                each.passed_over += 1

    # ------------------------------------------------------------------------------------- parts

    def _push(self, queued: QueuedRead) -> None:
        lane = self._lanes[queued.lane]
        client = queued.priority.client
        queued.tag = max(lane.served_tag, lane.tags.get(client, 0)) + 1
        lane.tags[client] = queued.tag
        lane.waiting += 1
        lane.weight += queued.weight
        heap = lane.heaps.setdefault(queued.read_class, [])
        if len(heap) > 2 * lane.waiting + _STALE_ENTRIES:
            heap[:] = [entry for entry in heap if not self._stale(entry, queued.lane, queued.read_class)]
            heapq.heapify(heap)
        heapq.heappush(heap, (not queued.close_passed, queued.tag, next(self._serial), queued))

    def _uncount(self, queued: QueuedRead) -> None:
        """Leave its entry in the heap behind, to be skipped; an empty lane forgets tags and passes."""
        lane = self._lanes[queued.lane]
        lane.waiting -= 1
        lane.weight -= queued.weight
        if not lane.waiting:
            self._lanes[queued.lane] = _LaneQueue()

    def _first(self, lane: Lane, blocked: set[tuple[Lane, ReadClass]]) -> QueuedRead | None:
        heads = []
        for read_class, heap in self._lanes[lane].heaps.items():
            while heap and self._stale(heap[0], lane, read_class):
                heapq.heappop(heap)
            if heap and (lane, read_class) not in blocked:
                heads.append(heap[0])
        return min(heads)[3] if heads else None

    @staticmethod
    def _stale(entry: tuple[bool, int, int, QueuedRead], lane: Lane, read_class: ReadClass) -> bool:
        not_passed, tag, _, queued = entry
        filed = (queued.lane, queued.read_class, not queued.close_passed, queued.tag)
        return queued.removed or filed != (lane, read_class, not_passed, tag)
