"""What the three official packages' stream clients have in common: connect, subscribe, keep what comes."""

import asyncio

from binance_common.configuration import ConfigurationWebSocketStreams
from frames import Frames


async def listen(frames, market, make, topics):
    """Subscribe to topics by their names, on the client that `make` returns for a configuration."""
    base = frames.ws + {"spot": "", "usdm": "/usdm", "coinm": "/coinm"}[market]
    client = make(ConfigurationWebSocketStreams(stream_url=base))
    connection = await client.websocket_streams.create_connection()
    for name, subscribe in topics.items():
        handle = await subscribe(connection)
        handle.on("message", lambda message, name=name: frames.add(market, name, plain(message)))
    await asyncio.sleep(frames.left_s)
    await connection.close_connection(close_session=True)
    frames.print()


def plain(message):
    if isinstance(message, list):
        return [plain(one) for one in message]
    for name in ("to_dict", "model_dump"):
        if hasattr(message, name):
            return getattr(message, name)()
    return message


__all__ = ["Frames", "listen"]
