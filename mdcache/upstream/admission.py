"""Admission: may a read that gate and budget let through go at once, or do other replicas have a say? A port.

Here is also how it is where there is one process: nobody else is asked. `replicas/` has the other one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mdcache.clock import Clock
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
    """What an admission works on. `lease_ms`: longest that a sent read may take.

    `now`: the exchange's time, with what was spent carried along; `pump`: have the scheduler look again at what may go;
    `wake`: the same, but not in this step.
    """

    family: Family
    clock: Clock
    family_clock: FamilyClock
    budget_keeper: BudgetKeeper
    gate_keeper: GateKeeper
    lease_ms: int
    now: Callable[[], Moment]
    pump: Callable[[], None]
    wake: Callable[[], None]


@dataclass(frozen=True, slots=True)
class SharingStatus:
    """`mode`: shared, or divided; `part`: of the share, ours while divided; `total`: drawn by all in this minute."""

    mode: str
    replicas: int
    part: float
    total: int | None


class Admission(Protocol):
    """One family's admission."""

    @property
    def replicas(self) -> int:
        """How many replicas there are, as far as it is known."""
        ...

    def share(self, now: Moment) -> float:
        """Return the part of the share to plan with."""
        ...

    def paused_until_ms(self, lane: Lane, now: Moment) -> int:
        """Return the exchange time before which the lane gets nothing; 0 where it may."""
        ...

    def admit(self, weight: int, lane: Lane, now: Moment) -> Wait | None:
        """Return `None` where a read of this weight may be sent in this step, else what it waits for."""
        ...

    def record_send(self) -> None:
        """Note that the read which was admitted is sent: the gate moves by it."""
        ...

    def gate_stepped(self, event: GateEvent, before: Gate) -> None:
        """Note a move of the gate by an event of our own."""
        ...

    def status(self) -> SharingStatus | None:
        """Return how the family is shared; `None` where it is not."""
        ...

    async def start(self) -> None:
        """Meet the other replicas, before the first read."""
        ...

    async def aclose(self) -> None:
        """Leave them."""
        ...


AdmissionFactory = Callable[[AdmissionContext], Admission]


class LocalAdmission:
    """One process has gate and budget for itself."""

    replicas = 1

    def __init__(self, context: AdmissionContext) -> None:
        self._gate_keeper = context.gate_keeper

    def share(self, now: Moment) -> float:  # noqa: ARG002 - as the port has it
        """Return what the gate leaves of the share."""
        return self._gate_keeper.share_factor()

    def paused_until_ms(self, lane: Lane, now: Moment) -> int:  # noqa: ARG002
        """Return 0: no lane is paused."""
        return 0

    def admit(self, weight: int, lane: Lane, now: Moment) -> None:
        """Return `None`: it may be sent."""

    def record_send(self) -> None:
        """Move the gate."""
        self._gate_keeper.step(Sent())

    def gate_stepped(self, event: GateEvent, before: Gate) -> None:
        """Do nothing: nobody else needs to know."""

    def status(self) -> None:
        """Return `None`: it is not shared."""

    async def start(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""
