"""An exchange whose topics send a candle each two seconds, as spot's do, with the time at which it was sent.

python -m bench.candle_exchange PORT SYMBOLS

The simulated exchange computes each frame for each connection, which is more than a core has for 1,000 topics. Here a
frame is made once for all who listen. Its field `B`, which means nothing, is when it was sent: `CLOCK_MONOTONIC`.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from typing import Any

import uvicorn

from bench.busy_exchange import BATCH_S, BusyExchange
from bench.frames import CADENCE_MS, MINUTE, candle
from bench.growth import now_ms

_STEPS = round(CADENCE_MS / 1000 / BATCH_S)
_SENT = b'"B":"0"'


class CandleExchange(BusyExchange):
    """The ASGI application."""

    def __init__(self, symbols: int) -> None:
        super().__init__(symbols)
        self._listening: defaultdict[str, list[Any]] = defaultdict(list)
        self._opened: dict[str, int] = {}

    async def _stream(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._sending = self._sending or asyncio.create_task(self._send_frames())
        while (message := await receive())["type"] == "websocket.receive":
            asked = json.loads(message["text"])
            for topic in asked["params"] if asked["method"] == "SUBSCRIBE" else ():
                self._listening[topic].append(send)
            await send({"type": "websocket.send", "text": json.dumps({"result": None, "id": asked["id"]})})
        for sends in self._listening.values():
            if send in sends:
                sends.remove(send)

    async def _send_frames(self) -> None:
        due, step = time.monotonic(), 0
        while True:
            due, step = due + BATCH_S, (step + 1) % _STEPS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for topic in sorted(self._listening)[step::_STEPS]:
                for data in self._candles(topic):
                    frame = data.replace(_SENT, b'"B":"%.6f"' % time.monotonic()).decode()
                    for send in tuple(self._listening[topic]):
                        await send({"type": "websocket.send", "text": f'{{"stream":"{topic}","data":{frame}}}'})

    def _candles(self, topic: str) -> list[bytes]:
        """Return the candle as it is now, and before it the last one of the candle that has ended."""
        if "@kline_" not in topic:
            return []
        symbol, now = topic.partition("@")[0].upper(), now_ms()
        opened = now // MINUTE * MINUTE
        before, self._opened[topic] = self._opened.get(topic, opened), opened
        ended = [candle(before, MINUTE, symbol, before + MINUTE + 1)] if before != opened else []
        return [*ended, candle(opened, now - opened, symbol, now)]


if __name__ == "__main__":
    uvicorn.run(CandleExchange(int(sys.argv[2])), port=int(sys.argv[1]), log_level="error", ws="websockets-sansio")
