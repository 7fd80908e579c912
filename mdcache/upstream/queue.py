"""The queue of waiting reads of one family: which is next. Pure.

Gate and budget decide whether the next may be sent; `ReadQueue` only orders and bounds the reads.
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
from mdcache.upstream.models import Fetchable, UpstreamRequest
from mdcache.upstream.priority import Lane, Priority

# Theory of operation
# ===================
#
# Between lanes: high before normal before low; but a waiting lane that was passed over nine times is next
# (a minimum of sends when concurrency is scarce, like the budget's minimum of weight).
#
# Within a lane: tails whose candle closed first, then round robin by client: its name, or else its address. Each read
# gets a tag when it joins: one more than the later of its client's last tag and the tag served last. Serving the
# smallest tag first is round robin (start-time fair queueing), and a tag never changes, so that a heap holds the order.
#
# Reads of one market that are all paced, or all not, are admitted alike: they form a *class*, and if the budget or
# the concurrency refuses a class's first read, the scheduler blocks the class and asks for the next of another.
#
# A flight may improve its `Priority` at any time. `reorder` checks all of them before each pump.

MAX_WAITING = 10_000  # in each lane; docs/design.md#security: everything is bounded
MAX_PASSED_OVER = 9  # docs/design.md#lanes: each lane has a floor of 10 %
_STALE_ENTRIES = 64

ReadClass = tuple[Market, bool]


@dataclass(slots=True, eq=False)
class QueuedRead:
    """One attempt of a read, from the queue to its outcome.

    `lane`, `close_passed`, `read_class`: as the queue has them now. `weight`: as it was when it was queued. Fields that
    are `None` are set when it is granted. `answered`: whether Binance itself has answered it.
    """

    read: Fetchable[Any]
    future: asyncio.Future[Any]
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
    answered: bool = False

    def __post_init__(self) -> None:
        """Set the queue's fields from its priority."""
        self.file()

    @property
    def market(self) -> Market:
        """The market that is asked."""
        return self.read.market

    @property
    def priority(self) -> Priority:
        """Its current priority."""
        return self.read.priority

    @property
    def misfiled(self) -> bool:
        """Whether its priority was improved since it was queued."""
        now = self.priority
        return (self.lane, self.close_passed, self.read_class[1]) != (now.lane, now.close_passed, now.paced)

    def file(self) -> None:
        """Update the queue's fields from its priority."""
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
    """The waiting reads of a family."""

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
        """Return the number of reads that wait in a lane."""
        return self._lanes[lane].waiting

    def weight(self, lane: Lane) -> int:
        """Return the weight of all reads that wait in a lane, as it was when each was queued."""
        return self._lanes[lane].weight

    def add(self, queued: QueuedRead) -> None:
        """Add a read.

        Raises:
            LaneFull: the lane has its maximum of waiting reads.
        """
        if self._lanes[queued.lane].waiting >= self._max_waiting:
            raise LaneFull(1.0, f"{self._max_waiting} reads are waiting in the {queued.lane} lane")
        self._reads[queued] = None
        self._push(queued)

    def remove(self, queued: QueuedRead) -> None:
        """Remove a read, sent or not."""
        if queued.removed:
            return
        queued.removed = True
        del self._reads[queued]
        self._uncount(queued)

    def reorder(self) -> None:
        """Check every priority, and move the reads whose priority was improved."""
        for queued in self._reads:
            if queued.misfiled:
                self._uncount(queued)
                queued.file()
                self._push(queued)

    def peek(self, blocked: set[tuple[Lane, ReadClass]]) -> QueuedRead | None:
        """Return the next read whose class is not blocked; it stays in the queue until it is removed."""
        firsts = [queued for lane in self._lanes if (queued := self._first(lane, blocked)) is not None]
        owed = [queued for queued in firsts[1:] if self._lanes[queued.lane].passed_over >= MAX_PASSED_OVER]
        return next(iter([*owed, *firsts]), None)

    def take(self, queued: QueuedRead) -> None:
        """Remove a read that is sent, and count that the other waiting lanes were passed over."""
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
        client = queued.priority.client or queued.priority.address
        queued.tag = max(lane.served_tag, lane.tags.get(client, 0)) + 1
        lane.tags[client] = queued.tag
        if len(lane.tags) > 2 * lane.waiting + _STALE_ENTRIES:  # as many as there are addresses: old tags say nothing
            lane.tags = {each: tag for each, tag in lane.tags.items() if tag > lane.served_tag}
        lane.waiting += 1
        lane.weight += queued.weight
        heap = lane.heaps.setdefault(queued.read_class, [])
        if len(heap) > 2 * lane.waiting + _STALE_ENTRIES:
            heap[:] = [entry for entry in heap if not self._stale(entry, queued.lane, queued.read_class)]
            heapq.heapify(heap)
        heapq.heappush(heap, (not queued.close_passed, queued.tag, next(self._serial), queued))

    def _uncount(self, queued: QueuedRead) -> None:
        """Leave its heap entry, which will be skipped; reset the tags and passes of a lane that is now empty."""
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
