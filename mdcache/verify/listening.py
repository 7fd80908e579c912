"""Listen to one market's streams for a whole run, and record what comes.

A connection that is refused or lost is not opened again: what came until then counts. Connects are paced like the
daemon's. Rule: docs/design.md#verify.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from mdcache.errors import InvalidBody, TransportFailed
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS, read_mini_tickers
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.upstream.streams.connect_pace import ConnectPace
from mdcache.upstream.streams.messages import TopicFrame, batch, read_message, topics_message
from mdcache.upstream.streams.ports import Connect, ConnectionEnded, HandshakeRefused, StreamConnection
from mdcache.verify.exchange_time import MeasuredTime
from mdcache.verify.findings import NotMeasured
from mdcache.verify.questions import Questions

FIRST_FRAME_S = 8.0  # a liquid symbol's topic that has sent nothing for so long sends nothing
_PACE_JITTER = 1.0
_MESSAGE_EVERY_S = 0.5  # spot allows five messages a second, with its pongs
ROUTES = {"none": "/stream", "market": "/market/stream"}


class HeardFrame(NamedTuple):
    """A frame of a topic. `at_ms`: exchange time at which it came."""

    at_ms: float
    data: bytes


class MiniTickers(NamedTuple):
    """A frame of `!miniTicker@arr`: its newest event time of this market, and all that it lists."""

    event_ms: int
    symbols: frozenset[str]


class _Volume(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    quote: str = msgspec.field(name="q")


_volumes_decoder = msgspec.json.Decoder(list[_Volume])


@dataclass(slots=True)
class Recording:
    """What has come. `route`: of the connection that brought it; `ended`: why nothing more comes."""

    frames: defaultdict[str, list[HeardFrame]] = field(default_factory=lambda: defaultdict(list))
    tickers: list[MiniTickers] = field(default_factory=list)
    volumes: dict[str, float] = field(default_factory=dict)  # of 24 hours, in the quote asset, as the tickers say
    route: str = ""
    ended: str = ""

    def need(self) -> None:
        """Raise `NotMeasured` if nothing has come at all."""
        if not self.frames and not self.tickers:
            raise NotMeasured(self.ended or "no frame came")


class StreamListener:
    """One market's connection. `routes`: names of `ROUTES`, tried in this order until a topic has a frame.

    `topics`: the first is the one whose frames prove a route.
    """

    def __init__(
        self,
        market: Market,
        base_url: str,
        routes: tuple[str, ...],
        topics: Iterable[str],
        *,
        questions: Questions,
        connect: Connect,
        pace: ConnectPace,
        timeout_s: float,
    ) -> None:
        self.recording = Recording()
        self._market = market
        self._base_url = base_url.rstrip("/")
        self._routes = routes
        self._topics = list(topics)
        self._questions = questions
        self._connect = connect
        self._pace = pace
        self._clock = questions.clock
        self._timeout_s = timeout_s
        self._connection: StreamConnection | None = None
        self._sent = 0

    @property
    def _time(self) -> MeasuredTime:
        return self._questions.time

    async def run(self) -> None:
        """Listen until cancelled, or until the connection ends."""
        try:
            for route in self._routes:
                if await self._listen(route):
                    return
            self.recording.ended = "no frame came"
        except NotMeasured as why:
            self.recording.ended = str(why)

    async def add(self, topics: list[str]) -> None:
        """Subscribe to more topics."""
        self._topics += topics
        if self._connection is not None:
            await self._subscribe(self._connection, topics)

    # ------------------------------------------------------------------------------------ parts

    async def _listen(self, route: str) -> bool:
        """Record what a route sends until its connection ends; return False if the first topic had no frame in time."""
        connection = await self._open(self._base_url + ROUTES[route])
        try:
            self._connection = connection
            await self._subscribe(connection, self._topics)
            until_s = self._clock.now() + FIRST_FRAME_S
            while not self.recording.frames.get(self._topics[0]):
                left_s = until_s - self._clock.now()
                if left_s <= 0:
                    return False
                try:
                    async with asyncio.timeout(left_s):
                        self._take(await connection.receive())
                except TimeoutError:
                    return False
            self.recording.route = route
            while True:
                self._take(await connection.receive())
        except ConnectionEnded as ended:
            self.recording.ended = f"the connection ended: {ended}"
            return True
        finally:
            self._connection = None
            await connection.close()

    async def _open(self, url: str) -> StreamConnection:
        while (wait_s := self._pace.wait_s(self._market, self._clock.now(), planned=False)) > 0:
            await self._clock.sleep(min(wait_s, 1.0))
        self._questions.check_gate()
        self._pace.begin(self._market, self._clock.now(), _PACE_JITTER)
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connect(url)
        except HandshakeRefused as refused:
            self._pace.refused(self._market, self._clock.now(), _PACE_JITTER, forbidden=True, wait_s=0.0)
            self._questions.record_refusal(self._market, refused.head, refused.body)
            raise NotMeasured(f"the streams refused the connection with {refused.head.status}") from refused
        except (TransportFailed, TimeoutError) as error:
            self._pace.unanswered(self._market, self._clock.now(), _PACE_JITTER, alive=True)
            raise NotMeasured(f"the streams do not answer: {str(error) or 'no answer in time'}") from error
        except asyncio.CancelledError:
            self._pace.cancelled(self._market)
            raise
        self._pace.succeeded(self._market)
        return connection

    async def _subscribe(self, connection: StreamConnection, topics: list[str]) -> None:
        left = list(topics)
        while left:
            part = batch(left)
            del left[: len(part)]
            self._sent += 1
            await connection.send(topics_message("SUBSCRIBE", part, self._sent))
            await self._clock.sleep(_MESSAGE_EVERY_S)

    def _take(self, text: bytes | str) -> None:
        message = read_message(text)
        if not isinstance(message, TopicFrame):
            return
        if message.topic != MINI_TICKERS:
            self.recording.frames[message.topic].append(HeardFrame(self._time.now_ms(), message.data))
            return
        try:
            event_ms, symbols = read_mini_tickers(message.data, self._market)
            volumes = {each.symbol: float(each.quote) for each in _volumes_decoder.decode(message.data)}
        except (InvalidBody, ValueError, *UNDECODABLE):
            return
        self.recording.volumes |= volumes
        if event_ms >= 0:
            self.recording.tickers.append(MiniTickers(event_ms, frozenset(symbols)))
