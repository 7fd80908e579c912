"""Share rows between replicas through a common store (docs/design.md#leases).

Before a read from Binance, one pull applies what the store has that is newer than ours. If that is not enough, one
replica takes the lease and reads, while the others wait for what it pushes. The result of a read is pushed in the
background. What two replicas push at once is merged by coverage and as-of.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from mdcache.cache.purge import LocalPurge
from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.replicas.error_messages import WindowBounds, decode_error, encode_error
from mdcache.cache.replicas.leases import Leases, PullOutcome, RefusalNow
from mdcache.cache.replicas.peer_versions import SeenVersionsBySeries
from mdcache.cache.replicas.purges import ReplicaPurges
from mdcache.cache.replicas.read_goal import ReadGoal, lease_name, reached_block_indexes, read_goal
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.sharing import RowRead, RowSharing
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.replication import SeriesState, apply_state
from mdcache.candles.series import Series
from mdcache.candles.shared_rows import LeaseRequest, PullResult, SharedRowStore
from mdcache.candles.tail import Tail
from mdcache.candles.window import WindowKind
from mdcache.clock import Clock, Instant
from mdcache.events import Events, RowRevised
from mdcache.exchange.klines import SeriesKey
from mdcache.leases import MAX_AHEAD_MS, PULL_INTERVAL_S, Lease, SharedStoreDown

_PUSH_TRIES = 4
_MAX_PUSHES = 16  # at once
_MAX_BLOCKS = 8  # in one pull


class SharedRows(RowSharing):
    """The port `RowSharing` over a shared store."""

    def __init__(
        self,
        store: SharedRowStore,
        registry: SeriesRegistry,
        local_purge: LocalPurge,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
        events: Events,
        refusal_now: RefusalNow,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._now = exchange_now
        self._events = events
        self._seen = SeenVersionsBySeries()
        self._background = BackgroundTasks(clock, events)
        self._leases: Leases[SeriesKey] = Leases(clock, self._background, refusal_now)
        self._purges = ReplicaPurges(store, local_purge, self._seen, self._background)
        self._push_slots = asyncio.Semaphore(_MAX_PUSHES)
        store.subscribe(self._leases.on_released, self._purges.on_purge)

    # ------------------------------------------------------------------------------------ reading

    async def satisfied_by_peers(self, flight: RowRead) -> bool:
        """Pull, and wait while another replica reads the same; see `Sharing`."""
        series = flight.series
        goal = read_goal(series, flight.window, self._now(series).late_ms)
        pull, renew = partial(self._pull_or_lease, goal, flight), partial(self._store.renew, series.key)
        return await self._leases.satisfied_by_peers(flight, series.key, lease_name(series, flight.window), pull, renew)

    async def pull(self, flight: RowRead) -> bool:
        """Pull, unless that was done a moment ago; return whether the tail changed."""
        series = flight.series
        seen = self._seen.of(series.key)
        if self._clock.now() - seen.pulled_s < PULL_INTERVAL_S:
            return False
        before = series.tail
        pin = self._registry.pin(series.key)
        try:
            await self._pull_blocks(
                series, reached_block_indexes(series, flight.window, self._now(series).late_ms), None
            )
        except SharedStoreDown:
            return False
        finally:
            self._registry.unpin(pin)
        return series.tail is not before

    async def _pull_or_lease(self, goal: ReadGoal, flight: RowRead, lease: Lease, *, take_lease: bool) -> PullOutcome:
        series, now_ms = flight.series, self._now(flight.series).late_ms
        min_as_of_ms = flight.min_as_of_ms if flight.window.kind is WindowKind.TAIL else None
        indexes = reached_block_indexes(series, flight.window, now_ms)[:_MAX_BLOCKS]
        found = await self._pull_blocks(series, indexes, LeaseRequest(lease, min_as_of_ms, now_ms, take_lease))
        satisfied = goal.met(series, flight.min_as_of_ms, self._now(series))
        return PullOutcome(satisfied, found.lease_state, decode_error(found.error, _bounds(flight)))

    async def _pull_blocks(self, series: Series, indexes: Sequence[int], request: LeaseRequest | None) -> PullResult:
        """Pull and apply these blocks, and all other blocks in memory in which rows were revised."""
        seen = self._seen.of(series.key)
        while True:
            purges = self._purges.generation
            for index in indexes:
                await self._registry.persistence.load_range(series, *series.blocks.span(index))
            found = await self._store.pull(series.key, seen.known_versions(series, indexes), request)
            if found.last_purge and found.last_purge != seen.last_purge:
                await self._purges.apply_missed(series, found.last_purge)
            elif self._purges.generation == purges:
                break
            seen = self._seen.of(series.key)
        await self._apply(series, found, indexes)
        others = [index for index in found.revised_blocks if index not in indexes and _holds_block(series, index)]
        for at in range(0, len(others), _MAX_BLOCKS):
            some = others[at : at + _MAX_BLOCKS]
            await self._apply(series, await self._store.pull(series.key, seen.known_versions(series, some), None), some)
        seen.revisions = found.revisions
        seen.pulled_s = self._clock.now()
        return found

    async def _apply(self, series: Series, found: PullResult, indexes: Sequence[int]) -> None:
        for index in found.state.blocks:  # memory may have evicted some of it in the meantime
            await self._registry.persistence.load_range(series, *series.blocks.span(index))
        state, now = found.state, self._now(series)
        if state.tail is not None and not self._admits(series, state.tail, now):
            state = SeriesState(None, state.outside_blocks, state.empty_ranges, state.blocks)
        for revision in apply_state(series, state):
            key = series.key
            self._events.emit(RowRevised(key.market, str(key), revision.open_ms, revision.was, revision.now))
        self._seen.of(series.key).record_pull(found, indexes)
        self._registry.note_merged(series)

    def _admits(self, series: Series, tail: Tail, now: Instant) -> bool:
        """Return whether a tail is neither from ahead of now nor older than what was shown of an evicted series."""
        shown_ms = self._registry.shown_times.until_ms(series.key)
        outdated = tail.as_of_ms < shown_ms <= now.late_ms  # shown later than now: by a wrong clock
        return not outdated and tail.as_of_ms <= now.late_ms + MAX_AHEAD_MS

    # ------------------------------------------------------------------------------------ pushing

    def finished(self, flight: RowRead, error: BaseException | None) -> None:
        """Push the result of `flight`, or its error, in the background."""
        push = self._push(flight) if error is None and flight.open_times_ms is not None else None
        text = encode_error(error, _bounds(flight), waited_for_peer=flight.waited_for_peer)
        self._leases.finish(flight, push, partial(self._store.release, flight.series.key), text)

    async def _push(self, flight: RowRead) -> None:
        series, lease = flight.series, flight.lease
        pin = self._registry.pin(series.key)
        try:
            async with self._push_slots:
                for _ in range(_PUSH_TRIES):
                    if await self._try_push(flight):
                        return
                    indexes = self._push_indexes(flight)
                    for at in range(0, len(indexes), _MAX_BLOCKS):
                        await self._pull_blocks(series, indexes[at : at + _MAX_BLOCKS], None)
            if lease is not None:
                await self._store.release(series.key, lease, "")
        finally:
            self._registry.unpin(pin)

    async def _try_push(self, flight: RowRead) -> bool:
        series, seen = flight.series, self._seen.of(flight.series.key)
        push = seen.build_push(
            series, self._push_indexes(flight), flight.lease, as_of_publishable=flight.as_of_publishable
        )
        found = await self._store.push(series.key, push)
        if found.pushed:
            seen.record_push(push, found)
        return found.pushed

    def _push_indexes(self, flight: RowRead) -> list[int]:
        """Return the blocks that the read touched, and those held around its window: other replicas may lack them."""
        series = flight.series
        width = series.blocks.width_ms
        around = reached_block_indexes(series, flight.window, self._now(series).late_ms)
        touched = {open_ms // width for open_ms in flight.open_times_ms or ()}
        return [index for index in sorted({*around, *touched}) if index in series.blocks]

    # ------------------------------------------------------------------------------------ the end

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Make all other replicas forget; retry in the background if the store is down."""
        await self._purges.purge(series_filter)

    async def aclose(self) -> None:
        """Finish what is being pushed, within a second."""
        await self._background.aclose()
        await self._leases.aclose()


def _holds_block(series: Series, index: int) -> bool:
    span = series.blocks.span(index)
    return bool(series.coverage.intersection(*span) or series.stored.intersection(*span))


def _bounds(flight: RowRead) -> WindowBounds:
    return flight.window.start_ms, flight.window.end_ms
