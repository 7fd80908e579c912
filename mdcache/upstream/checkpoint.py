"""Save gate and budget as plain values, and restore them (docs/design.md#gate-persistence).

Times are UTC milliseconds when saved, and milliseconds of a clock that never steps in the gate.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from mdcache.clock import Clock
from mdcache.upstream.backoff import BAN_CAP_MS, BAN_MARGIN_MS, ClosureReason
from mdcache.upstream.budget import MINUTE_MS, Budget, Minute, booked
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.family_clock import DRIFT, SURE_MS, FamilyClock
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.priority import Lane
from mdcache.upstream.stated_wait import KNOWN_CLOCK_MS

_MOMENTS = ("until_ms", "reopened_ms", "halved_until_ms")
_NOT_SAVED = {"in_flight", "answered"}  # of reads that end with the process
_COUNTS = tuple(
    field.name for field in fields(Gate) if field.name not in {"state", "reason", "trouble", *_NOT_SAVED, *_MOMENTS}
)
_ADDED = {"silences": 0}  # what earlier releases don't save
_LONGEST_MS = BAN_CAP_MS + 2 * MINUTE_MS  # the longest ban, with the clock's error when it began and when it was saved
_MINUTE_COUNTS = ("number", "paced", "unseen", "unseen_ms")


@dataclass(frozen=True, slots=True)
class ClockStamp:
    """A moment by both of the machine's clocks: `now_ms` counts since the named boot, `wall_ms` may step."""

    boot: str
    now_ms: int
    wall_ms: int


def elapsed_ms(then: ClockStamp, now: ClockStamp) -> int:
    """Return the time from `then` to `now`, by the clock that never steps if both are of the same boot.

    After a boot only the wall clock is left; if it was set back meanwhile, no time counts as passed, and waits get
    longer.
    """
    if then.boot and then.boot == now.boot and now.now_ms >= then.now_ms:
        return now.now_ms - then.now_ms
    return max(0, now.wall_ms - then.wall_ms)


@dataclass(frozen=True, slots=True)
class SavedState:
    """A family's saved gate and budget: when they were saved, and the exchange's time then."""

    stamp: ClockStamp
    utc_ms: int
    error_ms: int
    gate: Mapping[str, object]
    budget: Mapping[str, object]


class Checkpoint:
    """The saver of one family's state. `boot` names the boot since which the clock that never steps counts."""

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
        gate, now, utc = self._gate_keeper.gate, self._stamp(boot), self._family_clock.now()
        plain = gate_to_mapping(gate, now.now_ms, utc.utc_ms)
        saved_now = SavedState(
            now, utc.utc_ms, min(utc.error_ms, MINUTE_MS), plain, budget_to_mapping(self._budget_keeper.budget)
        )
        waits = gate.state is not GateState.OPEN
        if waits and self._restored is not None and gate is self._restored[0]:  # else each start would add to its wait
            was = self._restored[1]
            past_ms = elapsed_ms(was.stamp, now)
            error_ms = was.error_ms + past_ms // DRIFT if was.stamp.boot == boot else MINUTE_MS  # the wall clock's
            saved_now = replace(saved_now, utc_ms=was.utc_ms + past_ms, error_ms=error_ms, gate=was.gate)
        return saved_now

    def restore(self, saved: SavedState | None, boot: str) -> None:
        """Restore a saved state, before the first read; `None`: there is one, but it is unreadable.

        Raises `KeyError`, `ValueError` or `TypeError` for what `save` can't have returned.
        """
        now = self._stamp(boot)
        if saved is None:
            self._gate_keeper.gate = unproven_gate(now.now_ms)
            return
        if boot and saved.stamp.boot == boot and saved.error_ms <= SURE_MS:  # measured; the same clock counts since
            past_ms = elapsed_ms(saved.stamp, now)
            self._family_clock.adopt(saved.utc_ms + past_ms, saved.error_ms + past_ms // DRIFT, now.now_ms / 1000)
        utc_ms = self._family_clock.now().utc_ms
        gate, self._budget_keeper.budget = restore(saved, now, utc_ms, self._budget_keeper.budget)
        self._gate_keeper.gate, self._restored = gate, (gate, saved)

    def _stamp(self, boot: str) -> ClockStamp:
        return ClockStamp(boot, int(self._clock.now() * 1000), self._clock.wall_ms())


def saved_to_mapping(saved: SavedState) -> dict[str, object]:
    """Return it as plain values."""
    return asdict(saved)


def saved_from_mapping(plain: object) -> SavedState:
    """Return what was passed to `saved_to_mapping`; raise `KeyError`, `ValueError` or `TypeError` for anything else."""
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
    """Return gate and budget as of `now`, which by our unmeasured clock is `utc_ms` of exchange time.

    No gate stays closed for longer than the longest ban: a state that says so is damaged. What was spent in past
    minutes is dropped, and what was drawn counts as spent. Raises what `gate_from_mapping` raises.
    """
    utc_then_ms = saved.utc_ms + elapsed_ms(saved.stamp, now)
    # what is left of a wait is a length: the error of a clock that was never measured adds nothing to it
    error_ms = max(0, saved.error_ms) if saved.error_ms <= KNOWN_CLOCK_MS else 0
    gate = gate_from_mapping(saved.gate, now.now_ms, utc_then_ms, error_ms)
    gate = replace(gate, until_ms=min(gate.until_ms, now.now_ms + _LONGEST_MS))
    spent = budget_from_mapping(saved.budget, budget.limit, budget.share)
    shift = utc_ms // MINUTE_MS - utc_then_ms // MINUTE_MS
    minutes = tuple(
        replace(minute, number=minute.number + shift)
        for minute in spent.minutes
        if minute.number * MINUTE_MS + MINUTE_MS > utc_then_ms
    )
    budget = replace(budget, minutes=minutes)
    for minute in minutes:
        budget = booked(budget, minute.number, max(0, (minute.drawn or 0) - minute.ours))
    return gate, budget


def unproven_gate(now_ms: int) -> Gate:
    """Return the gate for an unreadable state: closed and due, so that it starts with a probe."""
    return Gate(state=GateState.CLOSED, reason=ClosureReason.FAILURES, until_ms=now_ms)


def gate_to_mapping(gate: Gate, now_ms: int, utc_ms: int) -> dict[str, object]:
    """Return the gate as plain values, without reads in flight."""
    shift_ms = utc_ms - now_ms
    plain: dict[str, object] = {name: getattr(gate, name) for name in _COUNTS}
    plain |= {name: getattr(gate, name) + shift_ms if getattr(gate, name) else 0 for name in _MOMENTS}
    plain |= {"state": gate.state.value, "reason": gate.reason.value}
    plain["trouble"] = [sent_ms + shift_ms for sent_ms in gate.trouble]
    return plain


def gate_from_mapping(plain: Mapping[str, object], now_ms: int, utc_ms: int, error_ms: int) -> Gate:
    """Return the gate that `gate_to_mapping` encoded. If it was closed, it opens at until + clock error + 2 s.

    If it was probing or in its ramp, it is closed and due: it starts with a probe again. Raises `KeyError`,
    `ValueError` or `TypeError` for what `gate_to_mapping` can't have written.
    """
    shift_ms = now_ms - utc_ms
    plain = _ADDED | dict(plain)
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
    """Return what was spent in each minute. Limit and share are not saved: they come from exchangeInfo and settings."""
    return {
        "minutes": [
            {name: getattr(minute, name) for name in _MINUTE_COUNTS}
            | {"lanes": list(minute.lanes), "pending": minute.pending, "header": minute.header, "drawn": minute.drawn}
            for minute in budget.minutes
        ]
    }


def budget_from_mapping(plain: Mapping[str, object], limit: int, share: float) -> Budget:
    """Return the budget that `budget_to_mapping` encoded. What was unanswered then stays so, and counts as spent.

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
    header, drawn = found["header"], found.get("drawn")  # files of earlier releases do not say what was drawn
    return Minute(
        lanes=lanes,
        header=None if header is None else _integer(header),
        drawn=None if drawn is None else _integer(drawn),
        **counts,
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is not a mapping")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    return list(value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value
