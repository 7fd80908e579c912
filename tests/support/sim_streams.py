"""The streams of the simulated exchange without sockets: a `Connect` in the clock's time."""

import asyncio
from collections import deque
from urllib.parse import urlsplit

from mdcache.errors import Fault, TransportFailed
from mdcache.sim import Exchange
from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.streams.session import Closing, StreamSession
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.streams.ports import ConnectionEnded, HandshakeRefused
from tests.support.virtual_time import VirtualClock


class SimStreams:
    """Opens connections to `exchange`, and notes when, by URL.

    `unplugged`: nothing arrives, in either direction; with `hangs` not even the news that it does not.
    """

    def __init__(self, exchange: Exchange, clock: VirtualClock, client: str = "192.0.2.1") -> None:
        self._exchange = exchange
        self._clock = clock
        self._client = client
        self.unplugged = self.hangs = False
        self.attempts: list[tuple[float, str]] = []
        self.connections: list[SimConnection] = []

    @property
    def open(self) -> list["SimConnection"]:
        return [one for one in self.connections if not one.ended]

    def pull_the_cable(self) -> None:
        """Connections that are open now never say anything again; new ones fail."""
        self.unplugged = True
        for connection in self.open:
            connection.dead = True

    async def __call__(self, url: str) -> "SimConnection":
        self.attempts.append((self._clock.now(), url))
        if self.unplugged and self.hangs:
            await asyncio.Event().wait()
        if self.unplugged:
            raise TransportFailed(Fault.CONNECT, "no route to host")
        parts = urlsplit(url)
        await self._clock.sleep(self._exchange.delay_before(parts.path))
        opened = self._exchange.open_stream(parts.path, parts.query, self._client)
        if isinstance(opened, StreamSession):
            connection = SimConnection(self._exchange, self._clock, opened, url)
            self.connections.append(connection)
            return connection
        return await self._refuse(opened)

    async def _refuse(self, reply: ExchangeReply) -> "SimConnection":
        if reply.fault == "timeout":
            await asyncio.Event().wait()
        if reply.fault is not None:
            raise TransportFailed(Fault.READ, "closed before an answer")
        headers = tuple((name.lower(), value) for name, value in reply.headers)
        raise HandshakeRefused(ReplyHead(reply.status, headers), reply.body)


class SimConnection:
    """One session; `sent`: the messages of the client, with their times."""

    def __init__(self, exchange: Exchange, clock: VirtualClock, session: StreamSession, url: str) -> None:
        self._exchange = exchange
        self._clock = clock
        self.session = session
        self.url = url
        self.opened_s = clock.now()
        self.ended_s: float | None = None
        self.dead = False
        self.sent: list[tuple[float, str]] = []
        self.received: list[str] | None = None  # what came, if it is to be kept
        self._due: deque[str | Closing] = deque()
        self._answered = asyncio.Event()
        self._ended = ConnectionEnded(None, "closed by us")

    @property
    def ended(self) -> bool:
        return self.ended_s is not None

    async def send(self, text: str) -> None:
        if self.ended:
            raise self._ended
        if not self.dead:
            self.sent.append((self._clock.now(), text))
            self._due += self.session.receive(text, self._exchange.now_ms())
            self._answered.set()

    async def receive(self) -> str:
        while True:
            if self.dead:
                await asyncio.Event().wait()
            now_ms = self._exchange.now_ms()
            self._due += self.session.due(now_ms)
            if self._due:
                return self._next()
            self._answered.clear()
            try:
                async with asyncio.timeout(max(0.001, (self.session.next_ms(now_ms) - now_ms) / 1000)):
                    await self._answered.wait()
            except TimeoutError:
                pass

    def inject(self, text: str) -> None:
        """Let a message come that the exchange has not sent."""
        self._due.append(text)
        self._answered.set()

    async def close(self) -> None:
        self.ended_s = self.ended_s or self._clock.now()

    def _next(self) -> str:
        one = self._due.popleft()
        if isinstance(one, str):
            if self.received is not None:
                self.received.append(one)
            return one
        self.ended_s = self._clock.now()
        self._ended = ConnectionEnded(one.code, f"{one.code} {one.reason}".strip() if one.code else "no closing frame")
        raise self._ended
