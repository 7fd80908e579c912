from binance.cm_futures import CMFutures
from binance.error import ClientError
from binance.um_futures import UMFutures
from document import Document, without

document = Document()
CLIENTS = {"usdm": UMFutures(base_url=document.base), "coinm": CMFutures(base_url=document.base)}
SYMBOL = {"usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}
PAIR = {"usdm": "BTCUSDT", "coinm": "BTCUSD"}


def pages(client, wanted):
    """From the last close on, in windows of 499 candles, so that the nearest end is as good as the nearest start."""
    found, start, span = [], wanted["start"], 499 * (900_000 if wanted["interval"] == "15m" else 3_600_000)
    while start <= wanted["end"]:
        end = min(start + span - 1, wanted["end"])
        found += client.klines(wanted["symbol"], wanted["interval"], startTime=start, endTime=end, limit=499)
        start = end + 1
    return found


def refused(call):
    """Return a refusal as this library reports it, without the headers, which vary."""
    try:
        return call()
    except ClientError as error:
        raise ValueError(f"{error.status_code} {error.error_code} {error.error_message}") from None


for name, wanted in document.ranges.items():
    if wanted["market"] in CLIENTS:
        document.ask("settled", name, lambda: pages(CLIENTS[wanted["market"]], wanted))
for market, client in CLIENTS.items():
    symbol, pair = SYMBOL[market], PAIR[market]
    span = {"startTime": document.ranges["spot_hours"]["start"], "endTime": document.ranges["spot_hours"]["end"]}
    span["limit"] = 1500
    document.ask("settled", f"{market} klines", lambda: client.klines(symbol, "2h", **span))
    document.ask("settled", f"{market} mark", lambda: client.mark_price_klines(symbol, "2h", **span))
    document.ask("settled", f"{market} index", lambda: client.index_price_klines(pair, "2h", **span))
    document.ask("settled", f"{market} continuous", lambda: client.continuous_klines(pair, "PERPETUAL", "2h", **span))
    document.ask("settled", f"{market} start alone", lambda: client.klines(symbol, "1d", startTime=span["startTime"]))
    document.ask("settled", f"{market} exchange info", lambda: without(client.exchange_info(), "serverTime"))
    document.ask("settled", f"{market} ping", client.ping)
    document.ask("open", f"{market} newest", lambda: client.klines(symbol, "1h"))
    document.ask("open", f"{market} newest mark", lambda: client.mark_price_klines(symbol, "1h", limit=100))
    document.ask("live", f"{market} time", client.time)
    document.ask("live", f"{market} depth", lambda: client.depth(symbol, limit=10))
    document.ask("live", f"{market} trades", lambda: client.trades(symbol, limit=10))
    document.ask("live", f"{market} aggregated trades", lambda: client.agg_trades(symbol, limit=10))
    document.ask("live", f"{market} mark price", lambda: client.mark_price(symbol))
    document.ask("live", f"{market} funding", lambda: client.funding_rate(symbol, limit=10))
    document.ask("live", f"{market} ticker", lambda: client.ticker_24hr_price_change(symbol))
    document.ask("live", f"{market} price", lambda: client.ticker_price(symbol))
    document.ask("live", f"{market} prices", client.ticker_price)
    document.ask("live", f"{market} book's top", lambda: client.book_ticker(symbol))
    document.ask("live", f"{market} open interest", lambda: client.open_interest(symbol))
    about = (pair,) if market == "usdm" else (pair, "PERPETUAL")
    document.ask("live", f"{market} history", lambda: client.open_interest_hist(*about, "1h", limit=10))
    document.ask("refused", f"{market} unknown symbol", lambda: refused(lambda: client.klines("NOPE", "1m")))
    document.ask("refused", f"{market} unknown pair", lambda: refused(lambda: client.index_price_klines("NOPE", "1m")))
    document.ask("refused", f"{market} bad interval", lambda: refused(lambda: client.klines(symbol, "7m")))
document.print()
