"""Share whole bodies between replicas, as `rows.py` shares rows (docs/design.md#leases).

Before a read from Binance, one pull applies a body that is newer than ours. If it is not new enough, one replica takes
the lease and reads, while the others wait for what it pushes. The result of a read is pushed in the background.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.replicas.error_messages import NO_BOUNDS, decode_error, encode_error
from mdcache.cache.replicas.leases import Leases, PullOutcome, RefusalNow
from mdcache.cache.sharing import BodyRead, BodySharing
from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import Clock, Instant
from mdcache.errors import InvalidBody
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.markets import Market
from mdcache.leases import MAX_AHEAD_MS, PULL_INTERVAL_S, Lease, SharedStoreDown
from mdcache.upstream.replicas.shared_bodies import BodyLeaseRequest, BodyPullResult, SharedBodyStore

_MAX_PULLED = 4_096
_LEASE_NAME = "read"  # each body has a single lease


class SharedBodies(BodySharing):
    """The port `BodySharing` over a shared store."""

    def __init__(
        self,
        store: SharedBodyStore,
        clock: Clock,
        exchange_now: Callable[[Market], Instant],
        events: Events,
        refusal_now: RefusalNow,
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = exchange_now
        self._events = events
        self._pulled_s: OrderedDict[str, float] = OrderedDict()  # oldest first
        self._background = BackgroundTasks(clock, events)
        self._leases: Leases[str] = Leases(clock, self._background, refusal_now)
        store.subscribe(self._leases.on_released)

    async def satisfied_by_peers(self, read: BodyRead) -> bool:
        """Pull, and wait while another replica reads the same; see `Sharing`."""
        pull, renew = partial(self._pull_or_lease, read), partial(self._store.renew, read.market, read.name)
        return await self._leases.satisfied_by_peers(read, self._topic(read), _LEASE_NAME, pull, renew)

    async def pull(self, read: BodyRead) -> bool:
        """Pull, unless that was done a moment ago; return whether there was a newer body."""
        before_ms = read.held_as_of_ms
        if not self._may_pull(self._topic(read)):
            return False
        try:
            await self._apply(read, await self._store.pull(read.market, read.name, read.held_as_of_ms, None))
        except SharedStoreDown:
            return False
        return read.held_as_of_ms > before_ms

    def finished(self, read: BodyRead, error: BaseException | None) -> None:
        """Push the result of `read`, or its error, in the background."""
        body, push = read.fetched, None
        if error is None and body is not None:
            push = self._store.push(read.market, read.name, body, read.max_age_s, read.lease)
        text = encode_error(error, NO_BOUNDS, waited_for_peer=read.waited_for_peer)
        self._leases.finish(read, push, partial(self._store.release, read.market, read.name), text)

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Delete all bodies, if `series_filter` is no narrower than a market; again in the background if it fails."""
        if series_filter.whole_markets:
            await self._background.run_with_retry(self._store.purge)

    async def aclose(self) -> None:
        """Finish what is being pushed, within a second."""
        await self._background.aclose()
        await self._leases.aclose()

    async def _pull_or_lease(self, read: BodyRead, lease: Lease, *, take_lease: bool) -> PullOutcome:
        request = BodyLeaseRequest(lease, read.min_as_of_ms, take_lease)
        found = await self._store.pull(read.market, read.name, read.held_as_of_ms, request)
        await self._apply(read, found)
        satisfied = read.held_as_of_ms >= read.min_as_of_ms
        return PullOutcome(satisfied, found.lease_state, decode_error(found.error, NO_BOUNDS))

    async def _apply(self, read: BodyRead, found: BodyPullResult) -> None:
        body = found.body
        if body is None or body.as_of_ms > self._now(read.market).late_ms + MAX_AHEAD_MS:
            return
        try:
            await read.apply(body)
        except InvalidBody as error:
            self._events.emit(BackgroundTaskFailed(BackgroundTask.SHARED_BODY, f"{read.name}: {error}"))
            return
        read.held_as_of_ms = body.as_of_ms

    def _may_pull(self, topic: str) -> bool:
        now_s = self._clock.now()
        if now_s - self._pulled_s.get(topic, float("-inf")) < PULL_INTERVAL_S:
            return False
        self._pulled_s.pop(topic, None)
        self._pulled_s[topic] = now_s
        if len(self._pulled_s) > _MAX_PULLED:
            self._pulled_s.popitem(last=False)
        return True

    def _topic(self, read: BodyRead) -> str:
        return self._store.topic(read.market, read.name)
