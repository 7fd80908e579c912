"""After the last fault: each family is asked again, and each daemon is ready, within 30 s and without a question."""

from collections.abc import Callable

from mdcache.upstream.gate import GateState
from tests.system.replica import Replica
from tests.system.wire_checks import WireChecks
from tests.system.world import World, is_ready

WITHIN_S = 30.0
_JOINS_S = (
    76.0  # after its start: one that finds the minute's weight taken waits, and is ready after 75 s at the latest
)
_REFUSALS = {"403", "418", "429", "451"}
_STEP_S = 1.0


class Recovery:
    def __init__(self, world: World, wire: WireChecks) -> None:
        self._world = world
        self._wire = wire

    async def wait(self, check: Callable[[], None]) -> None:
        """Wait until all is well, or fail. Nobody asks a question meanwhile."""
        clock = self._world.clock
        allowed_s = {
            (replica.number, family.family): self._allowed_s(replica, family.family)
            for replica in self._world.replicas
            for family in replica.governor.status()
        }
        began_s = clock.now()
        while allowed_s:
            for replica in self._world.replicas:
                ready = await is_ready(replica)
                for status in replica.governor.status():
                    asks = status.gate_state in {GateState.OPEN.value, GateState.RAMP.value}
                    if ready and asks:
                        allowed_s.pop((replica.number, status.family), None)
            late = {key: s for key, s in allowed_s.items() if clock.now() - began_s > s}
            assert not late, ("not back in time", late, self._state())
            await clock.sleep(_STEP_S)
            check()

    def _allowed_s(self, replica: Replica, family: str) -> float:
        """Return how long it may take: longer only if the exchange has refused, for as long as that pause."""
        now_ms = self._world.clock.true_ms()
        status = next(each for each in replica.governor.status() if each.family == family)
        stated_s = max(0.0, (self._wire.stated_until_ms(family) - now_ms) / 1000)
        refused = status.gate_state == GateState.CLOSED.value and status.gate_reason in _REFUSALS
        pause_s = status.reopens_in_s if refused else 0.0
        joins_s = 0.0
        if self._world.shared is not None:
            joins_s = _JOINS_S - (self._world.clock.now() - replica.started_s)
        return max(stated_s, pause_s) + max(WITHIN_S, joins_s)

    def _state(self) -> object:
        return [
            (
                replica.number,
                [
                    (each.family, each.gate_state, each.gate_reason, each.reopens_in_s)
                    for each in replica.governor.status()
                ],
            )
            for replica in self._world.replicas
        ]
