"""Frames that bots were sent: each once, in order, none invented, and of topics of which each counts, none missing."""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import StreamRoute, TopicKind, topic_kind, topic_route
from mdcache.sim import Exchange, SimConfig
from mdcache.sim.streams.session import StreamSession
from tests.support.virtual_time import VirtualClock
from tests.system.rest_oracle import KLINE_PATHS
from tests.system.sockets import ORDERLY, SocketBot, SocketConnection

_PATHS = {
    (Market.SPOT, StreamRoute.MARKET): "/stream",
    (Market.USDM, StreamRoute.MARKET): "/usdm/market/stream",
    (Market.USDM, StreamRoute.PUBLIC): "/usdm/public/stream",
    (Market.COINM, StreamRoute.MARKET): "/coinm/stream",
}
_HEAR_EACH_S = 10.0
_COLUMNS = "o", "h", "l", "c", "v", "q", "n", "V", "Q"
_OF_ROW = 1, 2, 3, 4, 5, 7, 8, 9, 10


class Truth:
    """What one is sent who is connected to an exchange of his own, which never fails."""

    def __init__(self, config: SimConfig, clock: VirtualClock) -> None:
        self._exchange = Exchange(config, now_ms=clock.true_ms)
        self._sessions: dict[tuple[Market, StreamRoute], StreamSession] = {}
        self.places: dict[tuple[Market, str], dict[bytes, int]] = defaultdict(dict)
        self._task: asyncio.Task[None] | None = None

    def follow(self, market: Market, topic: str) -> None:
        route = topic_route(market, topic)
        session = self._sessions.get((market, route))
        if session is None:
            opened = self._exchange.open_stream(_PATHS[market, route], "", "192.0.2.9")
            assert isinstance(opened, StreamSession)
            session = self._sessions[market, route] = opened
        session.subscribe([topic], self._exchange.now_ms())
        self._task = self._task or asyncio.create_task(self._go_on())

    def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _go_on(self) -> None:
        while True:  # the exchange sends nothing later than it should
            await asyncio.sleep(_HEAR_EACH_S)
            self.hear()

    def hear(self) -> None:
        """Take all frames until now."""
        now_ms = self._exchange.now_ms()
        for (market, _), session in self._sessions.items():
            for text in session.due(now_ms):
                assert isinstance(text, str)
                topic, data = split_frame(text.encode())
                places = self.places[market, topic]
                places[data] = len(places)

    def row(self, market: Market, candle: dict[str, object], at_ms: int) -> list[object] | None:
        """Return a candle as REST shows it at a moment."""
        opened = candle["t"]
        query = f"symbol={candle['s']}&interval={candle['i']}&startTime={opened}&endTime={opened}&limit=1"
        rows: list[list[object]] = json.loads(self._exchange.truth(KLINE_PATHS[market], query, {}, at_ms=at_ms))
        return rows[0] if rows else None


def split_frame(text: bytes) -> tuple[str, bytes]:
    """Return topic and event of a frame in the combined form."""
    end = text.index(b'"', 11)
    return text[11:end].decode(), text[end + 9 : -1]


@dataclass
class _Heard:
    """What one connection was sent of one topic."""

    last_place: int = -1
    last_event_ms: int = 0
    frames: set[bytes] = field(default_factory=set)
    finals: list[int] = field(default_factory=list)


class SocketChecks:
    """Checks the frames of all bots, as they come."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._heard: dict[tuple[SocketConnection, str], _Heard] = defaultdict(_Heard)

    def check(self, bot: SocketBot) -> int:
        """Check what came since the last time; return the number of frames."""
        count = 0
        for connection in tuple(bot.heard):
            frames, connection.frames = connection.frames, []
            count += len(frames)
            for text in frames:
                if text in self._refusals(bot):
                    continue
                topic, data = split_frame(text)
                assert topic in bot.topics, ("a topic of nobody", text)
                bot.counts[topic] += 1
                self._check_frame(bot.market, topic, data, self._heard[connection, topic])
            if connection.closed:
                code = connection.code
                assert code is None or code in ORDERLY, ("closed with", code)
                bot.heard.remove(connection)
                for topic in bot.topics:
                    self._heard.pop((connection, topic), None)
        return count

    def _refusals(self, bot: SocketBot) -> set[bytes]:
        """Return what bots may be told once the exchange has refused a topic: docs/design.md#relay."""
        said = '{"code":2,"msg":"%s: Invalid request: invalid stream"}'
        return {(said % topic).encode() for topic in bot.topics} if bot.world.topics_refused else set()

    def _check_frame(self, market: Market, topic: str, data: bytes, heard: _Heard) -> None:
        kind = topic_kind(topic)
        assert data not in heard.frames, ("twice", topic, data)
        heard.frames.add(data)
        if kind is TopicKind.KLINE:
            self._check_candle(market, json.loads(data), heard)
            return
        place = self._truth.places[market, topic].get(data)
        assert place is not None, ("invented", topic, data)
        assert place > heard.last_place, ("out of order", topic, data)
        if kind is TopicKind.LOSSLESS and heard.last_place >= 0:
            assert place == heard.last_place + 1, ("missing", topic, place - heard.last_place - 1, data)
        heard.last_place = place

    def _check_candle(self, market: Market, event: dict[str, object], heard: _Heard) -> None:
        candle = event["k"]
        assert isinstance(candle, dict)
        at_ms, opened, final = int(str(event["E"])), int(str(candle["t"])), bool(candle["x"])
        assert at_ms >= heard.last_event_ms, ("out of order", event)
        heard.last_event_ms = at_ms
        row = self._truth.row(market, candle, at_ms)
        assert row is not None, ("invented", event)
        assert [candle[name] for name in _COLUMNS] == [row[place] for place in _OF_ROW], ("invented", event, row)
        if final:
            assert at_ms > int(str(candle["T"])), ("final before its close", event)
            assert not heard.finals or opened > heard.finals[-1], ("final twice, or out of order", event)
            heard.finals.append(opened)
        else:
            assert opened not in heard.finals, ("after the final one", event)
