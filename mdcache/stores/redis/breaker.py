"""The circuit breaker for Redis: decides from the last calls' outcomes whether calls are allowed. Pure.

It knows redis-py's exceptions and nothing else of Redis: no connection, no clock, no task.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from redis import exceptions as foreign

# Theory of operation
# ===================
#
# While it is closed, calls are allowed, and it opens
#   - at once if an error describes the server's state: locked, full, read-only, loading, a cluster that is down;
#   - after two time-outs or broken connections in a row, or three within ten seconds.
# While it is open, calls fail at once, and the client probes each second. One probe that writes closes
# it; if it had opened again soon after closing, it takes three in a row, so that a slow Redis is not used each
# second. A refusal of one command (a wrong type under our key, say) says nothing about the server.

_MAX_IN_A_ROW = 2
_MAX_RECENT, _RECENT_S = 3, 10.0
_FLAP_S = 10.0  # if it opens again within this, the probe that closed it proved too little
_PROBES_AFTER_FLAP = 3


class Outcome(Enum):
    """The outcome of a call, or of a probe while the circuit is open."""

    DONE = auto()
    LOST = auto()  # a time-out, a broken connection
    UNUSABLE = auto()  # the server says that it can't serve any client now
    REJECTED = auto()  # only this command was refused
    PROBE_DONE = auto()
    PROBE_LOST = auto()


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state. `closed`: calls are allowed; `closed_s`: when it last closed.

    `in_a_row` and `recent_s`: lost calls since it closed; `probes` of `probes_needed` succeeded since it opened.
    """

    closed: bool = False
    closed_s: float = -_FLAP_S
    in_a_row: int = 0
    recent_s: tuple[float, ...] = ()
    probes: int = 0
    probes_needed: int = 1

    def step(self, outcome: Outcome, now_s: float) -> "Breaker":
        """Return the state after `outcome` at `now_s`; an outcome that is not possible in the state changes nothing."""
        move = _TABLE.get((self.closed, outcome))
        return self if move is None else move(self, now_s)


def _count_done(state: Breaker, _: float) -> Breaker:
    return replace(state, in_a_row=0) if state.in_a_row else state


def _count_lost(state: Breaker, now_s: float) -> Breaker:
    recent_s = (*state.recent_s, now_s)[-_MAX_RECENT:]
    often = len(recent_s) == _MAX_RECENT and now_s - recent_s[0] <= _RECENT_S
    if often or state.in_a_row + 1 >= _MAX_IN_A_ROW:
        return _open(state, now_s)
    return replace(state, in_a_row=state.in_a_row + 1, recent_s=recent_s)


def _open(state: Breaker, now_s: float) -> Breaker:
    flapped = now_s - state.closed_s < _FLAP_S
    return Breaker(closed_s=state.closed_s, probes_needed=_PROBES_AFTER_FLAP if flapped else 1)


def _count_probe(state: Breaker, now_s: float) -> Breaker:
    if state.probes + 1 >= state.probes_needed:
        return Breaker(closed=True, closed_s=now_s)
    return replace(state, probes=state.probes + 1)


def _forget_probes(state: Breaker, _: float) -> Breaker:
    return replace(state, probes=0)


_CLOSED, _OPEN = True, False
_TABLE: dict[tuple[bool, Outcome], Callable[[Breaker, float], Breaker]] = {
    (_CLOSED, Outcome.DONE): _count_done,
    (_CLOSED, Outcome.LOST): _count_lost,
    (_CLOSED, Outcome.UNUSABLE): _open,
    (_OPEN, Outcome.PROBE_DONE): _count_probe,
    (_OPEN, Outcome.PROBE_LOST): _forget_probes,
}


# ------------------------------------------------------------------------------------------ errors

# Errors that describe the server, not the command.
_UNUSABLE = (
    foreign.AuthenticationError,
    foreign.AuthorizationError,
    foreign.AuthenticationWrongNumberOfArgsError,
    foreign.BusyLoadingError,
    foreign.ClusterDownError,
    foreign.MasterDownError,
    foreign.NoPermissionError,
    foreign.OutOfMemoryError,
    foreign.ReadOnlyError,
)
_UNUSABLE_WORDS = (
    *("NOAUTH", "WRONGPASS", "OOM ", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "BUSY "),
    "THE USER EXECUTING THE SCRIPT CAN'T RUN",  # NOPERM inside a script
)


def outcome_of(error: Exception) -> Outcome:
    """Return the outcome that an exception of redis-py means."""
    if isinstance(error, _UNUSABLE) or str(error).upper().startswith(_UNUSABLE_WORDS):
        return Outcome.UNUSABLE
    if isinstance(error, foreign.ResponseError | foreign.DataError | foreign.WatchError):
        return Outcome.REJECTED
    return Outcome.LOST
