"""Which HTTP protocol a host chooses: one TLS connection, no request."""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies

from mdcache.verify.findings import NotMeasured

_HTTPS_PORT = 443
_CLOSE_S = 1.0


async def chosen_protocol(base_url: str, timeout_s: float) -> str:
    """Return the protocol that a host chooses of `h2` and `http/1.1`; empty if it chooses none.

    Raises:
        NotMeasured: the URL is without TLS, a proxy is between, or no connection could be made.
    """
    parts = urlsplit(base_url)
    if parts.scheme != "https" or parts.hostname is None:
        raise NotMeasured("the upstream is asked without TLS")
    if not getproxies().keys().isdisjoint({"https", "all"}):
        raise NotMeasured("a proxy is between")
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _HTTPS_PORT, ssl=context)
    except (OSError, TimeoutError) as error:
        raise NotMeasured(f"no connection: {str(error) or 'no answer in time'}") from error
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()
    return chosen or ""
