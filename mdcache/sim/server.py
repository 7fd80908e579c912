"""Serve the exchange on a port with uvicorn, in this machine's time."""

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mdcache.clock import SystemClock
from mdcache.sim.asgi import SimApp
from mdcache.sim.asgi_scope import ABORT
from mdcache.sim.config import MARKETS, SimConfig
from mdcache.sim.exchange import Exchange

_KEEP_ALIVE_S = 60
_PING_S, _PONG_WITHIN_S = 20, 60  # web-socket-streams.md; futures ping every 3 minutes, which is not simulated
_DRAIN_S = 1  # requests that are never answered must not delay shutdown


class AbortingProtocol(HttpToolsProtocol):
    """A connection that the application can close without an answer."""

    def on_message_begin(self) -> None:
        """Begin a request, with a way to abort it in its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self._abort}}

    def _abort(self) -> None:
        self.cycle.disconnected = True  # so that uvicorn does not write a 500 into a closed connection
        self.transport.abort()


class AbortingWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that the application can break without a closing handshake."""

    async def run_asgi(self) -> None:
        """Run the application, with a way to break the connection in its scope."""
        self.scope["extensions"] = {**(self.scope["extensions"] or {}), ABORT: {"abort": self.transport.abort}}
        await super().run_asgi()


def uvicorn_config(config: SimConfig, host: str, port: int, certificate: Path | None = None) -> uvicorn.Config:
    """Return uvicorn's configuration for `serve`; uvicorn uses uvloop if it is installed."""
    clock = SystemClock()
    app = SimApp(Exchange(config, now_ms=clock.wall_ms), clock.sleep)
    found = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=AbortingProtocol,
        ws=AbortingWebSocket,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PONG_WITHIN_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
        ssl_certfile=certificate,
    )
    found.load()
    if found.ssl is not None:
        offers = any(config.facts.flag(market, "http2", usual=False) for market in MARKETS)
        found.ssl.set_alpn_protocols([*(["h2"] if offers else []), "http/1.1"])
    return found


def serve(
    config: SimConfig,
    host: str,
    port: int,
    on_ready: Callable[[str], None] = lambda _: None,
    certificate: Path | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; call `on_ready` with the URL. Raises `OSError` if the address can't be used.

    `certificate`: a file with a certificate and its key, for TLS.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)  # uvicorn would exit with 3
    except OSError as error:
        raise OSError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host and --port"
        ) from error
    with listening as taken:
        name = f"[{host}]" if family == socket.AF_INET6 else host
        on_ready(f"http{'s' if certificate else ''}://{name}:{taken.getsockname()[1]}")
        uvicorn.Server(uvicorn_config(config, host, port, certificate)).run(sockets=[taken])
