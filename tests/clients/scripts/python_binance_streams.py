import asyncio

from binance import AsyncClient, BinanceSocketManager
from binance.enums import FuturesType
from frames import Frames

frames = Frames()
AsyncClient.API_URL = frames.base + "/api"
AsyncClient.FUTURES_URL = frames.base + "/fapi"
AsyncClient.FUTURES_COIN_URL = frames.base + "/dapi"
BinanceSocketManager.STREAM_URL = frames.ws + "/"
BinanceSocketManager.FSTREAM_URL = frames.ws + "/usdm/"
BinanceSocketManager.DSTREAM_URL = frames.ws + "/coinm/"


async def listen(market, topic, make):
    """Listen to a socket, and to a new one if it gives up, as it does after five tries.

    `topic`: of sockets whose frames do not name theirs.
    """
    while frames.left_s:
        try:
            async with make() as messages:
                await take(market, topic, messages)
        except Exception as error:  # noqa: BLE001 - it has five of its own, besides those of what it is made of
            frames.error(error)
            await asyncio.sleep(1)


async def take(market, topic, messages):
    while frames.left_s:
        try:
            message = await asyncio.wait_for(messages.recv(), frames.left_s)
        except TimeoutError:
            return
        if message.get("e") == "error":
            frames.error(message)
        elif topic is None or "stream" in message:
            frames.combined(market, message)
        else:
            frames.add(market, topic, message)


async def main():
    client = await AsyncClient.create()
    manager = BinanceSocketManager(client, max_queue_size=10_000)
    coinm = FuturesType.COIN_M
    sockets = [
        ("spot", "kline", lambda: manager.kline_socket("BTCUSDT")),
        ("spot", "trade", lambda: manager.trade_socket("BTCUSDT")),
        ("spot", "aggTrade", lambda: manager.aggtrade_socket("BTCUSDT")),
        ("spot", "depth", lambda: manager.depth_socket("BTCUSDT")),
        ("spot", "depth5", lambda: manager.depth_socket("BTCUSDT", depth="5", interval=100)),
        ("spot", "ticker", lambda: manager.symbol_ticker_socket("BTCUSDT")),
        ("spot", "miniTicker", lambda: manager.symbol_miniticker_socket("BTCUSDT")),
        ("spot", "bookTicker", lambda: manager.symbol_book_ticker_socket("BTCUSDT")),
        (
            "spot",
            None,
            lambda: manager.multiplex_socket(["ethusdt@kline_1m", "bnbusdt@aggTrade", "ethusdt@miniTicker"]),
        ),
        ("usdm", "continuousKline", lambda: manager.kline_futures_socket("BTCUSDT")),
        ("usdm", "aggTrade", lambda: manager.aggtrade_futures_socket("BTCUSDT")),
        ("usdm", "markPrice", lambda: manager.symbol_mark_price_socket("BTCUSDT")),
        ("usdm", "bookTicker", lambda: manager.symbol_ticker_futures_socket("BTCUSDT")),
        ("usdm", "depth10", lambda: manager.futures_depth_socket("BTCUSDT")),
        ("usdm", None, lambda: manager.futures_multiplex_socket(["ethusdt@kline_1m", "ethusdt@markPrice@1s"])),
        ("usdm", None, lambda: manager.futures_multiplex_socket(["ethusdt@depth", "ethusdt@trade"], category="public")),
        ("coinm", "continuousKline", lambda: manager.kline_futures_socket("BTCUSD", futures_type=coinm)),
        ("coinm", "aggTrade", lambda: manager.aggtrade_futures_socket("BTCUSD_PERP", futures_type=coinm)),
        ("coinm", None, lambda: manager.futures_multiplex_socket(["btcusd_perp@kline_1m", "btcusd_perp@depth"], coinm)),
    ]
    await asyncio.gather(*(listen(*one) for one in sockets))
    await client.close_connection()
    frames.print()


asyncio.run(main())
