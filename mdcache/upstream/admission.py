"""Admission, the last check before a read is sent: the port, and its version for a single process.

`LocalAdmission` is for a single process, and asks no other replica. `replicas/` has the shared one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.markets import Family
from mdcache.upstream.budget import Moment, Wait
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate
from mdcache.upstream.gate_events import GateEvent, Sent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.priority import Lane


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """The parts of a family that its admission uses. `lease_ms`: the longest time that a sent read may take.

    `now`: the exchange's time, after moving the budget with its corrections; `pump`: make the scheduler check again
    what may be sent; `wake`: the same, but not in this step.
    """

    family: Family
    clock: Clock
    events: Events
    family_clock: FamilyClock
    budget_keeper: BudgetKeeper
    gate_keeper: GateKeeper
    lease_ms: int
    now: Callable[[], Moment]
    pump: Callable[[], None]
    wake: Callable[[], None]


@dataclass(frozen=True, slots=True)
class SharingStatus:
    """How replicas share one family.

    `mode`: `shared` or `divided`; `part`: our part of the share while divided; `total`: drawn by all this minute.
    `ready`: whether there was weight to spend at any time since the start, or that can't be waited for.
    """

    mode: str
    replicas: int
    part: float
    total: int | None
    ready: bool


class Admission(Protocol):
    """The last check before a read of one family is sent."""

    @property
    def replicas(self) -> int:
        """The number of replicas, as far as it is known."""

    def share(self, now: Moment) -> float:
        """Return the part of the share to plan with."""

    def paused_until_ms(self, lane: Lane, now: Moment) -> int:
        """Return the exchange time before which the lane may send nothing; 0 if it may now."""

    def admit(self, weight: int, lane: Lane, now: Moment) -> Wait | None:
        """Return `None` if a read of this weight may be sent in this step, else what it must wait for."""

    def record_send(self) -> None:
        """Record that the admitted read is sent, which steps the gate."""

    def gate_stepped(self, event: GateEvent, before: Gate) -> None:
        """Handle a step of the gate caused by an event in this process."""

    def status(self) -> SharingStatus | None:
        """Return how the family is shared; `None` if it is not."""

    async def start(self) -> None:
        """Connect to the other replicas, before the first read."""

    async def aclose(self) -> None:
        """Leave the other replicas."""


AdmissionFactory = Callable[[AdmissionContext], Admission]


class LocalAdmission:
    """The admission of a single process, which has gate and budget to itself."""

    replicas = 1

    def __init__(self, context: AdmissionContext) -> None:
        self._gate_keeper = context.gate_keeper

    def share(self, now: Moment) -> float:  # noqa: ARG002 - the port's
        """Return the part of the share that the gate allows."""
        return self._gate_keeper.share_factor()

    def paused_until_ms(self, lane: Lane, now: Moment) -> int:  # noqa: ARG002 - the port's
        """Return 0: no lane is paused."""
        return 0

    def admit(self, weight: int, lane: Lane, now: Moment) -> None:
        """Return `None`: it may be sent."""

    def record_send(self) -> None:
        """Step the gate."""
        self._gate_keeper.step(Sent())

    def gate_stepped(self, event: GateEvent, before: Gate) -> None:
        """Do nothing: there are no other replicas."""

    def status(self) -> None:
        """Return `None`: it is not shared."""

    async def start(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""
