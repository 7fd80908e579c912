"""The way from the daemon to the exchange's streams, whose frames a test can break."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.faults.wire import Call, Wire, pump, until_one_ends

_TEXT, _CLOSE, _FIN = 1, 8, 0x80
_SHORT, _TWO, _EIGHT = 125, 126, 127


@dataclass(slots=True)
class Link:
    """A stream's connection, on the daemon's side. `frames`: all that were sent by any connection, by topic."""

    writer: asyncio.StreamWriter
    frames: dict[str, list[bytes]]
    sent: int = 0  # messages

    def send(self, text: bytes, opcode: int = _TEXT) -> None:
        """Send a message, unless the connection has ended."""
        size = len(text)
        length = bytes([size]) if size <= _SHORT else bytes([_TWO]) + size.to_bytes(2)
        if size >= 1 << 16:
            length = bytes([_EIGHT]) + size.to_bytes(8)
        with suppress(ValueError):
            if text.startswith(b'{"stream"'):
                self.frames.setdefault(json.loads(text)["stream"], []).append(text)
        if not self.writer.is_closing():
            self.sent += 1
            self.writer.write(bytes([_FIN | opcode]) + length + text)

    def end(self, code: int) -> None:
        """End it in order."""
        self.send(code.to_bytes(2), _CLOSE)
        self.writer.close()


FrameBreak = Callable[[Link, bytes], None]


@dataclass
class StreamWire(Wire):
    """A wire for WebSockets. `frames_by`: what becomes of each message of the exchange, if not it itself.

    `frames`: what the daemon was sent of each topic; the same frame may come by two connections.
    """

    frames_by: FrameBreak | None = None
    frames: dict[str, list[bytes]] = field(default_factory=dict)
    _links: list[Link] = field(default_factory=list)

    def say(self, text: bytes) -> None:
        """Send a message on all connections that are open."""
        self._call(self._on_all(lambda link: link.send(text)))

    def end(self, code: int) -> None:
        """End them in order."""
        self._call(self._on_all(lambda link: link.end(code)))

    async def _on_all(self, act: Callable[[Link], None]) -> None:
        for link in tuple(self._links):
            act(link)

    async def _answer(self, call: Call, head: bytes, reader: asyncio.StreamReader) -> None:
        exchange, link = urlsplit(self.url), Link(call.writer, self.frames)
        there, that = await asyncio.open_connection(exchange.hostname, exchange.port)
        self._links.append(link)
        try:
            that.write(head[:-2] + b"X-Sim-Client: %s\r\n\r\n" % self.client.encode())
            call.send(await there.readuntil(b"\r\n\r\n"))
            await until_one_ends(pump(reader, that), self._take_frames(there, link))
        finally:
            self._links.remove(link)
            that.transport.abort()
            call.writer.close()

    async def _take_frames(self, reader: asyncio.StreamReader, link: Link) -> None:
        while True:
            first, size = await reader.readexactly(2)
            if size > _SHORT:
                size = int.from_bytes(await reader.readexactly(2 if size == _TWO else 8))
            text = await reader.readexactly(size)
            if first != _FIN | _TEXT:
                link.send(text, first & ~_FIN)
                continue
            if self.frames_by is None:
                link.send(text)
            else:
                self.frames_by(link, text)
            await link.writer.drain()
