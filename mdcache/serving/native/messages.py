"""Requests and replies of the native API; long ones are sent in pieces: the event loop is never held for long."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from isal import isal_zlib

from mdcache.clock import Clock
from mdcache.results import Result
from mdcache.serving.binance.headers import HeaderFields
from mdcache.serving.binance.request import ClientRequest
from mdcache.serving.responses import HttpResponse, Receive, Send

_CHUNK_BYTES = 32_768
_SLICE_S = 0.002  # then other tasks run
_GZIP_LEVEL, _GZIP_WINDOW = 1, 31


@dataclass(frozen=True, slots=True)
class Streamed:
    """Header fields, and the pieces of a body, each made when it is sent; `gzip`: compress it.

    Pieces that are all there already are a list: their length is known, and the server sends them without copying.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    pieces: Iterable[bytes]
    clock: Clock
    gzip: bool = False

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send it."""
        coding: HeaderFields = ()
        if self.gzip:
            coding = ((b"content-encoding", b"gzip"),)
        elif isinstance(self.pieces, list):
            coding = ((b"content-length", b"%d" % sum(map(len, self.pieces))),)
        await send({"type": "http.response.start", "status": 200, "headers": (*self.fields, *coding)})
        if not head_only:
            await self._send_pieces(send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_pieces(self, send: Send) -> None:
        began_s = self.clock.now()
        for chunk in self._chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if self.clock.now() - began_s > _SLICE_S:
                await asyncio.sleep(0)
                began_s = self.clock.now()

    def _chunks(self) -> Iterator[bytes]:
        """Return the pieces, as they are sent: short ones together, long ones as they are."""
        coder = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW) if self.gzip else None
        waiting: list[bytes] = []
        size = 0
        for piece in self.pieces:
            made = piece if coder is None else coder.compress(piece)
            if size + len(made) >= _CHUNK_BYTES:
                if waiting:
                    yield b"".join(waiting)
                waiting, size = [], 0
            if len(made) >= _CHUNK_BYTES:
                yield made
            else:
                waiting.append(made)
                size += len(made)
        waiting += [] if coder is None else [coder.flush()]
        if last := b"".join(waiting):
            yield last


class Sendable(Protocol):
    """An answer that is sent as it is made."""

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send it, or its head alone."""


Reply = HttpResponse | Streamed | Sendable


@dataclass(frozen=True, slots=True)
class NativeRequest:
    """A request to the native API. `accept`, `last_event_id`: headers, as sent; `market`: for the metrics."""

    path: str
    query: str
    accept: bytes
    client: ClientRequest
    receive: Receive
    market: str
    last_event_id: str


@dataclass(frozen=True, slots=True)
class NativeReply:
    """A reply, and how it was obtained, for the metrics. `waited_s`: for news, as the question wanted it."""

    reply: Reply
    result: Result
    age_s: float | None = None
    waited_s: float = 0.0


Answer = Callable[[NativeRequest], Awaitable[NativeReply]]
