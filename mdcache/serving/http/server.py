"""Run uvicorn on sockets bound here, and drain it at the end."""

import asyncio
import math
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import uvicorn

from mdcache.serving.app import App
from mdcache.serving.http.connection import CLIENT_READ_TIMEOUT_S, MESSAGE_TIMEOUT_S, ClientConnection

KEEP_ALIVE_S = 75  # as nginx: clients poll every few seconds, and a new connection costs more than an idle one
_BACKLOG = 1_024
_RESERVED_FILES = 128  # file descriptors reserved for connections to Binance and everything else that is not a client
_LAST_RESPONSES_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ListenFailed(OSError):
    """The address can't be listened on; the message says which and why."""


class Server(uvicorn.Server):
    """uvicorn's server, which reports when it is ready, and exits at a signal without raising it again."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[Sequence[str]], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then report it."""
        await super().startup(sockets)
        self._on_ready([_address(listening) for listening in sockets or []])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain; requests that are cancelled still send an error to their clients."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_RESPONSES_S)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Drain at SIGTERM and SIGINT, exit at once at a second one."""
        loop = asyncio.get_running_loop()
        try:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._stop)
        except (RuntimeError, ValueError):  # not the main thread: the caller cancels this
            yield
            return
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(
    app: App,
    host: str,
    port: int,
    grace_s: float,
    on_ready: Callable[[Sequence[str]], None],
    *,
    message_timeout_s: float = MESSAGE_TIMEOUT_S,
    client_read_timeout_s: float = CLIENT_READ_TIMEOUT_S,
    keep_alive_s: int = KEEP_ALIVE_S,
) -> None:
    """Serve `app` until SIGTERM or SIGINT, then drain for at most `grace_s` seconds and return.

    `on_ready` is called with the addresses (`127.0.0.1:8700`) once connections are accepted; with port 0 they contain
    the actual port. A request has `whole_within_s` seconds from its first byte to its last, an idle connection
    `keep_alive_s` to twice that, and one on which an answer waits unread `read_within_s`. Raises `ListenFailed` if the
    address can't be used.
    """

    class Serving(ClientConnection):
        fast_lane = app.fast_lane

    Serving.message_timeout_s, Serving.client_read_timeout_s = message_timeout_s, client_read_timeout_s
    Serving.max_connections = max_connections()
    config = uvicorn.Config(
        app,
        http=Serving,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",  # clients' bad requests are not logged
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("server", "mdcache")],
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=math.ceil(grace_s),
        backlog=_BACKLOG,
    )
    sockets = await listen(host, port)
    try:
        await Server(config, on_ready).serve(sockets=sockets)
    finally:
        for listening in sockets:
            listening.close()


async def listen(host: str, port: int) -> list[socket.socket]:
    """Bind sockets to every address of `host`; with port 0, all to the port that the system chooses."""
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((address[0], port, *address[2:]))
            listening.setblocking(False)  # noqa: FBT003 - the socket module's API
            port = port or listening.getsockname()[1]
    except (OSError, UnicodeError) as error:  # UnicodeError: an invalid name, such as `.` or one of 300 letters
        for listening in sockets:
            listening.close()
        reason = error.strerror if isinstance(error, OSError) else "not a host's name"
        raise ListenFailed(f"cannot listen on {host}:{port}: {reason or error}") from error
    return sockets


def max_connections() -> int:
    """Return how many clients may be connected within this process's limit of open files."""
    try:
        import resource  # noqa: PLC0415 - exists only on Unix
    except ImportError:
        return sys.maxsize
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(files // 2, files - _RESERVED_FILES)


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
