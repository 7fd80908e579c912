"""When does a new connection take over from the one that it replaces? Pure."""

from collections.abc import Collection
from enum import Enum

from mdcache.upstream.streams.subscriptions import Subscriptions

_LEAST_S = 2.5  # more than the slowest cadence, 2 s on spot: every topic that changes has been shown by both
_MOST_S = 20.0
_SUBSCRIBED_IN_S = 30.0


class Decision(Enum):
    """What becomes of the new connection."""

    WAIT = "wait"
    TAKE_OVER = "take over"
    DROP = "drop"


def judge(
    old: Subscriptions,
    new: Subscriptions,
    wanted: Collection[str],
    *,
    opened_s: float,
    now_s: float,
    lossless: bool = False,
) -> Decision:
    """Compare what two connections have shown since all topics were subscribed to on the new one, opened then.

    The new one takes over once it has shown all that the old one has; a topic that neither shows is quiet. It is
    dropped if, after long enough, it lacks more than half of it. `lossless`: each frame counts, of quiet topics too,
    so the other side must have named them in its list, where it does that.
    """
    ready_s = new.ready_s
    if ready_s is None:
        return Decision.WAIT if now_s - opened_s < _SUBSCRIBED_IN_S else Decision.DROP
    shown = [topic for topic in wanted if (old.seen_s(topic) or ready_s) > ready_s]
    lacking = sum(new.seen_s(topic) is None for topic in shown)
    found = sum(new.seen_s(topic) is not None for topic in wanted)
    if found == len(wanted) or (
        found and not lacking and now_s - ready_s >= _LEAST_S and (new.confirmed or not lossless)
    ):
        return Decision.TAKE_OVER
    if now_s - ready_s < _MOST_S:
        return Decision.WAIT
    return Decision.DROP if 2 * lacking > len(shown) else Decision.TAKE_OVER
