"""Summarise one side of a replay: what its consumers had, and what its exchange's log says."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mdcache.replay.consumers import NO_ANSWER, ConsumerTally, ReplayLoad

_MINUTE_S = 60
_BANNED = 418
_REFUSED = frozenset({403, _BANNED, 429})
_CANDLES = "/klines"

LogEntry = dict[str, Any]  # of `/_sim/log`


@dataclass(frozen=True, slots=True)
class SideResult:
    """The result of one side.

    From the consumers: `asked`, `failed` (no candles), `no_answer` (no reply at all), `marked`, `worst_age_s`, `p99_ms`
    and `late_s` (how late a question left, at most). From the exchange's own
    log: `calls`, `weight`, `refused` (403, 418, 429), `bans`, `banned_at_s` (seconds into the run, or `None`). By
    minute of the run: `weights`, and `other_weights`, the part of it that was not for candles but for the clock and
    the list of symbols. By second of the run: `used` (weight in the exchange's minute so far), `answered` and
    `refusals`.
    """

    name: str
    asked: int
    failed: int
    no_answer: int
    marked: int
    worst_age_s: float
    p99_ms: float
    late_s: float
    calls: int
    weight: int
    refused: int
    bans: int
    banned_at_s: float | None
    weights: tuple[int, ...]
    other_weights: tuple[int, ...]
    used: tuple[int, ...]
    answered: tuple[int, ...]
    refusals: tuple[int, ...]

    @property
    def cold_weight(self) -> int:
        """Return the weight of the first minute, in which nothing is known yet."""
        return self.weights[0]

    @property
    def warm_weight(self) -> int | None:
        """Return the largest weight of a later minute; `None` if the run ended within the first."""
        return max(self.weights[1:], default=None)


def side_result(
    name: str, tally: ConsumerTally, log: Iterable[LogEntry], bans: int, start_ms: int, load: ReplayLoad
) -> SideResult:
    """Summarise the consumers' tally and the exchange's log of their requests."""
    seconds = math.ceil(load.seconds)
    log = [each for each in log if 0 <= each["at_ms"] - start_ms < 1000 * seconds]
    banned = next((entry["at_ms"] for entry in log if entry["status"] == _BANNED), None)
    weights = _by_second(log, start_ms, seconds)
    others = _by_second((each for each in log if not each["path"].endswith(_CANDLES)), start_ms, seconds)
    return SideResult(
        name=name,
        asked=tally.asked,
        failed=tally.failed,
        no_answer=tally.statuses[NO_ANSWER],
        marked=tally.marked,
        worst_age_s=round(tally.worst_age_s, 3),
        p99_ms=round(1000 * sorted(tally.seconds)[int(len(tally.seconds) * 0.99)], 1) if tally.seconds else 0.0,
        late_s=round(tally.late_s, 3),
        calls=len(log),
        weight=sum(weights),
        refused=sum(entry["status"] in _REFUSED for entry in log),
        bans=bans,
        banned_at_s=None if banned is None else round((banned - start_ms) / 1000, 1),
        weights=_by_minute(weights),
        other_weights=_by_minute(others),
        used=_used(weights, start_ms),
        answered=tuple(tally.answered[second] for second in range(seconds)),
        refusals=tuple(tally.refused[second] for second in range(seconds)),
    )


def _by_second(log: Iterable[LogEntry], start_ms: int, seconds: int) -> list[int]:
    spent: Counter[int] = Counter()
    for entry in log:
        spent[(entry["at_ms"] - start_ms) // 1000] += entry["weight"]
    return [spent[second] for second in range(seconds)]


def _by_minute(weights: Sequence[int]) -> tuple[int, ...]:
    return tuple(sum(weights[start : start + _MINUTE_S]) for start in range(0, len(weights), _MINUTE_S))


def _used(weights: Sequence[int], start_ms: int) -> tuple[int, ...]:
    """Return the address's weight in its UTC minute at the end of each second of the run, as the exchange counts."""
    used, total = [], 0
    for second, weight in enumerate(weights):
        if (start_ms // 1000 + second) % _MINUTE_S == 0:
            total = 0
        total += weight
        used.append(total)
    return tuple(used)
