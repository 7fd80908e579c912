"""What both official futures packages are asked: their methods have the same names, generated from one list."""

from document import without


def ask(document, client, market, symbol, pair):
    """`client` is the package's `rest_api`."""
    for name, wanted in document.ranges.items():
        if wanted["market"] == market:
            document.ask("settled", name, lambda: _pages(client, wanted))
    start, end = document.ranges["spot_hours"]["start"], document.ranges["spot_hours"]["end"]
    span = {"interval": "2h", "start_time": start, "end_time": end, "limit": 1000}
    kinds = {
        "mark": lambda: client.mark_price_kline_candlestick_data(symbol=symbol, **span),
        "premium": lambda: client.premium_index_kline_data(symbol=symbol, **span),
        "index": lambda: client.index_price_kline_candlestick_data(pair=pair, **span),
        "continuous": lambda: client.continuous_contract_kline_candlestick_data(
            pair=pair, contract_type="PERPETUAL", **span
        ),
    }
    for name, call in kinds.items():
        document.ask("settled", name, lambda: call().data())
    document.ask(
        "settled", "exchange info", lambda: without(client.exchange_information().data().to_dict(), "serverTime")
    )
    document.ask("settled", "ping", lambda: client.test_connectivity().data())
    document.ask("open", "newest", lambda: client.kline_candlestick_data(symbol=symbol, interval="1h").data())
    document.ask("live", "time", lambda: client.check_server_time().data())
    document.ask("live", "depth", lambda: client.order_book(symbol=symbol, limit=10).data())
    document.ask("live", "trades", lambda: client.recent_trades_list(symbol=symbol, limit=10).data())
    document.ask(
        "live", "aggregated trades", lambda: client.compressed_aggregate_trades_list(symbol=symbol, limit=10).data()
    )
    document.ask("live", "ticker", lambda: client.ticker24hr_price_change_statistics(symbol=symbol).data())
    document.ask("live", "price", lambda: client.symbol_price_ticker(symbol=symbol).data())
    document.ask("live", "book's top", lambda: client.symbol_order_book_ticker(symbol=symbol).data())
    document.ask("live", "open interest", lambda: client.open_interest(symbol=symbol).data())
    document.ask("refused", "unknown symbol", lambda: client.kline_candlestick_data(symbol="NOPE", interval="1m"))
    document.ask("refused", "bad interval", lambda: client.kline_candlestick_data(symbol=symbol, interval="7m"))


def _pages(client, wanted):
    found, start, span = [], wanted["start"], 499 * (900_000 if wanted["interval"] == "15m" else 3_600_000)
    while start <= wanted["end"]:
        end = min(start + span - 1, wanted["end"])
        about = {"symbol": wanted["symbol"], "interval": wanted["interval"]}
        found += client.kline_candlestick_data(**about, start_time=start, end_time=end, limit=499).data()
        start = end + 1
    return found
