import asyncio

import ccxt.pro as ccxt
from ccxt_questions import COINM, SPOT, USDM, pointed
from frames import Frames, topic_of

frames = Frames()
SYMBOLS = (SPOT, USDM, COINM)


class Binance(ccxt.binance):
    """ccxt's, with an ear on what comes in."""

    def handle_message(self, client, message):
        if isinstance(message, dict) and "e" in message:
            market = "usdm" if "/usdm/" in client.url else "coinm" if "/coinm/" in client.url else "spot"
            frames.add(market, topic_of(message), dict(message))
        super().handle_message(client, message)


async def candles(exchange, symbol):
    while True:
        for row in await exchange.watch_ohlcv(symbol, "1m"):
            frames.state(f"{symbol} candle", row[0], row[:1])  # its state depends on the moment; that it came does not


async def trades(exchange, symbol):
    while True:
        for trade in await exchange.watch_trades(symbol):
            told = [trade[one] for one in ("timestamp", "price", "amount", "side")]
            frames.state(f"{symbol} trade", trade["id"], told)


async def book(exchange, symbol):
    while True:
        found = await exchange.watch_order_book(symbol)
        frames.state(f"{symbol} book", found["nonce"], [found["bids"][:20], found["asks"][:20]])


async def ticker(exchange, symbol):
    while True:
        found = await exchange.watch_ticker(symbol)
        frames.state(f"{symbol} ticker", found["timestamp"], [found["last"], found["high"], found["baseVolume"]])


async def kept(watch, exchange, symbol):
    """Watch, and again if that fails."""
    while True:
        try:
            await watch(exchange, symbol)
        except ccxt.BaseError as error:
            frames.error(error)
            await asyncio.sleep(1)


async def main():
    exchange = pointed(Binance(), frames.base)
    exchange.urls["api"]["ws"] |= {
        "spot": frames.ws + "/stream/ws",
        "margin": frames.ws + "/stream/ws",
        "linear": frames.ws + "/usdm/ws",
        "inverse": frames.ws + "/coinm/ws",
    }
    await exchange.load_markets()
    watching = [
        asyncio.ensure_future(kept(watch, exchange, symbol))
        for watch in (candles, trades, book, ticker)
        for symbol in SYMBOLS
    ]
    done, _ = await asyncio.wait(watching, timeout=frames.left_s, return_when=asyncio.FIRST_EXCEPTION)
    for one in done:
        one.result()
    for one in watching:
        one.cancel()
    await exchange.close()
    frames.print()


asyncio.run(main())
