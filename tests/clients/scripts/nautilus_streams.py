import asyncio

from frames import Frames
from nautilus_trader.adapters.binance.websocket.client import BinanceWebSocketClient
from nautilus_trader.common.component import LiveClock

frames = Frames()
# 1.221.0 knows one base for all of USD-M, so one of Binance's routes: books would need another client.
BASES = {"spot": "", "usdm": "/usdm/market", "coinm": "/coinm"}
SYMBOLS = {"spot": "BTCUSDT", "usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}


async def main():
    clients = []
    for market, base in BASES.items():
        client = BinanceWebSocketClient(
            clock=LiveClock(),
            base_url=frames.ws + base,
            handler=lambda raw, market=market: frames.combined(market, raw.decode()),
            handler_reconnect=None,
            loop=asyncio.get_running_loop(),
        )
        clients.append(client)
        symbol = SYMBOLS[market]
        await client.subscribe_bars(symbol, "1m")
        await client.subscribe_agg_trades(symbol)
        await client.subscribe_ticker(symbol)
        if market != "usdm":
            await client.subscribe_trades(symbol)
            await client.subscribe_book_ticker(symbol)
            await client.subscribe_diff_book_depth(symbol, 100)
    await asyncio.sleep(frames.left_s)
    for client in clients:
        await client.disconnect()
    frames.print()


asyncio.run(main())
