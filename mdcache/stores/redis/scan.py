"""Keys found page by page: no call takes long, however much Redis holds."""

from collections.abc import AsyncIterator
from typing import Any

from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.url import ForeignClient

_PAGE = 1_000


async def scan_keys(client: RedisClient, pattern: bytes) -> AsyncIterator[bytes]:
    """All keys that match, on every node of a cluster; raises `RedisDown`."""
    for node in await client.call("scan", _nodes):
        cursor = 0
        while True:
            page = _Page(node, cursor, pattern)
            cursor, keys = await client.call("scan", page.read)
            for key in keys:
                yield key
            if not cursor:
                break


class _Page:
    """One SCAN; on a cluster, of one node."""

    def __init__(self, node: Any, cursor: int, pattern: bytes) -> None:  # noqa: ANN401 - redis-py's own
        self._node = node
        self._cursor = cursor
        self._pattern = pattern

    async def read(self, client: ForeignClient) -> tuple[int, list[bytes]]:
        """The next cursor (0 at the end), and keys."""
        if self._node is None:
            cursor, keys = await client.scan(self._cursor, match=self._pattern, count=_PAGE)
            return int(cursor), keys
        cursors, keys = await client.scan(self._cursor, match=self._pattern, count=_PAGE, target_nodes=self._node)
        return int(next(iter(cursors.values()))), keys


async def _nodes(client: ForeignClient) -> list[Any]:
    """A cluster's masters; one `None` where there is one server."""
    return list(client.get_primaries()) if hasattr(client, "get_primaries") else [None]
