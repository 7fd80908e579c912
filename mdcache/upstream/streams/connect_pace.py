"""How soon may we connect? One for all markets and connections. Pure: no clock, no I/O, no randomness."""

import math
from collections import deque
from dataclasses import dataclass

from mdcache.exchange.markets import Market
from mdcache.upstream.streams.limits import CONNECT_BURST, CONNECT_EVERY_S

# Theory of operation
# ===================
#
# 1. A bucket holds six connects and regains one each 60/14 s: never more than 20 in a minute, whatever else is
#    decided. Trouble is spread over markets by the caller, who asks for those that have waited longest first.
# 2. A market whose connection was lost, or refused with a status, waits 1, 2, 4, 8, 10 s (half to all of that), and
#    as long again between two connects until one of them has brought frames for a few seconds. That a connect
#    succeeded proves nothing: one that dies after a second would come back each second. The delay is forgotten after a
#    minute of frames without such trouble. At most 10 s: then each of three markets in trouble tries every 13 s, which
#    is what the bucket allows, and even an outage of an hour is over soon after its end.
# 3. Who is refused by a status under 500 for ten minutes on end tries once a minute from then on.
# 4. If nothing answers at all and no connection lives, the fault is near (a cable, a name server), and each attempt
#    says the same of all markets: one of them tries at a time, soon (a cable that was pulled for 20 s), and when one
#    succeeds, the others follow at once.

_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 10.0)
_NEAR_DELAYS_S = (1.0, 3.0, 4.0, 4.0, 4.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
_LEAST_NEAR = 0.75  # of such a delay, which counts from the beginning of an attempt: one may take its whole time-out
_LEAST_NEAR_S = 0.25
_CALM_S = 60.0
_FORBIDDEN_AFTER_S, _FORBIDDEN_DELAY_S = 600.0, 60.0
_PLANNED_ROOM = 3.0  # planned replacements leave this many connects for trouble
_HOUR_S = 3_600.0
_MINUTE_S = 60.0


@dataclass(slots=True)
class _Trouble:
    """A market's: how often in a row, until when it waits, and when it last had some.

    `counted`: what happens now belongs to the trouble that was counted last, as no connect has begun since.
    """

    step: int = 0
    counted: bool = False
    not_before_s: float = -math.inf
    last_s: float = -math.inf
    forbidden_s: float = math.inf  # since when every connect is forbidden
    connecting: int = 0


class ConnectPace:
    """Decides when a market may connect. `jitter` is a random number from 0 to 1."""

    def __init__(self) -> None:
        self._room = float(CONNECT_BURST)
        self._room_s = -math.inf
        self._markets = {market: _Trouble() for market in Market}
        self._unanswered = 0  # connects in a row, of all markets
        self._all_not_before_s = -math.inf
        self._begun: dict[Market, deque[float]] = {market: deque() for market in Market}

    def wait_s(self, market: Market, now_s: float, *, planned: bool) -> float:
        """Return how long the market must wait; `math.inf`: until something else has happened."""
        trouble = self._markets[market]
        if planned and (self._unanswered or trouble.step):
            return math.inf
        full_s = max(0.0, (_PLANNED_ROOM if planned else 1.0) - self._left(now_s)) * CONNECT_EVERY_S
        if self._unanswered:
            busy = any(each.connecting for each in self._markets.values())
            return math.inf if busy else max(full_s, self._all_not_before_s - now_s)
        if trouble.step and trouble.connecting:
            return math.inf
        return max(full_s, trouble.not_before_s - now_s)

    def begin(self, market: Market, now_s: float, jitter: float) -> None:
        """Count a connect that begins."""
        self._room, self._room_s = self._left(now_s) - 1, now_s
        trouble = self._markets[market]
        trouble.connecting += 1
        trouble.counted = False
        if trouble.step:
            trouble.not_before_s = now_s + _delay_s(trouble.step, jitter)
        self._begun[market].append(now_s)
        while self._begun[market][0] <= now_s - _HOUR_S:
            self._begun[market].popleft()

    def cancelled(self, market: Market) -> None:
        """Record a connect that nobody waits for any more."""
        self._markets[market].connecting -= 1

    def succeeded(self, market: Market) -> None:
        """Record that the handshake was accepted."""
        self._markets[market].connecting -= 1
        self._markets[market].forbidden_s = math.inf
        self._answered()

    def refused(self, market: Market, now_s: float, jitter: float, *, forbidden: bool, wait_s: float) -> None:
        """Record a connect that was answered with a status, and the wait that it states."""
        trouble = self._markets[market]
        trouble.connecting -= 1
        trouble.forbidden_s = min(trouble.forbidden_s, now_s) if forbidden else math.inf
        self._answered()
        self._worsen(market, now_s, jitter)
        if now_s - trouble.forbidden_s >= _FORBIDDEN_AFTER_S:
            wait_s = max(wait_s, _FORBIDDEN_DELAY_S * (0.5 + 0.5 * jitter))
        trouble.not_before_s = max(trouble.not_before_s, now_s + wait_s)

    def unanswered(self, market: Market, now_s: float, jitter: float, *, alive: bool) -> None:
        """Record a connect without an answer; `alive`: frames come on some other connection."""
        self._markets[market].connecting -= 1
        if alive:
            self._answered()
            self._worsen(market, now_s, jitter)
            return
        self._unanswered += 1
        delay_s = _NEAR_DELAYS_S[min(self._unanswered, len(_NEAR_DELAYS_S)) - 1]
        delay_s *= _LEAST_NEAR + (1 - _LEAST_NEAR) * jitter
        self._all_not_before_s = max(now_s + _LEAST_NEAR_S, self._begun[market][-1] + delay_s)

    def lost(self, market: Market, now_s: float, jitter: float) -> None:
        """Record that a connection was lost; many that are lost at once count as one."""
        self._worsen(market, now_s, jitter)

    def proven(self, market: Market, now_s: float) -> None:
        """Record that frames have come for a few seconds: the market's other connections need not wait."""
        trouble = self._markets[market]
        trouble.not_before_s = min(trouble.not_before_s, now_s)

    def calm(self, market: Market, now_s: float) -> None:
        """Record that frames have come for a minute; forget the delay if nothing else happened in it."""
        if now_s - self._markets[market].last_s >= _CALM_S:
            self._markets[market].step = 0

    def delay_s(self, market: Market, now_s: float) -> float:
        """Return how long the market waits after its own trouble, or everybody's."""
        until_s = self._all_not_before_s if self._unanswered else self._markets[market].not_before_s
        return max(0.0, until_s - now_s)

    def troubled(self, market: Market) -> bool:
        """Return whether the market's connects wait for more than their turn."""
        return self._unanswered > 0 or self._markets[market].step > 0

    def begun(self, market: Market, now_s: float) -> tuple[int, int]:
        """Return how often the market has connected in the last minute, and in the last hour."""
        times = self._begun[market]
        return sum(at > now_s - _MINUTE_S for at in times), sum(at > now_s - _HOUR_S for at in times)

    def _left(self, now_s: float) -> float:
        if self._room_s == -math.inf:
            return self._room
        return min(float(CONNECT_BURST), self._room + (now_s - self._room_s) / CONNECT_EVERY_S)

    def _answered(self) -> None:
        self._unanswered, self._all_not_before_s = 0, -math.inf

    def _worsen(self, market: Market, now_s: float, jitter: float) -> None:
        trouble = self._markets[market]
        trouble.last_s = now_s
        if not trouble.counted or not trouble.step:
            trouble.step, trouble.counted = trouble.step + 1, True
            trouble.not_before_s = max(trouble.not_before_s, now_s + _delay_s(trouble.step, jitter))


def _delay_s(step: int, jitter: float) -> float:
    return _DELAYS_S[min(step, len(_DELAYS_S)) - 1] * (0.5 + 0.5 * jitter)
