"""Explain what a run can't show: the machine was too slow, or the load too small or too short for a ban."""

from mdcache.replay.consumers import TIMEOUT_S, WEIGHT
from mdcache.replay.run import ReplayResult

_LATE_S = 1.0  # a question sent so late was delayed by this machine
_SLOW_MS = 1_000.0  # the simulated exchange answers in milliseconds, unless it gets no processor
_BANNED_WITHIN_S = 5.0  # from the limit to the ban: consumers that go on asking after a 429


def notes(replay: ReplayResult) -> list[str]:
    """Return a sentence for each such thing; none if the run shows what it is meant to show."""
    return [note for note in (_machine(replay), _no_ban(replay)) if note]


def _machine(replay: ReplayResult) -> str:
    direct, mdcache = replay.direct, replay.mdcache
    late_s = max(direct.late_s, mdcache.late_s)
    silent = direct.no_answer + mdcache.no_answer
    signs = []
    if late_s > _LATE_S:
        signs.append(f"questions were sent up to {late_s:.1f} s late")
    if silent:
        signs.append(f"{silent:,} got no answer within {TIMEOUT_S:.0f} s")
    if direct.p99_ms > _SLOW_MS:
        signs.append(f"the exchange took {direct.p99_ms / 1000:.1f} s for the slowest answer in a hundred")
    if not signs:
        return ""
    return (
        f"This machine, not the exchange, was the limit: {', '.join(signs)}. "
        "The ages and failures are not due to mdcache; replay fewer --symbols or --consumers."
    )


def _no_ban(replay: ReplayResult) -> str:
    if replay.direct.bans:
        return ""
    load, limit = replay.plan.load, replay.plan.limit
    per_second = WEIGHT * load.questions / load.seconds
    if per_second * 60 <= limit:
        return (
            f"Nobody was banned: asked directly, these questions weigh {per_second * 60:,.0f} a minute, within the "
            f"limit of {limit:,}. Replay more --symbols or --consumers."
        )
    needed_s = limit / per_second + _BANNED_WITHIN_S
    if load.seconds < needed_s:
        return (
            f"The run was too short for a ban: asked directly, these questions reach the limit of {limit:,} after "
            f"{limit / per_second:.0f} s. Replay --seconds {needed_s:.0f} or more."
        )
    return "Nobody was banned, although these questions weigh more than the limit."
