"""The exchange on a port, by the machine's own clock (uvicorn; nothing else of the package needs it)."""

import socket

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mdcache.clock import SystemClock
from mdcache.sim.asgi import ABORT, SimApp
from mdcache.sim.config import SimConfig
from mdcache.sim.exchange import Exchange

_KEEP_ALIVE_S = 60
_DRAIN_S = 1  # requests that are never answered must not hold up the end


class AbortingProtocol(HttpToolsProtocol):
    """Lets the application close its connection without an answer."""

    def on_message_begin(self) -> None:
        """Begin a request, with a way to abort it in its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self._abort}}

    def _abort(self) -> None:
        self.cycle.disconnected = True  # so that nobody writes a 500 into a dead connection
        self.transport.abort()


def uvicorn_config(config: SimConfig, host: str, port: int) -> uvicorn.Config:
    """Return how `serve` runs the exchange; uvicorn takes uvloop where it is installed."""
    clock = SystemClock()
    app = SimApp(Exchange(config, now_ms=clock.wall_ms), clock.sleep)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=AbortingProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
    )


def serve(config: SimConfig, host: str, port: int) -> None:
    """Serve until told to stop (SIGINT, SIGTERM). Raises `OSError` where the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as taken:  # where uvicorn would exit 3, this says why
        uvicorn.Server(uvicorn_config(config, host, port)).run(sockets=[taken])
