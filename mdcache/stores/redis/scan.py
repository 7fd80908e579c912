"""List keys page by page, so that no call takes long however many keys there are."""

import re
from typing import Any

from mdcache.stores.redis.url import ForeignClient

_SCAN_PAGE = 1_000
_GLOB = re.compile(r"[\\*?\[\]]")


async def scan_page(client: ForeignClient, node: Any, cursor: int, pattern: bytes) -> tuple[int, list[bytes]]:  # noqa: ANN401 - redis-py's own
    """Return the next cursor (0 at the end) and the matching keys of one page; on a cluster, of one node."""
    if node is None:
        following, keys = await client.scan(cursor, match=pattern, count=_SCAN_PAGE)
        return int(following), keys
    followings, keys = await client.scan(cursor, match=pattern, count=_SCAN_PAGE, targetnodes=node)
    return int(next(iter(followings.values()))), keys


def escape_glob(text: str) -> bytes:
    """Return a pattern that matches exactly this text."""
    return _GLOB.sub(r"\\\g<0>", text).encode()


async def nodes(client: ForeignClient) -> list[Any]:
    """Return a cluster's primaries; one `None` for a single server."""
    return list(client.get_primaries()) if hasattr(client, "get_primaries") else [None]
