"""Gate and budget as plain values, and back: what a disk or a Redis will keep (docs/design.md#gate-persistence). Pure.

Moments are UTC milliseconds at rest, and milliseconds of a clock that never steps in the gate.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from mdcache.clock import Clock
from mdcache.upstream.backoff import BAN_CAP_MS, BAN_MARGIN_MS, ClosureReason
from mdcache.upstream.budget import MINUTE_MS, Budget, Minute
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.priority import Lane

_MOMENTS = ("until_ms", "reopened_ms", "halved_until_ms")
_COUNTS = tuple(
    field.name for field in fields(Gate) if field.name not in {"state", "reason", "flying", "trouble", *_MOMENTS}
)
_LONGEST_MS = BAN_CAP_MS + 2 * MINUTE_MS  # the longest ban, with a clock's error at its refusal and at its writing
_MINUTE_COUNTS = ("number", "paced", "unseen", "unseen_ms")


@dataclass(frozen=True, slots=True)
class ClockStamp:
    """A moment by both of the machine's clocks: `now_ms` counts since the boot that is named, `wall_ms` may step."""

    boot: str
    now_ms: int
    wall_ms: int


def elapsed_ms(then: ClockStamp, now: ClockStamp) -> int:
    """Time from `then` to `now`, by the clock that never steps where it is still the same one.

    After a boot only the wall is left; where that was set back meanwhile, no time passed: waits are longer for it.
    """
    if then.boot and then.boot == now.boot and now.now_ms >= then.now_ms:
        return now.now_ms - then.now_ms
    return max(0, now.wall_ms - then.wall_ms)


@dataclass(frozen=True, slots=True)
class SavedState:
    """A family's gate and budget at rest: when they were written, and what the exchange's time was then."""

    stamp: ClockStamp
    utc_ms: int
    error_ms: int
    gate: Mapping[str, object]
    budget: Mapping[str, object]


class Checkpoint:
    """What of one family should rest. `boot` names what the clock that never steps counts from."""

    def __init__(
        self, gate_keeper: GateKeeper, budget_keeper: BudgetKeeper, family_clock: FamilyClock, clock: Clock
    ) -> None:
        self._gate_keeper = gate_keeper
        self._budget_keeper = budget_keeper
        self._family_clock = family_clock
        self._clock = clock
        self._restored: tuple[Gate, SavedState] | None = None

    def save(self, boot: str) -> SavedState:
        """Return gate and budget as they should be saved."""
        gate, now, utc = self._gate_keeper.gate, self._stamp(boot), self._family_clock.measured()
        plain = gate_to_mapping(gate, now.now_ms, utc.ms)
        saved_now = SavedState(
            now, utc.ms, min(utc.error_ms, MINUTE_MS), plain, budget_to_mapping(self._budget_keeper.budget)
        )
        if self._restored is not None and gate is self._restored[0]:  # else each start would add to its wait
            was = self._restored[1]
            past_ms = was.utc_ms + elapsed_ms(was.stamp, now)
            saved_now = replace(saved_now, utc_ms=past_ms, error_ms=was.error_ms, gate=was.gate)
        return saved_now

    def restore(self, saved: SavedState | None, boot: str) -> None:
        """Take up what rested, before the first read; `None`: it did, and nobody can read it.

        Raises `KeyError`, `ValueError` or `TypeError` for what `save` can't have given.
        """
        now = self._stamp(boot)
        if saved is None:
            self._gate_keeper.gate = unproven_gate(now.now_ms)
            return
        utc_ms = self._family_clock.measured().ms
        gate, self._budget_keeper.budget = restore(saved, now, utc_ms, self._budget_keeper.budget)
        self._gate_keeper.gate, self._restored = gate, (gate, saved)

    def _stamp(self, boot: str) -> ClockStamp:
        return ClockStamp(boot, int(self._clock.now() * 1000), self._clock.wall_ms())


def saved_to_mapping(saved: SavedState) -> dict[str, object]:
    """Return it as plain values."""
    return asdict(saved)


def saved_from_mapping(plain: object) -> SavedState:
    """Return what `saved_to_mapping` gave; `KeyError`, `ValueError` or `TypeError` for what it can't have given."""
    found = _mapping(plain)
    stamp = _mapping(found["stamp"])
    return SavedState(
        ClockStamp(str(stamp["boot"]), _integer(stamp["now_ms"]), _integer(stamp["wall_ms"])),
        _integer(found["utc_ms"]),
        _integer(found["error_ms"]),
        _mapping(found["gate"]),
        _mapping(found["budget"]),
    )


def restore(saved: SavedState, now: ClockStamp, utc_ms: int, budget: Budget) -> tuple[Gate, Budget]:
    """Return gate and budget as they stand at `now`, which our unmeasured clock takes for `utc_ms` of exchange time.

    No gate stays closed for longer than the longest ban: what says otherwise is damaged. What was spent in minutes
    that have ended is of no use. Raises what `gate_from_mapping` raises.
    """
    utc_then_ms = saved.utc_ms + elapsed_ms(saved.stamp, now)
    gate = gate_from_mapping(saved.gate, now.now_ms, utc_then_ms, min(MINUTE_MS, max(0, saved.error_ms)))
    gate = replace(gate, until_ms=min(gate.until_ms, now.now_ms + _LONGEST_MS))
    spent = budget_from_mapping(saved.budget, budget.limit, budget.share)
    shift = utc_ms // MINUTE_MS - utc_then_ms // MINUTE_MS
    minutes = tuple(
        replace(minute, number=minute.number + shift)
        for minute in spent.minutes
        if minute.number * MINUTE_MS + MINUTE_MS > utc_then_ms
    )
    return gate, replace(budget, minutes=minutes)


def unproven_gate(now_ms: int) -> Gate:
    """Return the gate for a state that can't be read: closed and due, so that it proves itself."""
    return Gate(state=GateState.CLOSED, reason=ClosureReason.FAILURES, until_ms=now_ms)


def gate_to_mapping(gate: Gate, now_ms: int, utc_ms: int) -> dict[str, object]:
    """Return the gate as plain values; reads in flight don't survive."""
    shift_ms = utc_ms - now_ms
    plain: dict[str, object] = {name: getattr(gate, name) for name in _COUNTS}
    plain |= {name: getattr(gate, name) + shift_ms if getattr(gate, name) else 0 for name in _MOMENTS}
    plain |= {"state": gate.state.value, "reason": gate.reason.value}
    plain["trouble"] = [sent_ms + shift_ms for sent_ms in gate.trouble]
    return plain


def gate_from_mapping(plain: Mapping[str, object], now_ms: int, utc_ms: int, error_ms: int) -> Gate:
    """Return what `gate_to_mapping` gave. A gate that was closed opens at until + clock error + 2 s.

    One that was probing or in its ramp is closed and due: it proves itself again. Raises `KeyError`,
    `ValueError` or `TypeError` for what `gate_to_mapping` can't have written.
    """
    shift_ms = now_ms - utc_ms
    counts = {name: _integer(plain[name]) for name in _COUNTS}
    moments = {name: shift_ms + _integer(plain[name]) if plain[name] else 0 for name in _MOMENTS}
    state = GateState(str(plain["state"]))
    if state is GateState.CLOSED:
        moments["until_ms"] += error_ms + BAN_MARGIN_MS
    elif state is not GateState.OPEN:
        state, moments["until_ms"] = GateState.CLOSED, now_ms
    trouble = tuple(shift_ms + _integer(sent_ms) for sent_ms in _list(plain["trouble"]))
    return Gate(state=state, reason=ClosureReason(str(plain["reason"])), trouble=trouble, **counts, **moments)


def budget_to_mapping(budget: Budget) -> dict[str, object]:
    """Return what was spent in which minute. Limit and share are not kept: settings and exchangeInfo say them."""
    return {
        "minutes": [
            {name: getattr(minute, name) for name in _MINUTE_COUNTS}
            | {"lanes": list(minute.lanes), "pending": minute.pending, "header": minute.header}
            for minute in budget.minutes
        ]
    }


def budget_from_mapping(plain: Mapping[str, object], limit: int, share: float) -> Budget:
    """Return what `budget_to_mapping` gave. What was unanswered then never will be, and counts as spent.

    Raises `KeyError`, `ValueError` or `TypeError` for what `budget_to_mapping` can't have written.
    """
    return Budget(limit=limit, share=share, minutes=tuple(map(_minute, _list(plain["minutes"]))))


def _minute(plain: object) -> Minute:
    found = _mapping(plain)
    counts = {name: _integer(found[name]) for name in _MINUTE_COUNTS}
    counts["unseen"] += _integer(found["pending"])
    lanes = tuple(map(_integer, _list(found["lanes"])))
    if len(lanes) != len(Lane):
        raise ValueError(f"{lanes} is not one count for each lane")
    header = found["header"]
    return Minute(lanes=lanes, header=None if header is None else _integer(header), **counts)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no mapping")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is no list")
    return list(value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value
