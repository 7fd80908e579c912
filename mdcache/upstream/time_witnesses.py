"""Decide what time it is by `/time`, its reply's `Date`, and this machine's wall clock. Pure.

Rule: docs/design.md#exchange-clock.
"""

from dataclasses import dataclass, replace

import msgspec

from mdcache.events import ClockWitness
from mdcache.exchange.undecodable import UNDECODABLE

APART_MS = 60_000  # witnesses that differ by no more than this agree
DATE_STEP_MS = 1_000  # HTTP dates are whole seconds
_UNITS = {10: (1_000, 1), 13: (1, 1), 16: (1, 1_000), 19: (1, 1_000_000)}  # digits: of a second to a nanosecond, in ms


class _Time(msgspec.Struct):
    server_time: int = msgspec.field(name="serverTime")


_time = msgspec.json.Decoder(_Time)


@dataclass(frozen=True, slots=True)
class WitnessedTime:
    """The time at which a reply was made, `error_ms` at most wrong. `outlier`: who contradicts it, by `off_ms`."""

    ms: float
    error_ms: int
    outlier: ClockWitness | None = None
    off_ms: float = 0.0


def stated_time(body: bytes) -> WitnessedTime | None:
    """Return the time of a `/time` body, in whichever unit; `None` if it states none that can be one."""
    try:
        stated = _time.decode(body).server_time
    except UNDECODABLE:
        return None
    times, divisor = _UNITS.get(len(str(stated)), (0, 1))
    if stated <= 0 or not times:
        return None
    half_ms = times // 2  # the middle of the second or millisecond that is stated
    return WitnessedTime(stated * times / divisor + half_ms, half_ms)


def weigh(stated: WitnessedTime | None, date_ms: int | None, wall_ms: int | None) -> WitnessedTime | None:
    """Return the time that most witnesses support: `/time` unless its reply's `Date` and the wall contradict it."""
    dated = None if date_ms is None else WitnessedTime(date_ms + DATE_STEP_MS / 2, DATE_STEP_MS // 2)
    if stated is None:
        return None if dated is None else replace(dated, outlier=ClockWitness.TIME)
    if dated is not None and wall_ms is not None and abs(stated.ms - dated.ms) > APART_MS:
        if abs(dated.ms - wall_ms) < abs(stated.ms - wall_ms):
            return replace(dated, outlier=ClockWitness.TIME, off_ms=stated.ms - dated.ms)
        return replace(stated, outlier=ClockWitness.DATE, off_ms=dated.ms - stated.ms)
    if wall_ms is not None and abs(wall_ms - stated.ms) > APART_MS:
        return replace(stated, outlier=ClockWitness.WALL, off_ms=wall_ms - stated.ms)
    return stated
