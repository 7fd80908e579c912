"""One connection to the streams: its subscriptions, the client's messages, and the frames to send.

A session opens no socket and reads no clock: `receive` takes a client's message, `due` returns what is to be sent by a
moment, and `next_ms` says when to ask again. Sources: web-socket-streams.md of spot, Websocket-Market-Streams and
Live-Subscribing pages of fapi and dapi (docs/binance.md#stream-connections).
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mdcache.sim.config import DAY_MS, Market
from mdcache.sim.control.stream_faults import StreamFault, StreamSettings
from mdcache.sim.streams.frames import KlineFrames, PrintedFrame, TimedFrames
from mdcache.sim.streams.messages import (
    CombinedMessage,
    ListMessage,
    Message,
    TopicsMessage,
    read_message,
    refusal,
    result,
)

TopicFrames = KlineFrames | TimedFrames
MakeFrames = Callable[[str, int], TopicFrames | None]  # a topic's name, and now

MOST_TOPICS = 1_024  # a connection, on all markets
_LONGEST_MESSAGE = 4_096  # longer ones are ignored without a word: Binance.Net#1180, on spot
_MESSAGES_A_SECOND: dict[Market, int] = {"spot": 5, "usdm": 10, "coinm": 10}
_TOLERATED = 5  # messages over that before the connection is closed: measured on fapi
_LIFE_MS = DAY_MS  # "A single connection is only valid for 24 hours"
_SECOND_MS = 1_000
_LOOK_AGAIN_MS = 250  # for what the control API has changed
_GARBAGE = ('{"e":"kline","E":17', "\x00\x00\x00", "[]", "null", '{"e":"kline","k":{"t":"x"}}', "<html></html>")


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a connection. `code`: of the closing handshake; `None`: there is none, the connection breaks."""

    code: int | None
    reason: str = ""


class StreamSession:
    """One connection to one market's streams."""

    def __init__(
        self,
        market: Market,
        path: str,
        client: str,
        settings: StreamSettings,
        make_frames: MakeFrames,
        now_ms: int,
        *,
        combined: bool,
    ) -> None:
        self.market: Market = market
        self.path = path
        self.client = client
        self.opened_ms = now_ms
        self._settings = settings
        self._make_frames = make_frames
        self._combined = combined
        self._topics: dict[str, TopicFrames | None] = {}
        self._wake: list[tuple[int, str]] = []
        self._late: list[tuple[int, int, str]] = []
        self._sent = 0
        self._last: dict[str, str] = {}  # what was sent last, by topic
        self._received: deque[int] = deque(maxlen=_MESSAGES_A_SECOND[market] + _TOLERATED)
        self._told_of_shutdown = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the connection has ended from this side."""
        return self._closed

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are subscribed to."""
        return tuple(self._topics)

    def next_ms(self, now_ms: int) -> int:
        """Return when to ask `due` again."""
        due = [now_ms + _LOOK_AGAIN_MS, *(times[0][0] for times in (self._wake, self._late) if times)]
        return max(now_ms, min(due))

    def subscribe(self, topics: list[str], now_ms: int) -> Closing | None:
        """Subscribe to topics, known or not; too many end the connection."""
        half = any(fault.kind == "half" for fault in self._faults(now_ms))
        for place, name in enumerate(topics):
            if name in self._topics or (half and place % 2):
                continue
            self._topics[name] = found = self._make_frames(name, now_ms)
            if found is not None:
                heapq.heappush(self._wake, (found.next_ms, name))
        return self._end(1008, "Too many subscriptions") if len(self._topics) > MOST_TOPICS else None

    # ------------------------------------------------------------------------------------ messages

    def receive(self, text: str, now_ms: int) -> list[str | Closing]:
        """Take a message of the client; return the answer, and the end of the connection if that follows."""
        received = self._received
        if len(received) == received.maxlen and now_ms - received[0] < _SECOND_MS:
            return [self._end(1008, "Too many requests")]
        received.append(now_ms)
        return self._answer(read_message(self.market, text), now_ms) if len(text) <= _LONGEST_MESSAGE else []

    def _answer(self, message: Message | str, now_ms: int) -> list[str | Closing]:
        match message:
            case str():
                return [message]
            case ListMessage():
                return [result(message.id, list(self._topics))]
            case CombinedMessage(value=None):
                return [result(message.id, self._combined)]
            case CombinedMessage():
                self._combined = bool(message.value)
            case TopicsMessage(method="UNSUBSCRIBE"):
                for name in message.topics:
                    self._topics.pop(name, None)
            case TopicsMessage() if self._refuses(message.topics, now_ms):
                return [refusal("invalid stream")]
            case TopicsMessage():
                closing = self.subscribe(message.topics, now_ms)
                if closing is not None:
                    return ['{"error":{"code":4,"msg":"Too many subscriptions"}}', closing]
        return [result(message.id)]

    def _refuses(self, topics: list[str], now_ms: int) -> bool:
        odd = [fault.topic for fault in self._faults(now_ms) if fault.kind == "refused"]
        return any(part in name for part in odd for name in topics)

    # -------------------------------------------------------------------------------------- frames

    def due(self, now_ms: int) -> list[str | Closing]:
        """Return what is to be sent by now, the oldest first; the end of the connection is the last."""
        if self._closed:
            return []
        faults = self._faults(now_ms)
        closing = self._ending(faults, now_ms)
        if closing is not None:
            return [closing]
        out: list[str | Closing] = []
        told = self._settings.closing(self.market, self.opened_ms)
        if told is not None and not self._told_of_shutdown:
            self._told_of_shutdown = True
            notice = f'{{"e":"serverShutdown","E":{told.told_ms}}}'
            out.append(f'{{"stream":"!serverShutdown","data":{notice}}}' if self._combined else notice)
        for frame in sorted(self._frames(now_ms), key=lambda one: one.event_ms):
            self._put(frame, faults, now_ms, out)
        while self._late and self._late[0][0] <= now_ms:
            out.append(heapq.heappop(self._late)[2])
        return out

    def _frames(self, now_ms: int) -> list[PrintedFrame]:
        ready: set[str] = set()
        while self._wake and self._wake[0][0] <= now_ms:
            ready.add(heapq.heappop(self._wake)[1])
        frames: list[PrintedFrame] = []
        for name in sorted(ready):
            found = self._topics.get(name)
            if found is not None:
                frames += found.take(now_ms)
                heapq.heappush(self._wake, (found.next_ms, name))
        return frames

    def _put(self, frame: PrintedFrame, faults: list[StreamFault], now_ms: int, out: list[str | Closing]) -> None:
        """Add a frame as the faults have it: now, later or never."""
        text, later_ms, broken = frame.text, 0, False
        for fault in (one for one in faults if one.topic in frame.topic):
            match fault.kind:
                case "silent":
                    return
                case "no_finals" if frame.final:
                    return
                case "stuck":
                    text = self._last.get(frame.topic, text)
                case "garbage":
                    text = _GARBAGE[self._sent % len(_GARBAGE)]
                case "broken":
                    broken = True
                case "late":
                    later_ms = round(fault.delay_s * 1000)
        self._sent += 1
        if text is not frame.text and text in _GARBAGE:
            shown = text
        else:
            self._last[frame.topic] = text
            shown = f'{{"stream":"{frame.topic}","data":{text}}}' if self._combined else text
            shown = _break(shown, self._sent) if broken else shown
        if later_ms:
            heapq.heappush(self._late, (now_ms + later_ms, self._sent, shown))
        else:
            out.append(shown)

    def _ending(self, faults: list[StreamFault], now_ms: int) -> Closing | None:
        """Return the end of the connection if its time has come."""
        age_ms = now_ms - self.opened_ms
        for fault in faults:
            if fault.kind in {"dropped", "ended"} and age_ms >= fault.life_s * 1000:
                return self._end(None if fault.kind == "dropped" else 1000)
        told = self._settings.closing(self.market, self.opened_ms)
        if told is not None and now_ms >= told.at_ms:
            return self._end(1001 if told.at_ms > told.told_ms else None)
        return self._end(1000) if age_ms >= _LIFE_MS else None

    def _end(self, code: int | None, reason: str = "") -> Closing:
        self._closed = True
        return Closing(code, reason)

    def _faults(self, now_ms: int) -> list[StreamFault]:
        return self._settings.of(self.market, self.path, now_ms)


def _break(text: str, number: int) -> str:
    """Return a message cut off, without its beginning, or cut off and followed by another one."""
    half = len(text) * 2 // 3
    return (text[:half], text[half:], text[:half] + text)[number % 3]
