"""A family's checkpoint: its gate and budget, to be written down in one and taken up again at the next start."""

from dataclasses import replace

from mdcache.clock import Clock
from mdcache.upstream.account import Account
from mdcache.upstream.atrest import (
    Resting,
    Stamp,
    budget_to_mapping,
    doubted_gate,
    elapsed_ms,
    gate_to_mapping,
    revive,
)
from mdcache.upstream.budget import MINUTE_MS
from mdcache.upstream.gate import Gate
from mdcache.upstream.gatekeeper import Gatekeeper


class Checkpoint:
    """What of one family should rest. `boot` names what the clock that never steps counts from."""

    def __init__(self, gatekeeper: Gatekeeper, account: Account, clock: Clock) -> None:
        self._gatekeeper = gatekeeper
        self._account = account
        self._clock = clock
        self._revived: tuple[Gate, Resting] | None = None

    def at_rest(self, boot: str) -> Resting:
        """Gate and budget as they should rest."""
        gate, now, utc = self._gatekeeper.gate, self._stamp(boot), self._account.time.measured()
        plain = gate_to_mapping(gate, now.now_ms, utc.ms)
        resting = Resting(now, utc.ms, min(utc.error_ms, MINUTE_MS), plain, budget_to_mapping(self._account.budget))
        if self._revived is not None and gate is self._revived[0]:  # else each start would add to its wait
            was = self._revived[1]
            past_ms = was.utc_ms + elapsed_ms(was.stamp, now)
            resting = replace(resting, utc_ms=past_ms, error_ms=was.error_ms, gate=was.gate)
        return resting

    def revive(self, resting: Resting | None, boot: str) -> None:
        """Take up what rested, before the first read; `None`: it did, and nobody can read it.

        Raises `KeyError`, `ValueError` or `TypeError` for what `at_rest` can't have given.
        """
        now = self._stamp(boot)
        if resting is None:
            self._gatekeeper.gate = doubted_gate(now.now_ms)
            return
        utc_ms = self._account.time.measured().ms
        gate, self._account.budget = revive(resting, now, utc_ms, self._account.budget)
        self._gatekeeper.gate, self._revived = gate, (gate, resting)

    def _stamp(self, boot: str) -> Stamp:
        return Stamp(boot, int(self._clock.now() * 1000), self._clock.wall_ms())
