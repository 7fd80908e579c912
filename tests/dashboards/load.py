"""The incident's consumers and one more, until killed: `python -m tests.dashboards.load URL SYMBOL…`."""

import asyncio
import sys

import httpx

from bench.incident import CONSUMERS, EVERY_S, Tally, consumer

LONGEST_S = 600.0
OTHERS = (  # other markets and endpoints, once a second
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=99",
    "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=5m&limit=99",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m&limit=99",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/fapi/v1/exchangeInfo",
)


async def others(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=15.0, trust_env=False) as client:
        while True:
            for path in OTHERS:
                await client.get(path, headers={"x-mdcache-client": "others"})
            await asyncio.sleep(1.0)


async def crowd(url: str, symbols: list[str]) -> None:
    spread_s = EVERY_S / CONSUMERS
    asking = (consumer(url, symbols, n * spread_s, LONGEST_S, Tally()) for n in range(CONSUMERS))
    await asyncio.gather(others(url), *asking)


if __name__ == "__main__":
    asyncio.run(crowd(sys.argv[1], sys.argv[2:]))
