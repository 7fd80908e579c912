"""A listener's connection without sockets: the client is the sans-I/O one of `websockets`, in virtual time."""

import asyncio
import json
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from mdcache.serving.listeners import Listeners
from mdcache.serving.streams.batched_writes import BatchedWrites
from mdcache.serving.streams.listener_connection import ListenerConnection, ListenerTimes
from mdcache.serving.streams.paths import parse_stream_path
from tests.support.fake_relay import FakeRelay
from tests.support.virtual_time import VirtualClock


class MemoryTransport(asyncio.Transport):
    """Hands what is written to `client`, unless that does not read."""

    def __init__(self, client: "ListenerClient") -> None:
        super().__init__()
        self._client = client
        self.waiting: list[bytes] = []
        self.writes = 0
        self.lines: list[Any] = []  # of the last of several at once
        self.half_closed = self.closed = self.aborted = False

    def write(self, data: Any) -> None:
        assert not self.half_closed
        self.waiting.append(bytes(data))
        self.writes += 1
        if self._client.reads:
            self._client.read()

    def writelines(self, list_of_data: Any) -> None:
        self.lines = list(list_of_data)
        self.write(b"".join(self.lines))

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.waiting))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write_eof(self) -> None:
        self.half_closed = True
        if self._client.reads and self._client.ends:
            self.close()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._client.connection.connection_lost, None)

    def abort(self) -> None:
        self.aborted = not self.closed
        self.close()


class ListenerClient:
    """A connected client. It `reads`, answers pings (`pongs`), and takes part in the closing handshake (`ends`)."""

    def __init__(
        self,
        clock: VirtualClock,
        target: str = "/ws",
        *,
        relay: FakeRelay | None = None,
        times: ListenerTimes | None = None,
    ) -> None:
        path = parse_stream_path(target)
        assert path is not None
        self.reads = self.pongs = self.ends = True
        self.relay = relay or FakeRelay()
        self.peers: set[Any] = set()
        self.listeners = Listeners(10)
        self.texts: list[str] = []
        self.pings: list[bytes] = []
        self._protocol = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN)
        self.transport = MemoryTransport(self)
        self.connection = ListenerConnection(
            path, self.relay, clock, self.listeners, BatchedWrites(clock), self.peers, times or ListenerTimes(), ""
        )
        self.connection.connection_made(self.transport)

    def closed(self) -> tuple[int, str] | None:
        """Return code and reason of the server's closing frame."""
        close = self._protocol.close_rcvd
        return None if close is None else (close.code, close.reason)

    @property
    def gone(self) -> bool:
        """Whether the connection has left everybody who knew it."""
        return self.connection in self.relay.left and not self.peers and not len(self.listeners)

    def read(self) -> None:
        """Read what waits, and answer it."""
        waiting, self.transport.waiting = self.transport.waiting, []
        self._protocol.receive_data(b"".join(waiting))
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.TEXT:
                self.texts.append(bytes(event.data).decode())
            elif event.opcode is Opcode.PING:
                self.pings.append(bytes(event.data))
        pending = [data for data in self._protocol.data_to_send() if data]
        if self.pongs:
            asyncio.get_running_loop().call_soon(self._answer, b"".join(pending))

    def close_code(self) -> int | None:
        """Return the code alone."""
        close = self.closed()
        return None if close is None else close[0]

    def counted(self) -> dict[str, int]:
        """Return what was counted of its end."""
        return {end: count for end, count in self.listeners.ends(self.connection.market).items() if count}

    def say(self, **message: object) -> None:
        self._protocol.send_text(json.dumps(message).encode())
        self.flush()

    def ping(self, times: int = 1) -> None:
        for _ in range(times):
            self._protocol.send_ping(b"")
        self.flush()

    def pong(self, payload: bytes) -> None:
        self._protocol.send_pong(payload)
        self.flush()

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    def flush(self) -> None:
        self.connection.data_received(b"".join(self._protocol.data_to_send()))

    def _answer(self, data: bytes) -> None:
        if data and not self.transport.closed:
            self.connection.data_received(data)
