"""Backoff: how long to send nothing after each kind of refusal. Pure; the gate's table decides when to ask.

All lengths are milliseconds of a clock that never steps.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


class ClosureReason(StrEnum):
    """Why a gate was last closed; a metrics label."""

    NONE = "none"
    RATE = "429"
    BAN = "418"
    WAF = "403"
    REGION = "451"
    OVERLOAD = "503"
    FAILURES = "failures"
    OPERATOR = "operator"


RATE_CAP_MS = 300_000  # docs/design.md#backoff: 429 at most 5 min
BAN_FIRST_MS = 120_000  # rest-api.md: bans scale from 2 minutes …
BAN_CAP_MS = 3 * 86_400_000  # … to 3 days
REGION_MS = 3_600_000  # docs/design.md#backoff: asked again hourly
OVERLOAD_CAP_MS = 3_600_000
ROUNDING_MS = 1_000  # Retry-After is in whole seconds, and its rounding is not documented
BAN_MARGIN_MS = 2_000  # docs/design.md#gate-persistence: opens at until + clock error + 2 s
FAILURES_CAP_MS = 20_000  # docs/design.md#backoff: with the time-out of a probe, asked again within half a minute
BODY_WAIT_MS = 10_000  # longer than any body takes: that of a 418 may have a "banned until"


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """The ladder of pauses after a 403, and the number of reads in flight at which a ramp ends."""

    initial_ms: int
    max_ms: int
    ramp_top: int


@dataclass(frozen=True, slots=True)
class Denied:
    """A read of `epoch` was denied, for this reason.

    `stated_ms`: the wait that the reply states, `None` if it does not. `next_minute_ms`: time to the next UTC minute.
    Both include the clock's error, where a clock is needed. `body_pending`: a 418 whose body may state a longer wait.
    """

    epoch: int
    reason: ClosureReason
    stated_ms: int | None
    next_minute_ms: int
    jitter: float
    body_pending: bool = False


def ladder_ms(level: int, jitter: float, policy: BackoffPolicy) -> int:
    """Return the pause of a rung of the ladder: between half (`jitter` 0) and all (`jitter` 1) of its step."""
    rung = min(policy.max_ms, policy.initial_ms * (1 << min(40, level)))
    return int(rung * (0.5 + 0.5 * jitter))


def failures_ms(level: int, jitter: float, policy: BackoffPolicy) -> int:
    """Return the pause after reads without an answer: that of the rung, or less, because nobody has asked for it."""
    return min(FAILURES_CAP_MS, ladder_ms(level, jitter, policy))


# The limit of "twice the last wait". 403 and failures have their ladder, 451 its hour, 503 what it states.
LONGEST_REPEAT_MS = {
    ClosureReason.NONE: 0,
    ClosureReason.RATE: RATE_CAP_MS,
    ClosureReason.BAN: BAN_CAP_MS,
    ClosureReason.WAF: 0,
    ClosureReason.REGION: 0,
    ClosureReason.OVERLOAD: 0,
    ClosureReason.FAILURES: 0,
    ClosureReason.OPERATOR: 0,
}


def wait_ms(event: Denied, policy: BackoffPolicy, *, level: int, bans: int) -> int:
    """Return the wait after this refusal; `level`: rung of the ladder; `bans`: the number of bans before it."""
    stated_ms = event.stated_ms if event.stated_ms is not None and event.stated_ms > 0 else None
    match event.reason:
        case ClosureReason.RATE:
            asked_ms = event.next_minute_ms if stated_ms is None else stated_ms
            return min(RATE_CAP_MS, asked_ms + ROUNDING_MS)
        case ClosureReason.BAN if event.body_pending:
            return BODY_WAIT_MS
        case ClosureReason.BAN if stated_ms is not None:
            return min(BAN_CAP_MS, stated_ms + BAN_MARGIN_MS)
        case ClosureReason.BAN:
            return min(BAN_CAP_MS, BAN_FIRST_MS * (1 << min(40, bans)))
        case ClosureReason.REGION:
            return REGION_MS
        case ClosureReason.OVERLOAD if stated_ms is not None:
            return min(OVERLOAD_CAP_MS, stated_ms + ROUNDING_MS)
        case ClosureReason.WAF if stated_ms is not None:
            return max(ladder_ms(level, event.jitter, policy), min(BAN_CAP_MS, stated_ms + BAN_MARGIN_MS))
        case ClosureReason.WAF | ClosureReason.OVERLOAD:
            return ladder_ms(level, event.jitter, policy)
        case ClosureReason.NONE | ClosureReason.FAILURES | ClosureReason.OPERATOR:
            raise ValueError(f"nothing refuses with {event.reason}")
    assert_never(event.reason)
