"""A bot on `/v1/stream`: it resumes where it was, on whichever replica, and is sent each close once."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httptools

from mdcache.exchange.markets import Market
from tests.support.random_klines import RandomQuestion
from tests.system.rest_oracle import KLINE_PATHS, RestOracle
from tests.system.wire import Doors, Wire
from tests.system.world import World

_AGAIN_S = 1.0


@dataclass(frozen=True)
class StreamEvent:
    """One event, and when it came, in the exchange's time."""

    name: str
    data: Any
    at_ms: int

    @property
    def series(self) -> tuple[str, str]:
        return self.data["symbol"], self.data["interval"]


class EventConnection(Wire):
    """One connection. `status`: 0 before there is one."""

    def __init__(self, doors: Doors, query: str, last_id: str, now_ms: Callable[[], int]) -> None:
        self.last_id = last_id
        self.events: list[StreamEvent] = []
        self.status = 0
        self.ended = asyncio.Event()
        self._now_ms = now_ms
        self._unparsed = b""
        self._parser = httptools.HttpResponseParser(self)
        super().__init__(doors)
        position = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self.say(f"GET /v1/stream?{query} HTTP/1.1\r\nHost: localhost\r\n{position}\r\n".encode())

    def received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def lost(self) -> None:
        self.ended.set()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        self.hang_up()

    def on_body(self, body: bytes) -> None:
        if self.status != 200:
            return
        *whole, self._unparsed = (self._unparsed + body).split(b"\n\n")
        for block in whole:
            fields = dict(line.partition(": ")[::2] for line in block.decode().split("\n"))
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                self.events.append(StreamEvent(fields["event"], json.loads(fields["data"]), self._now_ms()))


class EventBot:
    """Through all its connections. `count`: the events that it was sent; `statuses`: of answers since the last look."""

    def __init__(self, world: World, query: str, tell: Callable[[str], None]) -> None:
        self.query = query
        self.statuses: list[int] = []
        self.count = 0
        self._connections: list[EventConnection] = []
        self._last_id = ""
        self._world = world
        self._tell = tell
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    @property
    def connection(self) -> EventConnection | None:
        last = self._connections[-1] if self._connections else None
        return None if last is None or last.closed else last

    def take(self) -> list[StreamEvent]:
        """Return what came since the last time, in order."""
        found: list[StreamEvent] = []
        for connection in self._connections:
            found += connection.events
            connection.events = []
        self._connections = self._connections[-1:]
        return found

    async def leave(self) -> None:
        self._task.cancel()
        if self.connection is not None:
            self.connection.hang_up()
        await asyncio.sleep(0)

    async def _run(self) -> None:
        while True:
            replica = await self._world.balancer.choose()
            if replica is not None:
                connection = EventConnection(replica.doors, self.query, self._last_id, self._world.clock.true_ms)
                self._connections.append(connection)
                await connection.ended.wait()
                self._last_id = connection.last_id
                self.statuses.append(connection.status)
            await self._world.wait(_AGAIN_S)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._tell(repr(task.exception()))


class EventChecks:
    """What one bot was sent: of each series each close once, in order and as it is, whatever came between."""

    def __init__(self, oracle: RestOracle, market: Market) -> None:
        self._oracle = oracle
        self._path = KLINE_PATHS[market]
        self._closed: dict[tuple[str, str], int] = {}  # the newest close by series

    def check(self, events: list[StreamEvent]) -> None:
        for event in events:
            if event.name not in {"candle", "closed", "revised"}:
                continue
            row, as_of_ms = event.data["row"], event.data["as_of"]
            asked = self._question(event, row[0], row[0])
            closed = event.name != "candle"
            assert any(row == [*each[:11], closed] for each in self._rows(asked, as_of_ms)), (
                "not the exchange's",
                event,
            )
            if event.name == "closed":
                self._check_close(event)

    def _check_close(self, event: StreamEvent) -> None:
        opened = event.data["row"][0]
        last = self._closed.get(event.series)
        if last is not None:
            assert opened > last, ("a close twice, or out of order", event)
            if opened > last + 1:
                asked = self._question(event, last + 1, opened - 1)
                missing = json.loads(self._oracle.truth(asked, event.at_ms))
                assert not missing, ("closes are missing", missing, event)
        self._closed[event.series] = opened

    def _question(self, event: StreamEvent, start_ms: int, end_ms: int) -> RandomQuestion:
        symbol, interval = event.series
        query = f"symbol={symbol}&interval={interval}&startTime={start_ms}&endTime={end_ms}&limit=1000"
        return RandomQuestion(self._path, query)

    def _rows(self, asked: RandomQuestion, as_of_ms: int) -> Iterator[list[Any]]:
        for body in self._oracle.truths(asked, as_of_ms, self._oracle.worst_error_ms):
            yield from json.loads(body)
