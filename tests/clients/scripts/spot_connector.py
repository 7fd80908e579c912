from binance.error import ClientError
from binance.spot import Spot
from document import Document, without

document = Document()
client = Spot(base_url=document.base)


def pages(wanted, ask):
    """From the last close on, as the examples of this library do."""
    found, start = [], wanted["start"]
    while True:
        rows = ask(wanted["symbol"], wanted["interval"], startTime=start, endTime=wanted["end"], limit=1000)
        found += rows
        if len(rows) < 1000:
            return found
        start = rows[-1][6] + 1


def refused(call):
    """Return a refusal as this library reports it, without the headers, which vary."""
    try:
        return call()
    except ClientError as error:
        raise ValueError(f"{error.status_code} {error.error_code} {error.error_message}") from None


for name, wanted in document.ranges.items():
    if wanted["market"] == "spot":
        document.ask("settled", name, lambda: pages(wanted, client.klines))
        document.ask("settled", f"{name}, for drawing", lambda: pages(wanted, client.ui_klines))
start = document.ranges["spot_days"]["start"]
document.ask(
    "settled", "another time zone", lambda: client.klines("BTCUSDT", "1d", startTime=start, limit=99, timeZone="+05:30")
)
document.ask("settled", "exchange info", lambda: without(client.exchange_info(), "serverTime"))
document.ask("settled", "info of one", lambda: without(client.exchange_info(symbol="BTCUSDT"), "serverTime"))
document.ask(
    "settled", "info of two", lambda: without(client.exchange_info(symbols=["BTCUSDT", "ETHUSDT"]), "serverTime")
)
document.ask("settled", "ping", client.ping)

document.ask("open", "newest", lambda: client.klines("BTCUSDT", "1h"))
document.ask("open", "newest for drawing", lambda: client.ui_klines("ETHUSDT", "4h", limit=10))
micros = Spot(base_url=document.base, time_unit="microsecond")
document.ask("open", "newest in microseconds", lambda: micros.klines("BTCUSDT", "1h", limit=10))

document.ask("live", "time", client.time)
document.ask("live", "time in microseconds", micros.time)
document.ask("live", "depth", lambda: client.depth("BTCUSDT", limit=10))
document.ask("live", "trades", lambda: client.trades("BTCUSDT", limit=10))
document.ask("live", "aggregated trades", lambda: client.agg_trades("BTCUSDT", limit=10))
document.ask("live", "average price", lambda: client.avg_price("BTCUSDT"))
document.ask("live", "ticker", lambda: client.ticker_24hr("BTCUSDT"))
document.ask("live", "tickers", lambda: client.ticker_24hr(symbols=["BTCUSDT", "ETHUSDT"], type="MINI"))
document.ask("live", "ticker of the trading day", lambda: client.trading_day_ticker("BTCUSDT"))
document.ask("live", "price", lambda: client.ticker_price("BTCUSDT"))
document.ask("live", "prices", client.ticker_price)
document.ask("live", "book's top", lambda: client.book_ticker("BTCUSDT"))
document.ask("live", "rolling window", lambda: client.rolling_window_ticker("BTCUSDT", windowSize="2h"))

document.ask("refused", "unknown symbol", lambda: refused(lambda: client.klines("NOPEUSDT", "1m")))
document.ask("refused", "bad interval", lambda: refused(lambda: client.klines("BTCUSDT", "7m")))
document.ask("refused", "bad limit", lambda: refused(lambda: client.klines("BTCUSDT", "1m", limit=-1)))
document.ask("refused", "unknown symbol's depth", lambda: refused(lambda: client.depth("NOPEUSDT")))
document.print()
