"""What one subscription listens to, and how it notices that nothing arrives any more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PING_EACH_S = 5.0  # of silence
_MAX_PINGS = 2  # unanswered


@dataclass(frozen=True, slots=True)
class Subscription:
    """A channel; `on_subscribed` is called each time the subscription stands: messages before that are lost."""

    channel: str
    on_message: Callable[[bytes], None]
    on_subscribed: Callable[[], None]

    async def listen(self, pubsub: Any) -> None:  # noqa: ANN401 - redis-py's own
        """Listen until the connection breaks, or a server that was silent does not answer a ping either."""
        pings = 0
        await pubsub.subscribe(self.channel)
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
