"""A client's connection to a daemon in this process: the bytes of HTTP, through the daemon's own protocol."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools
import uvicorn
from uvicorn.server import ServerState

from mdcache.serving.app import App
from mdcache.serving.http.connection import ClientConnection
from mdcache.serving.streams.handshakes import ListenerHandshakes
from tests.system.lives import Life

_PEER = ("127.0.0.1", 40_000)


class ConnectionReset(Exception):
    """The daemon ended the connection, or is gone, before there was a whole answer."""


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Doors:
    """A daemon's port: makes the protocol of each new connection."""

    def __init__(self, app: App, handshakes: ListenerHandshakes, life: Life) -> None:
        class Serving(ClientConnection):
            fast_lanes = app.fast_lanes
            streams = handshakes

        self.life = life
        self.state = ServerState()
        self.state.default_headers = [(b"server", b"mdcache")]
        self.wires: set[Wire] = set()
        self._config = uvicorn.Config(
            app, http=Serving, lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, interface="asgi3", timeout_keep_alive=75,
        )  # fmt: skip
        self._config.load()
        self._serving = Serving

    def open(self, wire: "Wire") -> asyncio.Protocol:
        self.wires.add(wire)
        protocol = self.life.run(self._serving, self._config, self.state, {})
        self.life.run(protocol.connection_made, wire)
        return protocol

    def cut(self) -> None:
        """End all connections: the process is gone."""
        for wire in tuple(self.wires):
            wire.lose()


class Wire(asyncio.Transport):
    """One connection. Subclasses take what is `received`; `lost` is called once, at the end."""

    def __init__(self, doors: Doors) -> None:
        super().__init__({"peername": _PEER, "sockname": ("127.0.0.1", 8_700)})
        self.doors = doors
        self.closed = False
        self.unread: list[bytes] = []
        self.reads = True
        self._protocol: Any = None
        self._protocol = doors.open(self)

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        raise NotImplementedError

    def say(self, data: bytes) -> None:
        """Send something to the daemon."""
        if not self.closed:
            self.doors.life.run(self._protocol.data_received, data)

    def hang_up(self) -> None:
        """Close the connection from the client's side."""
        self.lose()

    def lose(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.doors.wires.discard(self)
        if not self.doors.life.ended:
            asyncio.get_running_loop().call_soon(self.doors.life.run, self._protocol.connection_lost, None)
        self.lost()

    def take_unread(self) -> None:
        """Read all that waits, and go on reading."""
        self.reads = True
        waiting, self.unread = self.unread, []
        for data in waiting:
            self.received(data)

    # -------------------------------------------------------------------- what the daemon calls

    def write(self, data: Any) -> None:
        if self.closed or self.doors.life.ended:
            return
        if self.reads:
            self.received(bytes(data))
        else:
            self.unread.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.unread))

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None:
        asyncio.get_running_loop().call_soon(self.lose)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.lose()

    def abort(self) -> None:
        self.lose()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class HttpClient(Wire):
    """Asks one question at a time; `alive`: the connection may be used again."""

    def __init__(self, doors: Doors) -> None:
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        super().__init__(doors)

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        if self.closed:
            raise ConnectionReset
        self._answer = asyncio.get_running_loop().create_future()
        fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.say(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        return await self._answer

    @property
    def idle(self) -> bool:
        return not self.closed and (self._answer is None or self._answer.done())

    def received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def lost(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionReset())

    # ---------------------------------------------------------------------- what the parser calls

    def on_message_begin(self) -> None:
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode().lower()
        assert key not in self._headers, f"{key} twice"
        self._headers[key] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._answer is not None, "an answer that nobody asked for"
        if not self._answer.done():
            self._answer.set_result(HttpAnswer(self._parser.get_status_code(), self._headers, b"".join(self._body)))
