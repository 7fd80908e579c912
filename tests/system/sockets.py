"""A bot on Binance's streams: it listens through the balancer, and comes again whenever its connection ends."""

import asyncio
from collections import Counter
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.uri import parse_uri

from mdcache.exchange.markets import Market
from tests.system.replica import Replica
from tests.system.wire import Doors, Wire
from tests.system.world import World

_PATHS = {Market.SPOT: "/stream", Market.USDM: "/usdm/stream", Market.COINM: "/coinm/stream"}
_AGAIN_S = 1.0
ORDERLY = {CloseCode.GOING_AWAY, CloseCode.POLICY_VIOLATION, CloseCode.SERVICE_RESTART, CloseCode.TRY_AGAIN_LATER}


class SocketConnection(Wire):
    """One connection in the combined form. `frames`: what came, not yet checked."""

    def __init__(self, doors: Doors, market: Market, topics: tuple[str, ...]) -> None:
        target = f"{_PATHS[market]}?streams={'/'.join(topics)}"
        self.frames: list[bytes] = []
        self.ended = asyncio.Event()
        self._client = ClientProtocol(parse_uri(f"ws://localhost{target}"))
        super().__init__(doors)
        self._client.send_request(self._client.connect())
        self._flush()

    @property
    def code(self) -> int | None:
        """Return the code of the daemon's closing frame."""
        return None if self._client.close_rcvd is None else self._client.close_rcvd.code

    def received(self, data: bytes) -> None:
        self._client.receive_data(data)
        for event in self._client.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.frames.append(bytes(event.data))
        asyncio.get_running_loop().call_soon(self._flush)

    def lost(self) -> None:
        self.ended.set()

    def _flush(self) -> None:
        pending = [data for data in self._client.data_to_send() if data]
        if pending:
            self.say(b"".join(pending))


class SocketBot:
    """`heard`: the connections whose frames are not yet checked, the last one perhaps open; `counts`: those checked."""

    def __init__(self, world: World, market: Market, topics: tuple[str, ...], tell: Callable[[str], None]) -> None:
        self.market = market
        self.topics = topics
        self.heard: list[SocketConnection] = []
        self.counts: Counter[str] = Counter()
        self.world = world
        self._tell = tell
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    @property
    def connection(self) -> SocketConnection | None:
        return self.heard[-1] if self.heard and not self.heard[-1].closed else None

    def stop_reading(self) -> None:
        if self.connection is not None:
            self.connection.reads = False

    def read_again(self) -> None:
        if self.connection is not None and not self.connection.reads:
            self.connection.take_unread()

    async def leave(self) -> None:
        self._task.cancel()
        if self.connection is not None:
            self.connection.hang_up()
        await asyncio.sleep(0)

    async def _run(self) -> None:
        while True:
            replica: Replica | None = await self.world.balancer.choose()
            if replica is not None:
                connection = SocketConnection(replica.doors, self.market, self.topics)
                self.heard.append(connection)
                await connection.ended.wait()
            await self.world.wait(_AGAIN_S)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._tell(repr(task.exception()))
