import time

from frames import Frames
from unicorn_binance_websocket_api import BinanceWebSocketApiManager

frames = Frames()
MARKETS = {
    "spot": ("binance.com", "/", [(["kline_1m", "trade", "depth", "miniTicker"], ["btcusdt", "ethusdt"])]),
    "usdm": ("binance.com-futures", "/usdm/", [
        (["kline_1m", "aggTrade", "markPrice@1s"], ["btcusdt", "ethusdt"]), (["depth5", "bookTicker"], ["btcusdt"]),
    ]),
    "coinm": ("binance.com-coin_futures", "/coinm/", [(["kline_1m", "aggTrade", "depth"], ["btcusd_perp"])]),
}  # fmt: skip
managers = {}
for market, (exchange, path, streams) in MARKETS.items():
    manager = managers[market] = BinanceWebSocketApiManager(
        exchange=exchange, websocket_base_uri=frames.ws + path, restful_base_uri=frames.base + "/", warn_on_update=False
    )
    for channels, symbols in streams:
        manager.create_stream(channels, symbols)
while frames.left_s:
    time.sleep(min(0.2, frames.left_s))
    for market, manager in managers.items():
        while message := manager.pop_stream_data_from_stream_buffer():
            frames.combined(market, message)
for manager in managers.values():
    manager.stop_manager()
frames.print()
