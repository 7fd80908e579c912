"""Gate and budget as plain values, and back: what a disk or a Redis will keep (DESIGN 6.4.3). Pure.

Moments are UTC milliseconds at rest, and milliseconds of a clock that never steps in the gate.
"""

from collections.abc import Mapping
from dataclasses import fields

from mdcache.upstream.budget import Budget, Minute
from mdcache.upstream.gate import Gate, State
from mdcache.upstream.lanes import Lane
from mdcache.upstream.pauses import BAN_MARGIN_MS, Reason

_MOMENTS = ("until_ms", "reopened_ms", "halved_until_ms")
_COUNTS = tuple(
    field.name for field in fields(Gate) if field.name not in {"state", "reason", "flying", "trouble", *_MOMENTS}
)
_MINUTE_COUNTS = ("number", "paced", "unseen", "unseen_ms")


def gate_to_mapping(gate: Gate, now_ms: int, utc_ms: int) -> dict[str, object]:
    """The gate as plain values; reads in flight don't survive."""
    shift_ms = utc_ms - now_ms
    plain: dict[str, object] = {name: getattr(gate, name) for name in _COUNTS}
    plain |= {name: getattr(gate, name) + shift_ms if getattr(gate, name) else 0 for name in _MOMENTS}
    plain |= {"state": gate.state.value, "reason": gate.reason.value}
    plain["trouble"] = [sent_ms + shift_ms for sent_ms in gate.trouble]
    return plain


def gate_from_mapping(plain: Mapping[str, object], now_ms: int, utc_ms: int, error_ms: int) -> Gate:
    """What `gate_to_mapping` gave. A gate that was closed opens at until + clock error + 2 s.

    One that was probing or in its ramp is closed and due: it proves itself again. Raises `KeyError`,
    `ValueError` or `TypeError` for what `gate_to_mapping` can't have written.
    """
    shift_ms = now_ms - utc_ms
    counts = {name: _whole(plain[name]) for name in _COUNTS}
    moments = {name: shift_ms + _whole(plain[name]) if plain[name] else 0 for name in _MOMENTS}
    state = State(str(plain["state"]))
    if state is State.CLOSED:
        moments["until_ms"] += error_ms + BAN_MARGIN_MS
    elif state is not State.OPEN:
        state, moments["until_ms"] = State.CLOSED, now_ms
    trouble = tuple(shift_ms + _whole(sent_ms) for sent_ms in _list(plain["trouble"]))
    return Gate(state=state, reason=Reason(str(plain["reason"])), trouble=trouble, **counts, **moments)


def budget_to_mapping(budget: Budget) -> dict[str, object]:
    """What was spent in which minute. Limit and share are not kept: settings and exchangeInfo say them."""
    return {
        "minutes": [
            {name: getattr(minute, name) for name in _MINUTE_COUNTS}
            | {"lanes": list(minute.lanes), "pending": minute.pending, "header": minute.header}
            for minute in budget.minutes
        ]
    }


def budget_from_mapping(plain: Mapping[str, object], limit: int, share: float) -> Budget:
    """What `budget_to_mapping` gave. What was unanswered then never will be, and counts as spent.

    Raises `KeyError`, `ValueError` or `TypeError` for what `budget_to_mapping` can't have written.
    """
    return Budget(limit=limit, share=share, minutes=tuple(map(_minute, _list(plain["minutes"]))))


def _minute(plain: object) -> Minute:
    if not isinstance(plain, Mapping):
        raise TypeError(f"{plain!r} is no minute")
    counts = {name: _whole(plain[name]) for name in _MINUTE_COUNTS}
    counts["unseen"] += _whole(plain["pending"])
    lanes = tuple(map(_whole, _list(plain["lanes"])))
    if len(lanes) != len(Lane):
        raise ValueError(f"{lanes} is not one count for each lane")
    header = plain["header"]
    return Minute(lanes=lanes, header=None if header is None else _whole(header), **counts)


def _list(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is no list")
    return list(value)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value
