"""A family's checkpoint: its gate and budget, to be written down in one and taken up again at the next start."""

from dataclasses import replace

from mdcache.clock import Clock
from mdcache.upstream.budget import MINUTE_MS
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.gate import Gate
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.saved_state import (
    ClockStamp,
    SavedState,
    budget_to_mapping,
    elapsed_ms,
    gate_to_mapping,
    restore,
    unproven_gate,
)


class Checkpoint:
    """What of one family should rest. `boot` names what the clock that never steps counts from."""

    def __init__(self, gate_keeper: GateKeeper, budget_keeper: BudgetKeeper, clock: Clock) -> None:
        self._gate_keeper = gate_keeper
        self._budget_keeper = budget_keeper
        self._clock = clock
        self._restored: tuple[Gate, SavedState] | None = None

    def save(self, boot: str) -> SavedState:
        """Gate and budget as they should rest."""
        gate, now, utc = self._gate_keeper.gate, self._stamp(boot), self._budget_keeper.family_clock.measured()
        plain = gate_to_mapping(gate, now.now_ms, utc.ms)
        resting = SavedState(
            now, utc.ms, min(utc.error_ms, MINUTE_MS), plain, budget_to_mapping(self._budget_keeper.budget)
        )
        if self._restored is not None and gate is self._restored[0]:  # else each start would add to its wait
            was = self._restored[1]
            past_ms = was.utc_ms + elapsed_ms(was.stamp, now)
            resting = replace(resting, utc_ms=past_ms, error_ms=was.error_ms, gate=was.gate)
        return resting

    def restore(self, saved: SavedState | None, boot: str) -> None:
        """Take up what rested, before the first read; `None`: it did, and nobody can read it.

        Raises `KeyError`, `ValueError` or `TypeError` for what `at_rest` can't have given.
        """
        now = self._stamp(boot)
        if saved is None:
            self._gate_keeper.gate = unproven_gate(now.now_ms)
            return
        utc_ms = self._budget_keeper.family_clock.measured().ms
        gate, self._budget_keeper.budget = restore(saved, now, utc_ms, self._budget_keeper.budget)
        self._gate_keeper.gate, self._restored = gate, (gate, saved)

    def _stamp(self, boot: str) -> ClockStamp:
        return ClockStamp(boot, int(self._clock.now() * 1000), self._clock.wall_ms())
