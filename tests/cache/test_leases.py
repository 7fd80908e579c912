"""One replica reads for all: leases taken, renewed, waited for and released (docs/design.md#leases)."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

import pytest

from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.replicas.leases import POLL_S, Leases, PullOutcome
from mdcache.errors import BodyFault, BudgetSpent, GateClosed, InvalidBody, UpstreamUnavailable
from mdcache.events import Event, Events
from mdcache.exchange.markets import Market
from mdcache.leases import LEASE_RENEWED_S, Lease, LeaseState, SharedStoreDown
from mdcache.upstream.priority import Lane, Priority
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual

MINE, THEIRS, UNLEASED = (
    PullOutcome(satisfied=False, lease_state=hold, error=None)
    for hold in (LeaseState.MINE, LeaseState.THEIRS, LeaseState.NONE)
)
SATISFIED = PullOutcome(satisfied=True, lease_state=LeaseState.NONE, error=None)
DOWN = SharedStoreDown()


@dataclass
class Read:
    priority: Priority
    market: Market = Market.SPOT
    min_as_of_ms: int = 0
    waited_for_peer: bool = False
    lease: Lease | None = None

    def weight(self) -> int:
        return 2


@dataclass
class Scene:
    """One read among others. `outcomes`: of its pulls; the last one is repeated."""

    outcomes: list[PullOutcome | SharedStoreDown]
    refusal: UpstreamUnavailable | None = None
    held: list[bool | SharedStoreDown] = field(default_factory=list)  # what renewals bring; then `True`
    deadline_s: float = 8.0
    pulls: list[tuple[float, Lease, bool]] = field(default_factory=list)
    renewed_s: list[float] = field(default_factory=list)
    down: int = 0  # releases that fail
    released: list[tuple[float, Lease, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.began_s = self.clock.now()
        self.events: list[Event] = []
        background = BackgroundTasks(self.clock, Events(self.events.append))
        self.leases: Leases[str] = Leases(self.clock, background, lambda _market, _lane, _weight: self.refusal)
        self.read = Read(Priority(Lane.NORMAL, self.began_s + self.deadline_s))

    async def satisfied(self) -> bool:
        return await self.leases.satisfied_by_peers(self.read, "topic", "name", self.pull, self.renew)

    async def pull(self, lease: Lease, *, take_lease: bool) -> PullOutcome:
        self.pulls.append((self.passed_s, lease, take_lease))
        outcome = self.outcomes[min(len(self.pulls), len(self.outcomes)) - 1]
        if isinstance(outcome, SharedStoreDown):
            raise outcome
        return outcome

    async def renew(self, lease: Lease) -> bool:
        assert lease == self.read.lease
        self.renewed_s.append(self.passed_s)
        held = self.held.pop(0) if self.held else True
        if isinstance(held, SharedStoreDown):
            raise held
        return held

    async def release(self, lease: Lease, error: str) -> None:
        self.released.append((self.passed_s, lease, error))
        if len(self.released) <= self.down:
            raise DOWN

    def end(self, push: Coroutine[object, object, None] | None = None, error: str = "") -> None:
        self.leases.finish(self.read, push, self.release, error)

    @property
    def passed_s(self) -> float:
        return round(self.clock.now() - self.began_s, 6)


@pytest.mark.parametrize("outcome", [SATISFIED, PullOutcome(satisfied=True, lease_state=LeaseState.THEIRS, error=None)])
async def test_a_read_is_unnecessary_if_the_store_has_its_result(outcome: PullOutcome) -> None:
    scene = Scene([outcome])
    assert await scene.satisfied()
    assert (len(scene.pulls), scene.read.lease, scene.read.waited_for_peer) == (1, None, False)


async def test_a_lease_is_renewed_until_its_read_ends() -> None:
    scene = Scene([MINE], held=[True, DOWN, True])
    assert not await scene.satisfied()
    ((_, lease, may_take),) = scene.pulls
    assert (scene.read.lease, may_take, lease.name, lease.rank) == (lease, True, "name", Lane.NORMAL.rank)
    await scene.clock.sleep(4.5 * LEASE_RENEWED_S)
    assert scene.renewed_s == [n * LEASE_RENEWED_S for n in (1, 2, 3, 4)]
    scene.end()
    await scene.clock.sleep(5.0)
    assert len(scene.renewed_s) == 4


@pytest.mark.parametrize("down", [0, 1, 2, 99])
async def test_a_release_is_retried_while_the_shared_store_is_down(down: int) -> None:
    scene = Scene([MINE], down=down)
    await scene.satisfied()
    lease = scene.read.lease
    assert lease is not None
    scene.end(error="what it met")
    await scene.clock.sleep(10.0)
    first, *again = scene.released
    assert first == (0.0, lease, "what it met")
    assert again == [(at, lease, "") for at in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)[:down]]
    assert scene.events == []


@pytest.mark.parametrize("mine", [True, False])
async def test_a_push_that_failed_still_ends_its_lease(mine: bool) -> None:
    scene = Scene([MINE if mine else UNLEASED])
    await scene.satisfied()

    async def push() -> None:
        raise DOWN

    scene.end(push())
    await scene.clock.sleep(1.0)
    assert scene.released == ([(0.0, scene.read.lease, "")] if mine else [])


async def test_a_lost_lease_is_not_renewed() -> None:
    scene = Scene([MINE], held=[True, False])
    await scene.satisfied()
    await scene.clock.sleep(10.0)
    assert len(scene.renewed_s) == 2
    scene.end()


async def test_no_lease_is_renewed_after_the_close() -> None:
    scene = Scene([MINE])
    await scene.satisfied()
    await scene.leases.aclose()
    await scene.clock.sleep(10.0)
    assert scene.renewed_s == []


async def test_a_waiting_replica_pulls_again_on_a_message_and_at_intervals() -> None:
    scene = Scene([THEIRS, THEIRS, THEIRS, SATISFIED])
    waiter = asyncio.create_task(scene.satisfied())
    await scene.clock.sleep(1.4 * POLL_S)
    scene.leases.on_released("another topic")
    await scene.clock.sleep(0.0)
    scene.leases.on_released("topic")
    assert await waiter
    assert [at for at, _, _ in scene.pulls] == [0.0, POLL_S, 1.4 * POLL_S, 2.4 * POLL_S]
    assert len({lease for _, lease, _ in scene.pulls}) == 1
    assert (scene.read.waited_for_peer, scene.read.lease) == (True, None)


async def test_a_waiting_replica_takes_over_a_free_lease() -> None:
    scene = Scene([THEIRS, MINE])
    assert not await scene.satisfied()
    assert scene.read.waited_for_peer
    assert scene.read.lease is not None
    scene.end()


async def test_no_read_waits_past_its_deadline() -> None:
    scene = Scene([THEIRS], deadline_s=0.3)
    assert not await scene.satisfied()
    assert [at for at, _, _ in scene.pulls] == [0.0, 0.25, 0.3]
    assert scene.read.lease is None


async def test_the_error_of_the_reading_replica_is_raised() -> None:
    error = InvalidBody(BodyFault.EMPTY, "")
    scene = Scene([THEIRS, PullOutcome(satisfied=False, lease_state=LeaseState.FAILED, error=error)])
    with pytest.raises(InvalidBody) as caught:
        await scene.satisfied()
    assert caught.value is error
    assert scene.read.lease is None


async def test_the_error_of_another_read_is_not_raised() -> None:
    scene = Scene([PullOutcome(satisfied=False, lease_state=LeaseState.FAILED, error=None)])
    assert not await scene.satisfied()
    assert scene.read.lease is None


async def test_a_lease_whose_reply_was_lost_is_still_ended() -> None:
    scene = Scene([DOWN])
    assert not await scene.satisfied()
    ((_, lease, _),) = scene.pulls
    assert scene.read.lease == lease
    scene.end()
    await scene.clock.sleep(5.0)
    assert scene.renewed_s == []


@pytest.mark.parametrize(
    ("refusal", "may_take"),
    [
        (GateClosed(0.1, "banned (418)"), False),
        (BudgetSpent(8.1, "spent"), False),
        (BudgetSpent(7.9, "spent"), True),
        (None, True),
    ],
)
async def test_a_read_that_would_be_refused_takes_no_lease(refusal: UpstreamUnavailable | None, may_take: bool) -> None:
    scene = Scene([UNLEASED], refusal)
    assert not await scene.satisfied()
    assert [each for _, _, each in scene.pulls] == [may_take]
    assert scene.read.lease is None


async def test_a_better_lane_is_used_at_the_next_pull() -> None:
    scene = Scene([THEIRS, THEIRS, SATISFIED])
    waiter = asyncio.create_task(scene.satisfied())
    await scene.clock.sleep(0.1)
    scene.read.priority.lane = Lane.HIGH
    assert await waiter
    first, second, _ = (lease for _, lease, _ in scene.pulls)
    assert (first.rank, second.rank) == (Lane.NORMAL.rank, Lane.HIGH.rank)
    assert first.holder == second.holder


async def test_a_cancelled_wait_leaves_no_task() -> None:
    scene = Scene([THEIRS])
    waiter = asyncio.create_task(scene.satisfied())
    await scene.clock.sleep(0.1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert asyncio.all_tasks() == {asyncio.current_task()}
    scene.leases.on_released("topic")
