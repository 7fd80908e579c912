"""When has a living connection been silent for so long that another one is tried? Pure.

A quiet topic is no fault, nor is a market in which nothing trades: each new connection that is as silent as the last
one doubles the patience. A dead connection is told apart by a question that it does not answer.
"""

from dataclasses import dataclass

DEAD_S = 10.0  # nothing came, although the list of topics was asked for half of that time ago
_NO_FRAME_S, _LONGEST_NO_FRAME_S = 20.0, 600.0  # `!miniTicker@arr` alone sends one each second
_LONGEST_UNKNOWN_PATH_S = 60.0
_FEW = 3  # so many topics may all be quiet


@dataclass(frozen=True, slots=True)
class Silence:
    """What a connection has not said, and since when.

    `message_s`: the last message, or the opening; `frame_s`: the last frame, or the last topic that was added;
    `candle_s`: the same of topics with candles, of which there are `topics`. `tickers`: `!miniTicker@arr` is one of the
    others. `path_known`: candles have come on its path; where not, the silence of any topic may tell.
    """

    message_s: float
    frame_s: float
    candle_s: float
    topics: int
    tickers: bool
    path_known: bool


class Patience:
    """The patience with one connection after the other; candles restore it."""

    def __init__(self) -> None:
        self._doublings = 0

    def record_frames(self) -> None:
        """Record that candles come."""
        self._doublings = 0

    def record_replacement(self) -> None:
        """Record that a connection was replaced by one that is as silent."""
        self._doublings += 1

    def is_over(self, silence: Silence, now_s: float) -> bool:
        """Return whether the connection should be replaced."""
        if now_s - silence.message_s >= DEAD_S:
            return True
        wrong_path = not silence.path_known and silence.topics > _FEW
        longest_s = _LONGEST_UNKNOWN_PATH_S if wrong_path else _LONGEST_NO_FRAME_S
        patience_s = min(_NO_FRAME_S * 2.0 ** min(self._doublings, 10), longest_s)
        if silence.tickers and now_s - silence.frame_s >= patience_s:
            return True
        return silence.topics > (_FEW if silence.path_known else 0) and now_s - silence.candle_s >= patience_s
