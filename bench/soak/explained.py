"""Which warnings and errors of a daemon which faults of a soak explain."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.soak.troubles import START

_SLOW = ("exchange gone", "exchange hangs", "slow exchange", "SIGSTOP")
_STREAMS = ("no streams", "streams ")
_REFUSED = ("ban", "403", "429", "503")
_REDIS = ("Redis hangs", "Redis emptied")


@dataclass(frozen=True, slots=True)
class Explained:
    """Lines of an event whose field `where[0]` is one of the others (none: all of them), by one of these faults.

    `faults`: beginnings of names. `within_s`: so long after the fault's end.
    """

    event: str
    faults: tuple[str, ...]
    where: tuple[str, ...] = ()
    within_s: float = 20.0

    def matches(self, line: Mapping[str, object]) -> bool:
        """Return whether a line is one of these."""
        return not self.where or str(line.get(self.where[0])) in self.where[1:]


EXPLAINED = (
    *(Explained("gate_changed", (fault,), ("reason", reason)) for fault, reason in
      (("ban", "418"), ("403", "403"), ("429", "429"), ("503", "503"))),
    Explained("gate_changed", (*_SLOW, "503", "broken bodies"), ("reason", "failures")),
    Explained("upstream", (*_SLOW, START), ("status", "0", "200")),
    Explained("upstream", ("broken bodies",), ("status", "0", "200")),
    *(Explained("upstream", (fault,), ("status", status)) for fault, status in
      (("ban", "418"), ("403", "403"), ("429", "429"), ("503", "503"))),
    Explained("body_rejected", ("broken bodies", "streams garbage")),
    # what is tried again after a 503 counts here, though not at the exchange
    Explained("budget_short", (*_STREAMS, *_REDIS, *_SLOW, *_REFUSED, "broken bodies", "SIG", START)),
    Explained("store_state", (*_REDIS, "SIGSTOP"), ("tier", "redis")),
    Explained("stream_ended", (*_STREAMS, *_SLOW, *_REFUSED, "broken bodies")),
    Explained("stream_refused", (*_REFUSED, "no streams", "broken bodies", *_SLOW)),
    Explained("clock_suspect", _SLOW),
    Explained("background_task_failed", _SLOW, ("task", "clock")),
    Explained("topics_dead", _STREAMS),
)  # fmt: skip
