"""The connects to streams that all replicas on an egress make together, counted in Redis."""

from mdcache.store_events import StoreOp
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.scripts import load
from mdcache.upstream.streams.limits import (
    ADDRESS_BURST,
    ADDRESS_EVERY_S,
    ADDRESS_PLANNED_BURST,
)


class RedisConnectQuota:
    """The connects of one egress; while Redis is down, each replica keeps its own pace alone."""

    def __init__(self, link: RedisClient, egress: str) -> None:
        self._link = link
        self._key = f"{link.prefix}connects:{{{egress}}}"
        self._script = load("connect")

    async def take(self, *, planned: bool) -> float:
        """Count a connect; return how many seconds to wait before asking again, 0 if it may begin."""
        args: list[bytes | str | int] = [
            round(ADDRESS_EVERY_S * 1000),
            ADDRESS_PLANNED_BURST if planned else ADDRESS_BURST,
        ]
        try:
            wait_ms = await self._link.call(StoreOp.CONNECT, lambda client: self._script.run(client, [self._key], args))
            return int(wait_ms) / 1000
        except (RedisDown, ValueError, TypeError):
            return 0.0
