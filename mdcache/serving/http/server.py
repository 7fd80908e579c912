"""Run uvicorn on sockets bound here, and drain it at the end (docs/design.md#clean-ends)."""

import asyncio
import errno
import math
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress

import uvicorn

from mdcache.background_work import cancel_all
from mdcache.serving.app import App
from mdcache.serving.http.connection import ClientConnection, ConnectionTimes
from mdcache.serving.http.unread_answers import UnreadAnswers
from mdcache.serving.streams.handshakes import ListenerHandshakes

_BACKLOG = 1_024
_RESERVED_FILES = 128  # file descriptors reserved for connections to Binance and everything else that is not a client
_LAST_RESPONSES_S = 1.0
_NOTICED_BY = 0.25  # of the grace: until then balancers send requests elsewhere
_DATE_EVERY_S = 1.0
_PORT_SETTING = "MDCACHE_PORT"
_ADVICE = {
    errno.EADDRINUSE: "end what uses this port, or choose another with {setting}",
    errno.EACCES: "a port below 1024 takes a privilege: choose another with {setting}",
}
_ANY_HOSTS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what is listened on, and what to call
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ListenFailed(OSError):
    """The address can't be listened on; the message says which and why."""


class Server(uvicorn.Server):
    """uvicorn's server, which reports when it is ready, and exits at a signal without raising it again.

    `connections`: the class of its connections, which is told that they drain.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[Sequence[str]], None],
        app: App,
        connections: type[ClientConnection],
        grace_s: float,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._app = app
        self._connections = connections
        self._grace_s = grace_s
        self._forced = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then report it."""
        addresses = [_address(listening) for listening in sockets or []]
        try:
            await super().startup(sockets)
        except OSError as error:  # two programs may bind one port at the same time; the first to listen has it
            raise _listen_failed(", ".join(addresses), error) from error
        self._on_ready(addresses)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: first `/readyz` says so, if a balancer asks for it, then connections end with their next answers.

        Requests that are cancelled still send an error to their clients.
        """
        dates = asyncio.create_task(self._update_dates())
        try:
            left_s = self._grace_s
            if self._app.stop_being_ready():
                left_s -= await self._pause(self._grace_s * _NOTICED_BY)
            self._app.drain(left_s)
            self._connections.draining = True
            self.config.timeout_graceful_shutdown = math.ceil(left_s)
            await super().shutdown(sockets)
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=_LAST_RESPONSES_S)
        finally:
            await cancel_all(dates)

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

    async def _pause(self, seconds: float) -> float:
        """Serve as before for so long, or until a second signal; return for how long."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._forced.wait()
        return loop.time() - began_s

    async def _update_dates(self) -> None:
        while True:
            await self.on_tick(0)
            await asyncio.sleep(_DATE_EVERY_S)

    def _stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
            self._forced.set()
        self.should_exit = True


async def serve(
    app: App,
    sockets: list[socket.socket],
    grace_s: float,
    on_ready: Callable[[Sequence[str]], None],
    *,
    streams: ListenerHandshakes | None = None,
    times: ConnectionTimes | None = None,
) -> None:
    """Serve `app` on what `listen` returned until SIGTERM or SIGINT, drain for at most `grace_s` seconds, and return.

    `on_ready` is called with the addresses (`127.0.0.1:8700`) once connections are accepted; with port 0 they contain
    the actual port. `streams` answers the handshakes of WebSockets; without it they are ignored. Raises `ListenFailed`
    if another program was quicker to listen.
    """

    class Serving(ClientConnection):
        fast_lanes = app.fast_lanes

    Serving.streams = streams
    Serving.unread = UnreadAnswers()
    Serving.times = times or ConnectionTimes()
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
        timeout_keep_alive=Serving.times.keep_alive,
        backlog=_BACKLOG,
    )
    await Server(config, on_ready, app, Serving, grace_s).serve(sockets=sockets)


async def listen(host: str, port: int, setting: str = _PORT_SETTING) -> list[socket.socket]:
    """Bind sockets to every address of `host`; with port 0, all to the port that the system chooses.

    `setting`: by what the port is set. Raises `ListenFailed`.
    """
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
            listening.settimeout(0.0)
            port = port or listening.getsockname()[1]
    except (OSError, UnicodeError) as error:  # UnicodeError: an invalid name, such as `.` or one of 300 letters
        for listening in sockets:
            listening.close()
        raise _listen_failed(f"{host}:{port}", error, setting) from error
    return sockets


def _listen_failed(address: str, error: OSError | UnicodeError, setting: str = _PORT_SETTING) -> ListenFailed:
    reason, number = (error.strerror, error.errno) if isinstance(error, OSError) else ("not a host's name", None)
    advice = _ADVICE.get(number or 0, "choose another with MDCACHE_HOST").format(setting=setting)
    return ListenFailed(f"cannot listen on {address}: {reason or error}; {advice}")


def url_on_this_machine(address: str) -> str:
    """Return the URL of an address, as a browser on this machine can open it."""
    host, _, port = address.rpartition(":")
    return f"http://{_ANY_HOSTS.get(host, host)}:{port}/"


def raise_file_limit(files: int) -> None:
    """Let this process have so many open files, as far as the system allows it: a shell's limit is often 1,024."""
    try:
        import resource  # noqa: PLC0415 - exists only on Unix
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
