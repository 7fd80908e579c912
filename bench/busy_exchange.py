"""An exchange that brings pages, a list of its symbols and 2,500 frames a second, at little CPU of its own.

python -m bench.busy_exchange PORT SYMBOLS
"""

import asyncio
import json
import random
import sys
import time
from typing import Any

import httpx
import uvicorn

from bench.frames import FRAMES_A_SECOND, MINUTE, candle
from bench.growth import InstantExchange, now_ms

BATCH_S = 0.02


def names(number: int) -> list[str]:
    return [f"COIN{each}USDT" for each in range(number)]


class BusyExchange:
    """The ASGI application: REST as `InstantExchange` answers, and combined streams."""

    def __init__(self, symbols: int) -> None:
        self._rest = InstantExchange(names(symbols))
        self._topics: list[tuple[str, Any]] = []
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._stream(receive, send)
            return
        url = f"http://exchange{scope['path']}?{scope['query_string'].decode()}"
        reply = await self._rest.handle_async_request(httpx.Request(scope["method"], url))
        await send({"type": "http.response.start", "status": reply.status_code, "headers": reply.headers.raw})
        await send({"type": "http.response.body", "body": reply.content})

    async def _stream(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._sending = self._sending or asyncio.create_task(self._send_frames())
        while (message := await receive())["type"] == "websocket.receive":
            order = json.loads(message["text"])
            if order["method"] == "SUBSCRIBE":
                self._topics += [(topic, send) for topic in order["params"] if "@kline_1m" in topic]
            await send({"type": "websocket.send", "text": json.dumps({"result": None, "id": order["id"]})})
        self._topics = [each for each in self._topics if each[1] is not send]

    async def _send_frames(self) -> None:
        """Send frames of random topics, so many a second in all."""
        draw, due = random.Random(3), time.monotonic()
        while True:
            due += BATCH_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for _ in range(round(FRAMES_A_SECOND * BATCH_S) if self._topics else 0):
                (topic, send), now = draw.choice(self._topics), now_ms()
                opened = now // MINUTE * MINUTE
                frame = candle(opened, now - opened, topic.partition("@")[0].upper(), now).decode()
                await send({"type": "websocket.send", "text": f'{{"stream":"{topic}","data":{frame}}}'})


if __name__ == "__main__":
    uvicorn.run(BusyExchange(int(sys.argv[2])), port=int(sys.argv[1]), log_level="error", ws="websockets-sansio")
