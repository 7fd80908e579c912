"""Clients that poll a daemon whose streams fail: each answer against the exchange's truth, its age, and its cost."""

import asyncio
from dataclasses import dataclass, field, replace

from mdcache.errors import UpstreamUnavailable
from mdcache.exchange.markets import Market
from tests.support.kline_oracle import KlineOracle
from tests.support.random_klines import RandomQuestion
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, few_symbols, ready

SYMBOLS = {Market.SPOT: ("BTCUSDT", "QUIETUSDT"), Market.USDM: ("BTCUSDT", "ETHUSDT")}
INTERVALS = ("1m", "5m")
PATHS = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines"}
HANDSHAKES = {Market.SPOT: "/stream", Market.USDM: "/usdm/"}
ROUND_TRIP_S = 0.06
READ_AGES_MS = [0, 30, 29, 31, 1]  # a read is answered as of half a round trip after it was sent


@dataclass
class Seen:
    """What the clients saw: ages in milliseconds, and how often Binance could not be asked."""

    ages_ms: list[int] = field(default_factory=list)
    refused: int = 0


class PolledStreams:
    """A market's series, each asked for by one client from `start` on."""

    def __init__(self, market: Market, *, streams: bool = True) -> None:
        options = DaemonOptions(connections=streams)
        self.market = market
        self.world = VirtualDaemon(few_symbols(*SYMBOLS[market]), options)
        self.oracle = KlineOracle(self.world.exchange, [0], READ_AGES_MS)
        self.seen = Seen()
        self._polling: list[asyncio.Task[None]] = []

    async def start(self, every_s: float = 1.0) -> None:
        """Let the clients begin, each at a moment of its own."""
        await self.world.governor.start()
        await ready(self.world, "BTCUSDT", PATHS[self.market])
        self.world.exchange.control.latency(before_s=ROUND_TRIP_S / 2, after_s=ROUND_TRIP_S / 2, path="/api")
        self.world.exchange.control.latency(before_s=ROUND_TRIP_S / 2, after_s=ROUND_TRIP_S / 2, path="/fapi")
        for place, (symbol, interval) in enumerate((s, i) for s in SYMBOLS[self.market] for i in INTERVALS):
            asked = RandomQuestion(PATHS[self.market], f"symbol={symbol}&interval={interval}&limit=5")
            self._polling.append(asyncio.create_task(self._poll(asked, every_s, place * 0.07)))

    async def _poll(self, asked: RandomQuestion, every_s: float, first_s: float) -> None:
        await self.world.clock.sleep(first_s)
        while True:
            try:
                answer = await self.oracle.ask(self.world, asked)
            except UpstreamUnavailable:
                self.seen.refused += 1
            else:
                self.oracle.goes_on(asked, answer)
                self.seen.ages_ms.append(self.world.clock.true_ms() - answer.as_of_ms)
            await self.world.clock.sleep(every_s)

    async def watch(self, seconds: float) -> Seen:
        """What the clients see in the next seconds; raise what went wrong."""
        self.seen = Seen()
        done, _ = await asyncio.wait(self._polling, timeout=seconds)
        for task in done:
            task.result()
        return replace(self.seen)

    def weight(self) -> int:
        """The weight of all reads of candles so far."""
        return sum(entry.weight for entry in self.world.exchange.log if entry.path == PATHS[self.market])

    def reads(self, symbol: str) -> int:
        """How often candles of a symbol were read so far."""
        return sum(f"symbol={symbol}&" in call for call in self.world.calls())

    def most_connects_a_minute(self) -> int:
        times = [at_s for at_s, _ in self.world.net.attempts]
        return max((sum(begin <= at_s < begin + 60 for at_s in times) for begin in times), default=0)

    async def aclose(self) -> None:
        for task in self._polling:
            task.cancel()
        await asyncio.gather(*self._polling, return_exceptions=True)
        await self.world.aclose()
