"""A run of `mdcache verify` against the simulated exchange, in virtual time and without sockets."""

import gzip
import random
from collections.abc import Callable
from dataclasses import replace

import httpx

from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.sim import Exchange, SimConfig, SymbolSpec
from mdcache.sim.default_symbols import default_symbols
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.verify.build import ExchangeAccess, VerifyRequest, open_run
from mdcache.verify.run import VerifyProgress, VerifyReport
from tests.support.sim_streams import SimStreams
from tests.support.sim_transport import SimTransport
from tests.support.virtual_time import VirtualClock

URLS = dict.fromkeys(Market, "http://exchange.test")
SECOND_URL = "http://data.exchange.test"
STREAM_URLS = {
    Market.SPOT: "ws://exchange.test",
    Market.USDM: "ws://exchange.test/usdm",
    Market.COINM: "ws://exchange.test/coinm",
}
_LONG = 1_024


class CompressingTransport(SimTransport):
    """Compresses long replies, as the exchange's server does."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        headers = response.headers
        if "content-encoding" in headers:
            return response
        body = await response.aread()
        if len(body) >= _LONG:
            body = gzip.compress(body, 1)
            headers = httpx.Headers([*headers.multi_items(), ("Content-Encoding", "gzip")])
        return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body), request=request)


def few_symbols() -> tuple[SymbolSpec, ...]:
    """The symbols that are asked for, dead ones, and on each market some that are hardly traded."""
    names = {
        "BTCUSDT",
        "ETHUSDT",
        "SOLUSDT",
        "ETHUSD_PERP",
        "DOTUSD_PERP",
        "QUIETUSDT",
        "BCCUSDT",
        "SOONUSDT",
        "FTMUSDT",
        "BTCUSD_PERP",
    }
    found = [spec for spec in default_symbols() if spec.symbol in names]
    for market, quiet in (("usdm", ("QUIETUSDT", "STILLUSDT")), ("coinm", ("QUIETUSD_PERP", "STILLUSD_PERP"))):
        model = next(spec for spec in found if spec.market == market)
        found += [
            replace(model, symbol=name, pair=name.partition("_")[0], trades_per_day=per_day)
            for name, per_day in zip(quiet, (200, 2_000), strict=True)
        ]
    model = next(spec for spec in found if spec.market == "coinm")
    halted_ms = model.listed_ms + 300 * 86_400_000
    return (*found, replace(model, symbol="OLDUSD_PERP", pair="OLDUSD", halted_ms=halted_ms, status="CLOSE"))


class VerifiedExchange:
    """The exchange, the network to it, and what a run of it finds."""

    def __init__(self, config: SimConfig | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.clock = VirtualClock()
        self.exchange = Exchange(config or SimConfig(symbols=few_symbols()), now_ms=self.clock.true_ms)
        self.transport = CompressingTransport(self.exchange, self.clock)
        self._network = transport or self.transport
        self.streams = SimStreams(self.exchange, self.clock)
        self.governor = Governor(
            clock=self.clock,
            rng=random.Random(7),
            events=Events(),
            base_urls=URLS,
            settings=GovernorSettings(),
            transport=self._network,
        )
        self.progress: list[VerifyProgress] = []

    async def verify(
        self,
        request: VerifyRequest | None = None,
        *,
        timeout_s: float = 5.0,
        meanwhile: Callable[[], None] | None = None,
    ) -> VerifyReport:
        """Run it."""

        def note(progress: VerifyProgress) -> None:
            self.progress.append(progress)
            if meanwhile is not None:
                meanwhile()

        access = ExchangeAccess(
            URLS, STREAM_URLS, self.governor.handshakes, self.streams, 0.5, timeout_s, self._network, SECOND_URL
        )
        run, clients = open_run(request or VerifyRequest(), access, self.clock, note)
        try:
            return await run.run()
        finally:
            for client in clients:
                await client.aclose()
            await self.governor.aclose()
