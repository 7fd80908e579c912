import asyncio

from document import Document
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType, BinanceKlineInterval
from nautilus_trader.adapters.binance.futures.http.market import BinanceFuturesMarketHttpAPI
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI
from nautilus_trader.common.component import LiveClock
from nautilus_trader.model.data import BarType

document = Document()
STEPS = {"1h": "1-HOUR", "1m": "1-MINUTE", "1d": "1-DAY", "15m": "15-MINUTE"}


def listed(info):
    """Return the symbols: the rest of the body varies with time."""
    return info.symbols


async def refused(call):
    """Return a refusal as this library reports it, without the headers, which vary."""
    try:
        return await call()
    except BinanceError as error:
        raise ValueError(f"{error.status} {error.message}") from None


async def bars(market, wanted):
    symbol = wanted["symbol"] + {"spot": "", "usdm": "-PERP", "coinm": ""}[wanted["market"]]
    return [
        bar.to_dict(bar)
        for bar in await market.request_binance_bars(
            bar_type=BarType.from_str(f"{symbol}.BINANCE-{STEPS[wanted['interval']]}-LAST-EXTERNAL"),
            interval=BinanceKlineInterval(wanted["interval"]),
            limit=1000,
            start_time=wanted["start"],
            end_time=wanted["end"],
        )
    ]


async def main():
    client = BinanceHttpClient(clock=LiveClock(), api_key="", api_secret="", base_url=document.base)
    markets = {
        "spot": BinanceSpotMarketHttpAPI(client, BinanceAccountType.SPOT),
        "usdm": BinanceFuturesMarketHttpAPI(client, BinanceAccountType.USDT_FUTURES),
        "coinm": BinanceFuturesMarketHttpAPI(client, BinanceAccountType.COIN_FUTURES),
    }
    for name, wanted in document.ranges.items():
        await document.ask_async("settled", name, lambda: bars(markets[wanted["market"]], wanted))

    async def spot_symbols():
        return listed(await markets["spot"].query_spot_exchange_info())

    await document.ask_async("settled", "spot symbols", spot_symbols)
    for name in ("usdm", "coinm"):

        async def symbols():
            return listed(await markets[name].query_futures_exchange_info())

        await document.ask_async("settled", f"{name} symbols", symbols)
    for name, symbol in {"spot": "BTCUSDT", "usdm": "BTCUSDT-PERP", "coinm": "BTCUSD_PERP"}.items():
        market = markets[name]
        hour = BinanceKlineInterval.HOUR_1
        await document.ask_async("open", f"{name} newest", lambda: market.query_klines(symbol, hour, limit=99))
        await document.ask_async("settled", f"{name} ping", market.ping)
        await document.ask_async("live", f"{name} time", market.request_server_time)
        await document.ask_async("live", f"{name} depth", lambda: market.query_depth(symbol, limit=10))
        await document.ask_async(
            "refused", f"{name} unknown symbol", lambda: refused(lambda: market.query_klines("NOPE", hour))
        )
        if name == "coinm":
            continue  # its types for the rest are those of USD-M: COIN-M's lists do not fit into them
        await document.ask_async("live", f"{name} trades", lambda: market.query_trades(symbol, limit=10))
        await document.ask_async("live", f"{name} ticker", lambda: market.query_ticker_24hr(symbol=symbol))
        await document.ask_async("live", f"{name} price", lambda: market.query_ticker_price(symbol=symbol))
        await document.ask_async("live", f"{name} book's top", lambda: market.query_ticker_book(symbol=symbol))
    document.print()


asyncio.run(main())
