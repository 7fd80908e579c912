"""One pub/sub subscription, with pings that detect a dead connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PING_EACH_S = 5.0  # without a message
_MAX_PINGS = 2  # without an answer


@dataclass(frozen=True, slots=True)
class PubSubChannel:
    """A channel.

    `on_subscribed` is called after each subscription: messages before it are lost. `on_ended`: when one has ended.
    """

    channel: str
    on_message: Callable[[bytes], None]
    on_subscribed: Callable[[], None]
    on_ended: Callable[[], None] = lambda: None

    async def listen(self, pubsub: Any) -> None:  # noqa: ANN401 - redis-py's own
        """Listen until the connection breaks, or a silent server does not answer pings."""
        pings = 0
        await pubsub.subscribe(self.channel)
        try:
            while pings < _MAX_PINGS:
                message = await pubsub.get_message(timeout=_PING_EACH_S)
                if message is None:
                    pings += 1
                    await pubsub.ping()
                    continue
                pings = 0
                if message["type"] == "subscribe":
                    self.on_subscribed()
                elif message["type"] == "message":
                    self.on_message(bytes(message["data"]))
        finally:
            self.on_ended()
