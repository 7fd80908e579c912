from binance_sdk_spot.spot import ConfigurationRestAPI, Spot
from document import Document, without

document = Document()
client = Spot(config_rest_api=ConfigurationRestAPI(base_path=document.base)).rest_api


def pages(wanted, ask):
    found, start = [], wanted["start"]
    while True:
        answer = ask(
            symbol=wanted["symbol"], interval=wanted["interval"], start_time=start, end_time=wanted["end"], limit=1000
        )
        rows = answer.data()
        found += rows
        if len(rows) < 1000:
            return found
        start = int(rows[-1][0]) + 1


for name, wanted in document.ranges.items():
    if wanted["market"] == "spot":
        document.ask("settled", name, lambda: pages(wanted, client.klines))
        document.ask("settled", f"{name}, for drawing", lambda: pages(wanted, client.ui_klines))
document.ask(
    "settled", "exchange info", lambda: without(client.exchange_info().data().to_dict(), "serverTime", "server_time")
)
document.ask(
    "settled",
    "info of two",
    lambda: without(client.exchange_info(symbols=["BTCUSDT", "ETHUSDT"]).data().to_dict(), "serverTime"),
)
document.ask("settled", "ping", lambda: client.ping().data())
document.ask("open", "newest", lambda: client.klines(symbol="BTCUSDT", interval="1h").data())
document.ask("live", "time", lambda: client.time().data())
document.ask("live", "depth", lambda: client.depth(symbol="BTCUSDT", limit=10).data())
document.ask("live", "trades", lambda: client.get_trades(symbol="BTCUSDT", limit=10).data())
document.ask("live", "aggregated trades", lambda: client.agg_trades(symbol="BTCUSDT", limit=10).data())
document.ask("live", "average price", lambda: client.avg_price(symbol="BTCUSDT").data())
document.ask("live", "ticker", lambda: client.ticker24hr(symbol="BTCUSDT").data())
document.ask("live", "tickers", lambda: client.ticker24hr(symbols=["BTCUSDT", "ETHUSDT"]).data())
document.ask("live", "rolling window", lambda: client.ticker(symbol="BTCUSDT", window_size="1h").data())
document.ask("live", "ticker of the trading day", lambda: client.ticker_trading_day(symbol="BTCUSDT").data())
document.ask("live", "price", lambda: client.ticker_price(symbol="BTCUSDT").data())
document.ask("live", "prices", lambda: client.ticker_price().data())
document.ask("live", "book's top", lambda: client.ticker_book_ticker(symbol="BTCUSDT").data())
document.ask("refused", "unknown symbol", lambda: client.klines(symbol="NOPEUSDT", interval="1m").data())
document.ask("refused", "bad interval", lambda: client.klines(symbol="BTCUSDT", interval="7m").data())
document.print()
