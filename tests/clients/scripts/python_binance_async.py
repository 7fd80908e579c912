import asyncio

from binance import AsyncClient
from binance.enums import HistoricalKlinesType
from document import Document, without

document = Document()
AsyncClient.API_URL = document.base + "/api"
AsyncClient.FUTURES_URL = document.base + "/fapi"
AsyncClient.FUTURES_COIN_URL = document.base + "/dapi"
KINDS = {"spot": HistoricalKlinesType.SPOT, "usdm": HistoricalKlinesType.FUTURES}


async def main() -> None:
    client = await AsyncClient.create(api_key="a-key", api_secret="a-secret")  # pings; the key goes along everywhere
    try:
        await ask(client)
    finally:
        await client.close_connection()
    document.print()


async def listed(client: AsyncClient, *asked, **more) -> list:
    return [row async for row in await client.get_historical_klines_generator(*asked, **more)]


async def ask(client: AsyncClient) -> None:
    for name, wanted in document.ranges.items():
        span = wanted["symbol"], wanted["interval"], wanted["start"], wanted["end"]
        if wanted["market"] == "coinm":
            names = {"symbol": span[0], "interval": span[1], "startTime": span[2], "endTime": span[3]}
            await document.ask_async("settled", name, lambda: client.futures_coin_klines(**names, limit=1500))
            continue
        kind = KINDS[wanted["market"]]
        await document.ask_async("settled", name, lambda: client.get_historical_klines(*span, klines_type=kind))
        await document.ask_async("settled", f"{name}, generator", lambda: listed(client, *span, klines_type=kind))

    async def at_once() -> list:
        start = document.ranges["spot_hours"]["start"]
        return await asyncio.gather(*(
            client.get_klines(symbol=symbol, interval=interval, startTime=start, limit=99)
            for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "ADAUSDT")
            for interval in ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")
        ))  # fmt: skip

    await document.ask_async("settled", "32 questions at once", at_once)

    async def info() -> dict:
        return without(await client.get_exchange_info(), "serverTime")

    async def futures_info() -> dict:
        return without(await client.futures_exchange_info(), "serverTime")

    await document.ask_async("settled", "spot exchange info", info)
    await document.ask_async("settled", "usdm exchange info", futures_info)
    newest = {"symbol": "BTCUSDT", "interval": "1h", "limit": 500}
    await document.ask_async("open", "spot newest", lambda: client.get_klines(**newest))
    await document.ask_async("open", "usdm newest", lambda: client.futures_klines(**newest))
    await document.ask_async(
        "open", "spot since", lambda: client.get_historical_klines("ETHUSDT", "4h", "40 days ago UTC")
    )
    await document.ask_async("live", "server time", client.get_server_time)
    await document.ask_async("live", "all prices", client.get_all_tickers)
    await document.ask_async("live", "depth", lambda: client.get_order_book(symbol="BTCUSDT", limit=20))
    await document.ask_async("live", "usdm ticker of 24 hours", lambda: client.futures_ticker(symbol="BTCUSDT"))
    await document.ask_async("refused", "unknown symbol", lambda: client.get_klines(symbol="NOPEUSDT", interval="1m"))
    await document.ask_async(
        "refused", "unknown symbol, usdm", lambda: client.futures_klines(symbol="NOPE", interval="1m")
    )


asyncio.run(main())
