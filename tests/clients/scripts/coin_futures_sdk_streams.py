import asyncio

from binance_sdk_derivatives_trading_coin_futures.derivatives_trading_coin_futures import DerivativesTradingCoinFutures
from sdk_streams import Frames, listen

TOPICS = {
    "kline": lambda to: to.kline_candlestick_streams(symbol="btcusd_perp", interval="1m"),
    "indexPriceKline": lambda to: to.index_kline_candlestick_streams(pair="btcusd", interval="1m"),
    "markPriceKline": lambda to: to.mark_price_kline_candlestick_streams(symbol="btcusd_perp", interval="1m"),
    "aggTrade": lambda to: to.aggregate_trade_streams(symbol="btcusd_perp"),
    "depth": lambda to: to.diff_book_depth_streams(symbol="btcusd_perp"),
    "bookTicker": lambda to: to.individual_symbol_book_ticker_streams(symbol="btcusd_perp"),
    "markPrice": lambda to: to.mark_price_stream(symbol="btcusd_perp", update_speed="1s"),
    "indexPrice": lambda to: to.index_price_stream(pair="btcusd", update_speed="1s"),
}
asyncio.run(listen(Frames(), "coinm", lambda given: DerivativesTradingCoinFutures(config_ws_streams=given), TOPICS))
