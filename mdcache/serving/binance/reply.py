"""A ready reply: sent whole to all hits alike, until anything in it would change (docs/design.md#ready-replies)."""

import math
from collections.abc import Callable
from typing import Protocol

from mdcache.exchange.markets import Market

_JOINED_UP_TO = 4_096  # bytes of a body that is kept joined to its head: one piece is sent more cheaply than two

DefaultHeaders = list[tuple[bytes, bytes]]


class HitTally(Protocol):
    """Counts hits: each adds 1 to `count`, and the age of the tail it showed to `age_s`."""

    count: int
    age_s: float


class StatedWeight(Protocol):
    """The used weight that was stated last; `None` if none is stated."""

    weight: int | None


class ReadyReply:
    """What is sent to all who ask the same, for as long as it would be the same if it were made anew.

    `head`, with the body if that is short; `body`, empty if it is not. `until_s`: by our own clock. `restated_s`: when
    the as-of in it must be stated anew, that of settled rows each millisecond. `is_current`: whether what the answer
    was built from is unchanged. `stated`, `used_weight`: the used weight, which must be the one
    stated last. `corrections`: of the exchange's clocks. `default_headers`: of all responses. `tally` counts this
    reply; `as_of_s` is its as-of by our own clock.
    """

    __slots__ = (
        "_after",
        "_before",
        "as_of_s",
        "body",
        "corrections",
        "default_headers",
        "head",
        "is_current",
        "market",
        "restated_s",
        "stated",
        "tally",
        "until_s",
        "used_weight",
    )

    is_current: Callable[[], bool]
    stated: StatedWeight
    used_weight: int | None
    corrections: int
    default_headers: DefaultHeaders
    tally: HitTally
    as_of_s: float
    restated_s: float

    def __init__(self, market: Market) -> None:
        self.market = market
        self.head = self.body = self._before = self._after = b""
        self.until_s = -math.inf

    @property
    def nbytes(self) -> int:
        """Return its size in memory in bytes, without a body that does not belong to it."""
        return 2 * len(self.head)

    def set(self, before: bytes, as_of_ms: int, after: bytes, body: bytes) -> None:
        """Set what is sent: the head before and after the as-of, and the body."""
        if len(body) <= _JOINED_UP_TO:
            after, body = after + body, b""
        self._before, self._after, self.body = before, after, body
        self.restate(as_of_ms)

    def restate(self, as_of_ms: int) -> None:
        """State another as-of."""
        self.head = b"%b%d%b" % (self._before, as_of_ms, self._after)

    def retire(self) -> None:
        """Send this no more, and release what it holds."""
        self.head = self.body = self._before = self._after = b""
        self.until_s = -math.inf
        self.is_current = _never


def _never() -> bool:
    return False


EXPIRED = ReadyReply(Market.SPOT)  # true at no time
