import asyncio

from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import DerivativesTradingUsdsFutures
from sdk_streams import Frames, listen

TOPICS = {
    "kline": lambda to: to.kline_candlestick_streams(symbol="btcusdt", interval="1m"),
    "continuousKline": lambda to: to.continuous_contract_kline_candlestick_streams(
        pair="btcusdt", contract_type="perpetual", interval="1m"
    ),
    "aggTrade": lambda to: to.aggregate_trade_streams(symbol="btcusdt"),
    "depth": lambda to: to.diff_book_depth_streams(symbol="btcusdt"),
    "depth10": lambda to: to.partial_book_depth_streams(symbol="btcusdt", levels="10"),
    "bookTicker": lambda to: to.individual_symbol_book_ticker_streams(symbol="btcusdt"),
    "ticker": lambda to: to.individual_symbol_ticker_streams(symbol="btcusdt"),
    "markPrice": lambda to: to.mark_price_stream(symbol="btcusdt", update_speed="1s"),
    "!ticker@arr": lambda to: to.all_market_tickers_streams(),
}
asyncio.run(listen(Frames(), "usdm", lambda given: DerivativesTradingUsdsFutures(config_ws_streams=given), TOPICS))
