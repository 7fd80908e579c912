"""Explain what a run shows against expectation: a slow machine, too small or short a load, costly streams."""

from mdcache.replay.consumers import INTERVALS, TIMEOUT_S, WEIGHT, ReplayLoad
from mdcache.replay.run import ReplayResult

_LATE_S = 1.0  # a question sent so late was delayed by this machine
_SLOW_MS = 1_000.0  # the simulated exchange answers in milliseconds, unless it gets no processor
_WARM_WEIGHT = 20  # a minute with streams may cost at most: a few settling reads, and the clock
_COLD_SPARE = 40  # of the first minute, beside a read for each series: the list of symbols, the clock, gaps to join
_BANNED_WITHIN_S = 5.0  # from the limit to the ban: consumers that go on asking after a 429


def notes(replay: ReplayResult) -> list[str]:
    """Return a sentence for each such thing; none if the run shows what it is meant to show."""
    return [note for note in (_machine(replay), _no_ban(replay), _costs(replay)) if note]


def _machine(replay: ReplayResult) -> str:
    direct, sides = replay.direct, (replay.direct, replay.rest_only, replay.mdcache)
    late_s = max(side.late_s for side in sides)
    silent = sum(side.no_answer for side in sides)
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


def most_weight(load: ReplayLoad) -> tuple[int, int]:
    """Return what the first minute and a later one should cost at most with streams."""
    return WEIGHT * load.symbols * len(INTERVALS) + _COLD_SPARE, _WARM_WEIGHT


def _costs(replay: ReplayResult) -> str:
    """Compare the weight with streams with what it should be."""
    mdcache = replay.mdcache
    cold, warm = most_weight(replay.plan.load)
    more = []
    if mdcache.cold_weight > cold:
        more.append(f"{mdcache.cold_weight:,} in the first minute, where {cold:,} should do")
    if (mdcache.warm_weight or 0) > warm:
        more.append(f"{mdcache.warm_weight:,} in a later minute, where {warm} should do")
    return f"With streams it cost more than it should: {', and '.join(more)}." if more else ""
