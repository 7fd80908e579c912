"""The connects that replicas share, in memory: what `connect.lua` does, in other words."""

from mdcache.clock import Clock
from mdcache.upstream.streams.limits import ADDRESS_BURST, ADDRESS_EVERY_S, ADDRESS_PLANNED_BURST


class MemoryConnectQuota:
    """A bucket that regains one each `ADDRESS_EVERY_S`. `down`: as if Redis were."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left = float(ADDRESS_BURST)
        self._at_s = clock.now()
        self.down = False

    async def take(self, *, planned: bool) -> float:
        if self.down:
            return 0.0
        now_s = self._clock.now()
        self._left = min(float(ADDRESS_BURST), self._left + (now_s - self._at_s) / ADDRESS_EVERY_S)
        self._at_s = now_s
        least = 1 + (ADDRESS_BURST - ADDRESS_PLANNED_BURST if planned else 0)
        if self._left < least - 1e-9:
            return (least - self._left) * ADDRESS_EVERY_S
        self._left -= 1
        return 0.0
