"""Record from an exchange whatever a daemon subscribes to at another, and judge a bot's frames by the record."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import websockets

_PATHS = (
    ("spot", "/stream"),
    ("usdm", "/usdm/market/stream"),
    ("usdm", "/usdm/public/stream"),
    ("coinm", "/coinm/stream"),
)
_TOPICS_A_MESSAGE = 50


class Recorder:
    """The frames of an exchange's topics, as they came, and when each did. Frames are known by what they say."""

    def __init__(self, exchange: str) -> None:
        self._base = exchange.replace("http", "ws", 1)
        self._wanted: set[tuple[str, str]] = set()
        self._more = asyncio.Condition()
        self._frames: dict[str, list[Any]] = {}
        self._times: dict[str, list[float]] = {}
        self._places: dict[str, dict[str, int]] = {}  # by text, by topic

    async def want(self, topics: Iterator[str]) -> None:
        """Record these topics from now on, too: `<market> <topic>`."""
        async with self._more:
            self._wanted |= {(market, topic) for market, _, topic in (one.partition(" ") for one in topics)}
            self._more.notify_all()

    async def run(self) -> None:
        """Record until cancelled."""
        await asyncio.gather(*(self._listen(market, path) for market, path in _PATHS))

    async def _listen(self, market: str, path: str) -> None:
        async with websockets.connect(self._base + path, max_size=None) as connection:
            asking = asyncio.create_task(self._subscribe(market, connection))
            try:
                async for message in connection:
                    sent = json.loads(message)
                    if "stream" in sent:
                        self._add(f"{market} {sent['stream']}", sent["data"])
            finally:
                asking.cancel()

    async def _subscribe(self, market: str, connection: websockets.ClientConnection) -> None:
        asked: set[str] = set()
        while True:
            async with self._more:
                await self._more.wait_for(lambda: self._names(market) - asked)
                new = sorted(self._names(market) - asked)[:_TOPICS_A_MESSAGE]
            await connection.send(json.dumps({"method": "SUBSCRIBE", "params": new, "id": len(asked)}))
            asked.update(new)
            await asyncio.sleep(1)

    def _names(self, market: str) -> set[str]:
        return {topic for one, topic in self._wanted if one == market}

    def _add(self, topic: str, frame: Any) -> None:
        frames = self._frames.setdefault(topic, [])
        self._places.setdefault(_text(frame), {})[topic] = len(frames)
        frames.append(frame)
        self._times.setdefault(topic, []).append(time.time())

    def judge(self, market: str, frames: list[Any], excused: list[tuple[float, float]], until: float) -> Iterator[str]:
        """Say what is wrong with a bot's frames of one topic.

        Args:
            market: The topic's.
            frames: What the bot was given, in order.
            excused: Spans (seconds since the epoch) in which frames may be missing.
            until: When frames must still have come.
        """
        known = [self._places.get(_text(frame), {}) for frame in frames]
        begin = next((place for place, found in enumerate(known) if found), None)
        if begin is None:
            yield f"none of {len(frames)} frames is the exchange's"
            return
        topic = next(one for one in known[begin] if one.startswith(market))
        last, seen = -1, set()
        for frame, found in list(zip(frames, known, strict=True))[begin:]:
            place = found.get(topic, self._mended(topic, frame))
            if place is None and not self._shown(topic, frame):
                yield f"{topic}: invented: {_text(frame)[:300]}"
            elif place is None:
                continue
            elif place in seen:
                yield f"{topic}: repeated: {_text(frame)[:300]}"
            elif place < last and topic in found:
                yield f"{topic}: out of order: {_text(frame)[:300]}"
            else:
                seen.add(place)
                last = max(last, place)
        times = self._times[topic]
        first = min(seen)
        lost = [times[place] for place in range(first, last) if place not in seen]
        unexcused = [one for one in lost if not any(begin <= one <= end for begin, end in excused)]
        if unexcused:
            yield f"{topic}: {len(unexcused)} frames missing though nothing happened, the first at {unexcused[0]:.1f}"
        if times[last] < until and times[-1] > until:
            yield f"{topic}: nothing came any more, {times[-1] - times[last]:.0f} s before the end"

    def _mended(self, topic: str, frame: Any) -> int | None:
        """Return the place of the final frame that a frame repeats but for its event time."""
        if not isinstance(frame, dict) or not frame.get("k", {}).get("x") or frame["E"] <= frame["k"]["T"]:
            return None
        same = (place for place, one in enumerate(self._frames[topic]) if one | {"E": 0} == frame | {"E": 0})
        return next(same, None)

    def _shown(self, topic: str, frame: Any) -> bool:
        """Return whether the exchange showed this candle at the frame's time.

        A candle's first frame comes at once to who has just subscribed, though nothing has changed since the last.
        """
        if not isinstance(frame, dict) or "k" not in frame or frame["k"]["x"]:
            return False
        before = [one for one in self._frames[topic] if one["E"] < frame["E"]]
        return bool(before) and before[-1]["k"] == frame["k"]


def _text(frame: Any) -> str:
    return json.dumps(frame, sort_keys=True)
