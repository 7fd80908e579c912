"""The virtual daemon with its ASGI application, in front of the simulated exchange."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from pydantic import SecretStr

from mdcache.daemon.build_serving import build_serving
from mdcache.daemon.live_settings import LiveSettings
from tests.support.asgi_client import Response, ask
from tests.support.virtual_daemon import VirtualDaemon

QUERY = b"symbol=ETHUSDT&interval=1m&limit=500"
TOKEN = "whole-token"


class ServedDaemon(VirtualDaemon):
    """A world with the application in front."""

    def restart(self) -> None:
        super().restart()
        self.serve(clients={"engine": "high"}, admin_token=SecretStr(TOKEN))

    def serve(self, **settings: object) -> None:
        """Put an application in front that has these settings, and defaults."""
        self.live = LiveSettings(self.options.settings().model_copy(update=settings), self.clock, self.bus)
        serving = build_serving(
            self.live, self.governor, self.cache, self.audit, self.state, self.redis, self.clock, self.bus
        )
        self.app, self.event_streams, self.targets = serving.app, serving.event_streams, serving.targets
        self.handshakes = serving.handshakes

    async def aclose(self) -> None:
        if self.runs:
            await self.event_streams.aclose()
        await super().aclose()

    async def get(self, path: str = "/api/v3/klines", query: bytes = QUERY, **headers: str) -> Response:
        return await ask(self.app, path, query, headers={n.replace("_", "-"): v for n, v in headers.items()})

    async def direct(self, path: str, query: bytes) -> httpx.Response:
        async with httpx.AsyncClient(transport=self.transport, base_url="http://exchange.test") as client:
            return await client.get(f"{path}?{query.decode()}")


@asynccontextmanager
async def served_daemon() -> AsyncIterator[ServedDaemon]:
    w = ServedDaemon()
    try:
        yield w
    finally:
        await w.aclose()
