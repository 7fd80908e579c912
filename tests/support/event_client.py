"""A client of `/v1/stream` in process, which parses events by the standard's rules, with none of the daemon's code."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mdcache.serving.app import App
from tests.support.virtual_time import close_at_end


@dataclass(frozen=True)
class ReceivedEvent:
    """An event, the position that came with it, and when, by the loop's time."""

    name: str
    id: str
    data: Any
    at_s: float

    @property
    def series(self) -> tuple[str, str]:
        return self.data["symbol"], self.data["interval"]

    @property
    def row(self) -> list[Any]:
        row: list[Any] = self.data["row"]
        return row


@dataclass
class EventClient:
    """One connection. `reads`: cleared while the client takes nothing from its socket."""

    app: App
    query: str
    last_id: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    events: list[ReceivedEvent] = field(default_factory=list)
    comments: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self._gone = asyncio.Event()
        self._started = asyncio.Event()
        self._unread = b""
        self._task = asyncio.create_task(self._run())
        close_at_end(self.close)

    async def started(self) -> "EventClient":
        """Wait for the head of the response."""
        await self._started.wait()
        return self

    async def close(self) -> None:
        """Leave, and wait until the daemon has noticed."""
        self._gone.set()
        self.reads.set()
        await self._task

    def named(self, *names: str) -> list[ReceivedEvent]:
        return [event for event in self.events if event.name in names]

    async def _run(self) -> None:
        headers: Mapping[str, str] = {"last-event-id": self.last_id} if self.last_id else {}
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/v1/stream",
            "raw_path": b"/v1/stream",
            "root_path": "",
            "query_string": self.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 40_000),
            "server": ("127.0.0.1", 8700),
            "extensions": {},
        }
        await self.app(scope, self._receive, self._send)
        self.ended = True
        self._started.set()

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._started.set()
            return
        await self.reads.wait()
        if self._gone.is_set():
            return
        self.body += message.get("body", b"")
        if self.headers["content-type"] == "text/event-stream":
            self._parse(message.get("body", b""))

    def _parse(self, chunk: bytes) -> None:
        *whole, self._unread = (self._unread + chunk).split(b"\n\n")
        for block in whole:
            fields: dict[str, str] = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                else:
                    self.comments += 1
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                at_s = asyncio.get_running_loop().time()
                self.events.append(ReceivedEvent(fields["event"], self.last_id, json.loads(fields["data"]), at_s))
