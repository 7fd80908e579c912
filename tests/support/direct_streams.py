"""Streams without connections: the simulator's frames reach their sink in the clock's time."""

import asyncio

import msgspec

from mdcache.cache.stream_frames import StreamFrames
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.sim import Exchange
from mdcache.sim.streams.session import StreamSession
from mdcache.upstream.streams.market_streams import MarketStreamsStatus
from mdcache.upstream.streams.ports import FrameRelay
from tests.support.virtual_time import VirtualClock

_PATHS = {Market.SPOT: "/stream", Market.USDM: "/usdm/market/stream", Market.COINM: "/coinm/stream"}


class _Combined(msgspec.Struct):
    stream: str
    data: msgspec.Raw


_decoder = msgspec.json.Decoder(_Combined)


class DirectStreams:
    """Topics of the simulator. `lag_s`: how long a frame takes; `dead`: silent topics.

    `cut`: nothing arrives; `lost`: nor is there a connection.

    `renewable`: a dead topic lives again when it is renewed. `mini_tickers`: they are what an hour of an otherwise idle
    world costs.
    """

    def __init__(
        self, exchange: Exchange, clock: VirtualClock, sink: StreamFrames, relay: FrameRelay, lag_s: float = 0.02
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._sink = sink
        self._relay = relay
        self._listened: set[tuple[Market, str]] = set()
        self.lag_s = lag_s
        self.cut = False
        self.lost = False
        self.dead: set[str] = set()
        self.renewable = False
        self.last: tuple[Market, str, bytes] | None = None
        self.mini_tickers = True
        self.topics: dict[Market, set[str]] = {market: set() for market in Market}
        self._sessions: dict[Market, StreamSession] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def markets(self) -> frozenset[Market]:
        return frozenset(Market)

    def subscribe(self, market: Market, topic: str) -> None:
        session = self._sessions.get(market)
        if session is None:
            opened = self._exchange.open_stream(_PATHS[market], "", "192.0.2.1")
            assert isinstance(opened, StreamSession)
            session = self._sessions[market] = opened
            session.subscribe([MINI_TICKERS] if self.mini_tickers else [], self._exchange.now_ms())
            self._tasks.append(asyncio.create_task(self._deliver(market, session)))
        if topic not in self.topics[market]:
            self.topics[market].add(topic)
            session.subscribe([topic], self._exchange.now_ms())

    def unsubscribe(self, market: Market, topic: str) -> None:
        self.topics[market].discard(topic)

    def listen(self, market: Market, topic: str) -> None:
        self._listened.add((market, topic))
        self.subscribe(market, topic)

    def unlisten(self, market: Market, topic: str) -> None:
        self._listened.discard((market, topic))

    def refusal(self, market: Market) -> str | None:
        return "lost" if self.lost else None

    def renew(self, market: Market, topic: str) -> None:
        if self.renewable:
            self.dead.discard(topic)

    def status(self) -> tuple[MarketStreamsStatus, ...]:
        return tuple(self._status(market) for market in Market)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _deliver(self, market: Market, session: StreamSession) -> None:
        while True:
            due = session.due(self._exchange.now_ms())
            await self._clock.sleep(self.lag_s)
            for text in due:
                assert isinstance(text, str)
                self._take(market, text)
            now_ms = self._exchange.now_ms()
            await self._clock.sleep(max(0.001, (session.next_ms(now_ms) - now_ms) / 1000))

    def _status(self, market: Market) -> MarketStreamsStatus:
        topics = len(self.topics[market])
        silent = topics if self.cut else len(self.topics[market] & self.dead)
        return MarketStreamsStatus(
            market=market.value,
            path=_PATHS[market],
            connections=int(market in self._sessions and not self.lost),
            topics=topics,
            fed=topics - silent,
            silent=silent,
            frames=0,
            rejected=0,
            connects_last_minute=0,
            connects_last_hour=1,
            retry_in_s=0.0,
            last_error="",
        )

    def _take(self, market: Market, text: str) -> None:
        if self.cut or self.lost or '"stream"' not in text:
            return
        frame = _decoder.decode(text)
        if frame.stream == MINI_TICKERS or frame.stream in self.topics[market] - self.dead:
            self.last = market, frame.stream, bytes(frame.data)
            self.take(*self.last)

    def take(self, market: Market, topic: str, data: bytes) -> None:
        self._sink.take(market, topic, data)
        if (market, topic) in self._listened:
            self._relay.relay(market, topic, data)
