"""Decide when to read a whole list in place of single elements of it."""

from collections import OrderedDict
from collections.abc import Callable

from mdcache.cache.snapshot_bodies import SnapshotBodies
from mdcache.clock import Clock
from mdcache.exchange.snapshots import SnapshotQuestion
from mdcache.upstream.exchange_clock import ExchangeClocks

_MAX_LISTS = 256  # lists whose single questions are counted
_LIST_UNUSED_AFTER_TTLS = 2  # a list older than this many of its TTLs is no longer read for its elements


class ListChoice:
    """Counts the single questions of each list. `ttl_s`: how long the answer to a question is fresh."""

    def __init__(
        self, bodies: SnapshotBodies, clocks: ExchangeClocks, clock: Clock, ttl_s: Callable[[SnapshotQuestion], float]
    ) -> None:
        self._bodies = bodies
        self._clocks = clocks
        self._clock = clock
        self._ttl_s = ttl_s
        self._single_questions: OrderedDict[SnapshotQuestion, dict[SnapshotQuestion, float]] = OrderedDict()

    def pays(self, listing: SnapshotQuestion, min_age_ttls: int) -> bool:
        """Return whether a list read for its elements has paid for itself, is this old, and may still be wanted."""
        held = self._bodies.held(listing)
        if held is None or not held.for_elements or held.saved_weight < listing.weight:
            return False
        age_ms, ttl_ms = self._clocks.now(listing.market).ms - held.as_of_ms, self._ttl_s(listing) * 1000
        return min_age_ttls * ttl_ms <= age_ms <= _LIST_UNUSED_AFTER_TTLS * ttl_ms

    def cheaper_list(self, snapshot: SnapshotQuestion, listing: SnapshotQuestion | None) -> SnapshotQuestion | None:
        """Return the list, if it costs no more than its single questions of one TTL, and may have the element."""
        held = self._bodies.held(listing) if listing is not None else None
        if listing is None or (held is not None and held.lacks(snapshot)):
            return None
        if self.pays(listing, 1):
            return listing
        now_s = self._clock.now()
        since_s = now_s - self._ttl_s(snapshot)
        asked = {each: at_s for each, at_s in self._single_questions.pop(listing, {}).items() if at_s > since_s}
        asked.pop(snapshot, None)
        asked[snapshot] = now_s
        while len(asked) > listing.weight:  # each weighs at least 1: this many pay for the list
            del asked[next(iter(asked))]
        self._single_questions[listing] = asked
        if len(self._single_questions) > _MAX_LISTS:
            self._single_questions.popitem(last=False)
        return listing if sum(each.weight for each in asked) >= listing.weight else None
