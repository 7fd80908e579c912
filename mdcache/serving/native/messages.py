"""Requests and replies of the native API; long ones are sent in pieces: the event loop is never held for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Protocol

from mdcache.clock import Clock
from mdcache.results import Result
from mdcache.serving.binance.headers import HeaderFields
from mdcache.serving.binance.request import ClientRequest
from mdcache.serving.http.response_cycle import PARTS
from mdcache.serving.native.gzip_stream import Part, gzip_stream
from mdcache.serving.responses import HttpResponse, Receive, Send

_CHUNK_BYTES = 32_768
_WRITE_BYTES = 1 << 20
_STATUS, _COLLAPSED = b"cache-status", b"; collapsed"
_SLICE_S = 0.001  # then other tasks run


class TooLong(Exception):
    """An answer has more bytes than it may."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Header fields, and the pieces of a body, each made when it is sent; `gzip`: compress it.

    Pieces that are all there already are a list: their length is known, and the server sends them without copying.
    Parts among them are compressed once, for this answer and others. `turns`: of all answers that are made beside this
    one; a hundred of them together hold the event loop no longer than one. `in_parts`: the server takes several pieces
    at once, so that those of a list are written together.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    pieces: Iterable[bytes | Part]
    clock: Clock
    turns: asyncio.Lock
    gzip: bool = False
    in_parts: bool = False

    async def joined(self, most: int) -> HttpResponse:
        """Return it whole, with its length.

        Raises:
            TooLong: It has more than `most` bytes; the pieces are spoiled.
        """
        made: list[bytes] = []
        size = 0
        async for chunks in self._slices(self._encoded()):
            made += chunks
            size += sum(map(len, chunks))
            if size > most:
                raise TooLong
        body = b"".join(made)
        return HttpResponse(200, (*self.fields, *self._coding(), (b"content-length", b"%d" % len(body))), body)

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send it."""
        pieces = self._encoded()
        coding = self._coding()
        if isinstance(pieces, list):
            coding += ((b"content-length", b"%d" % sum(map(len, pieces))),)
        await send({"type": "http.response.start", "status": 200, "headers": (*self.fields, *coding)})
        if not head_only and isinstance(pieces, list) and self.in_parts:
            for parts in _writes(pieces):
                await send({"type": "http.response.body", PARTS: parts, "more_body": True})
        elif not head_only:
            await self._send_pieces(pieces, send)
        await send({"type": "http.response.body", "body": b""})

    def _coding(self) -> HeaderFields:
        return ((b"content-encoding", b"gzip"),) if self.gzip else ()

    def _encoded(self) -> Iterable[bytes]:
        """Return the pieces as they are sent: a list if nothing is left to do."""
        encoded = gzip_stream(self.pieces) if self.gzip else (_body(each) for each in self.pieces)
        ready = isinstance(self.pieces, list) and (not self.gzip or all(_is_packed(each) for each in self.pieces))
        return list(encoded) if ready else encoded

    async def _send_pieces(self, pieces: Iterable[bytes], send: Send) -> None:
        async for chunks in self._slices(pieces):
            for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _slices(self, pieces: Iterable[bytes]) -> AsyncIterator[list[bytes]]:
        """Make the pieces, some at a time: of all answers one has its slice in a turn of the event loop."""
        chunks, over = _chunks(pieces), True
        while over:
            made: list[bytes] = []
            async with nullcontext() if isinstance(pieces, list) else self.turns:
                began_s, over = self.clock.now(), False
                for chunk in chunks:
                    made.append(chunk)
                    if over := self.clock.now() - began_s > _SLICE_S:
                        await asyncio.sleep(0)
                        break
            yield made


def _body(piece: bytes | Part) -> bytes:
    return piece if isinstance(piece, bytes) else piece.content


def _is_packed(piece: bytes | Part) -> bool:
    """Return whether it costs next to nothing to compress it."""
    return len(piece) < _CHUNK_BYTES if isinstance(piece, bytes) else piece.is_deflated


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Return the pieces, as they are sent: short ones together, long ones as they are."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) >= _CHUNK_BYTES:
            if waiting:
                yield b"".join(waiting)
            waiting, size = [], 0
        if len(piece) >= _CHUNK_BYTES:
            yield piece
        else:
            waiting.append(piece)
            size += len(piece)
    if waiting:
        yield b"".join(waiting)


def _writes(pieces: list[bytes]) -> Iterator[list[bytes]]:
    """Return the pieces, as many at a time as are written at once."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= _WRITE_BYTES:
            yield parts
            parts, size = [], 0
    if parts:
        yield parts


class Sendable(Protocol):
    """An answer that is sent as it is made."""

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send it, or its head alone."""


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

    reply: HttpResponse | Streamed | Sendable
    result: Result
    age_s: float | None = None
    waited_s: float = 0.0

    @property
    def unchanged(self) -> bool:
        """Return whether it says that nothing differs from what the client has."""
        return isinstance(self.reply, HttpResponse) and self.reply.status == HTTPStatus.NO_CONTENT

    def collapsed(self) -> "NativeReply":
        """Return it for others than the one for whom it was read."""
        if not isinstance(self.reply, HttpResponse) or self.result not in {Result.MISS, Result.PARTIAL}:
            return self
        fields = tuple((name, value + _COLLAPSED * (name == _STATUS)) for name, value in self.reply.fields)
        return replace(self, reply=replace(self.reply, fields=fields), result=Result.COLLAPSED)


Answer = Callable[[NativeRequest], Awaitable[NativeReply]]
