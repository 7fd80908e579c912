import asyncio

from binance_sdk_spot.spot import Spot
from sdk_streams import Frames, listen

TOPICS = {
    "kline": lambda to: to.kline(symbol="btcusdt", interval="1m"),
    "trade": lambda to: to.trade(symbol="btcusdt"),
    "aggTrade": lambda to: to.agg_trade(symbol="btcusdt"),
    "depth": lambda to: to.diff_book_depth(symbol="btcusdt"),
    "depth5": lambda to: to.partial_book_depth(symbol="btcusdt", levels="5"),
    "bookTicker": lambda to: to.book_ticker(symbol="btcusdt"),
    "ticker": lambda to: to.ticker(symbol="btcusdt"),
    "miniTicker": lambda to: to.mini_ticker(symbol="btcusdt"),
    "avgPrice": lambda to: to.avg_price(symbol="btcusdt"),
    "!miniTicker@arr": lambda to: to.all_mini_ticker(),
}
asyncio.run(listen(Frames(), "spot", lambda given: Spot(config_ws_streams=given), TOPICS))
