"""The way from the daemon to the exchange, by TLS, which a test can break; it writes down what was asked, and when."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

FAMILIES = {"/api/": "spot", "/fapi": "futures", "/dapi": "futures", "/futu": "futures"}
FAMILIES |= {"/stre": "spot", "/usdm": "futures", "/coin": "futures"}  # of streams
_DROPPED = {b"connection", b"content-length", b"transfer-encoding"}
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a closed connection is reset


@dataclass(slots=True)
class Asked:
    """One request: when it came (the machine's wall clock), and what it was."""

    at_s: float
    path: str
    broken: bool

    @property
    def family(self) -> str:
        """By which limit it counts."""
        return FAMILIES[self.path[:5]]


@dataclass(slots=True)
class Call:
    """A request that a fault is to answer in its way; `honest` is the exchange's whole reply."""

    path: str
    writer: asyncio.StreamWriter
    honest: Callable[[], Awaitable[bytes]]

    def send(self, data: bytes) -> None:
        """Send this; raises `ConnectionError` if the daemon has ended the connection."""
        if self.writer.is_closing():
            raise ConnectionError
        self.writer.write(data)

    def reset(self) -> None:
        """End the connection by a reset, behind TLS's back."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.writer.transport.abort()


Break = Callable[[Call], Awaitable[None]]


@dataclass(slots=True)
class Wire:
    """A port before the exchange at `url`, asked as the address `client`; `tls`: what it shows by default.

    Its loop runs in a thread of its own; what is public may be called from any other one.
    """

    url: str
    client: str
    tls: ssl.SSLContext
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    slowest_s: float = 0.0  # the longest that the exchange took
    broken_by: Break | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None
    _open: dict[asyncio.StreamWriter, asyncio.Task[Any]] = field(default_factory=dict)
    _plugs: list[socket.socket] = field(default_factory=list)
    _exchange: httpx.AsyncClient = field(init=False)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._exchange = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()

    # -------------------------------------------------------------------------------- from outside

    def listen(self, tls: ssl.SSLContext | None = None, serve: "Serve | None" = None) -> None:
        """Accept connections (again), with this certificate; `serve`: instead of TLS and HTTP."""
        self._call(self._listen(tls or self.tls, serve))

    def refuse(self) -> None:
        """Listen no more, and break what is open."""
        self._call(self._refuse())

    def plug(self, host: str = "127.0.0.1") -> None:
        """Let no connection come about and none be refused: the queue of who may connect stays full."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        door = socket.socket(family)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, self.port))
        door.listen(0)
        self._plugs.append(door)
        for _ in range(2):
            one = socket.socket(family)
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect((host, self.port))
            self._plugs.append(one)

    def unplug(self) -> None:
        """End that."""
        while self._plugs:
            self._plugs.pop().close()

    def drop(self) -> None:
        """Break all connections."""
        self._call(self._drop())

    def close(self) -> None:
        """End."""
        self.unplug()
        self.refuse()
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(20.0)

    # ---------------------------------------------------------------------------------- in the loop

    async def _listen(self, tls: ssl.SSLContext, serve: "Serve | None") -> None:
        await self._refuse()
        answer = self._answer_all if serve is None else serve

        async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open[writer] = task
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await answer(reader, writer)
            writer.close()
            self._open.pop(writer, None)

        self._server = await asyncio.start_server(kept, "127.0.0.1", self.port, ssl=None if serve else tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop()

    async def _end(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._exchange.aclose()

    async def _drop(self) -> None:
        for writer, task in self._open.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        self._open.clear()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            breaks = self.broken_by
            self.asked.append(Asked(time.time(), target, breaks is not None))
            call = Call(target, writer, partial(self._ask, target, head))
            if breaks is None:
                await self._answer(call, head, reader)
            else:
                await breaks(call)
            await writer.drain()

    async def _answer(self, call: Call, head: bytes, reader: asyncio.StreamReader) -> None:
        call.send(await call.honest())

    async def _ask(self, target: str, head: bytes) -> bytes:
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:-2]]
        headers = [(name, value) for name, _, value in lines if name.lower() not in _DROPPED | {b"host"}]
        headers.append((b"X-Sim-Client", self.client.encode()))
        request = self._exchange.build_request("GET", target, headers=headers)
        began_s = time.monotonic()
        reply = await self._exchange.send(request, stream=True)
        body = b"".join([piece async for piece in reply.aiter_raw()])
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        kept = b"".join(b"%s: %s\r\n" % pair for pair in reply.headers.raw if pair[0].lower() not in _DROPPED)
        return b"HTTP/1.1 %d OK\r\n%sContent-Length: %d\r\n\r\n%s" % (reply.status_code, kept, len(body), body)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def passing(port: int, delay_s: float = 0.0) -> Serve:
    """Pass all on to this port; what comes back is so much later, each piece after the one before."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, that = await asyncio.open_connection("127.0.0.1", port)
        try:
            await until_one_ends(pump(reader, that), pump(there, writer, delay_s))
        finally:
            that.transport.abort()

    return serve


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of it until any has come to its end; raises nothing of theirs."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float = 0.0) -> None:
    """Pass bytes on, until there are no more."""
    while data := await reader.read(1 << 16):
        await asyncio.sleep(delay_s)
        writer.write(data)
        await writer.drain()
