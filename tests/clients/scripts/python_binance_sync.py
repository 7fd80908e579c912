from binance.client import Client
from binance.enums import HistoricalKlinesType
from document import Document, without

document = Document()
Client.API_URL = document.base + "/api"
Client.FUTURES_URL = document.base + "/fapi"
Client.FUTURES_COIN_URL = document.base + "/dapi"
Client.FUTURES_DATA_URL = Client.FUTURES_COIN_DATA_URL = document.base + "/futures/data"
client = Client()  # pings

KINDS = {
    "spot": HistoricalKlinesType.SPOT,
    "usdm": HistoricalKlinesType.FUTURES,
    "coinm": HistoricalKlinesType.FUTURES_COIN,
}


def asked(wanted: dict) -> tuple:
    return wanted["symbol"], wanted["interval"], wanted["start"], wanted["end"]


for name, wanted in document.ranges.items():
    kind = KINDS[wanted["market"]]
    # its listing probe (all of time, limit 1) spans more than the 200 days COIN-M allows: refused, there and here
    section = "refused" if wanted["market"] == "coinm" else "settled"
    document.ask(section, name, lambda: client.get_historical_klines(*asked(wanted), klines_type=kind))
    document.ask(
        section,
        f"{name}, generator",
        lambda: client.get_historical_klines_generator(*asked(wanted), klines_type=kind),
    )
hours, minutes = document.ranges["spot_hours"], document.ranges["spot_minutes"]
document.ask(
    "settled", "dates in words", lambda: client.get_historical_klines("BTCUSDT", "4h", "1 Dec, 2017", "1 Jan, 2018")
)
document.ask("settled", "one page", lambda: client.get_historical_klines(*asked(minutes), limit=200))
document.ask("settled", "chinese symbol", lambda: client.get_klines(
    symbol="币安人生USDT", interval="1h", startTime=1762000000000, limit=10))  # fmt: skip
for name, call in {
    "usdm klines": client.futures_klines,
    "usdm mark": client.futures_mark_price_klines,
    "coinm klines": client.futures_coin_klines,
    "coinm mark": client.futures_coin_mark_price_klines,
}.items():
    symbol = "BTCUSD_PERP" if name.startswith("coinm") else "BTCUSDT"
    span = {"symbol": symbol, "interval": "1h", "startTime": hours["start"], "endTime": hours["end"]}
    document.ask("settled", name, lambda: call(**span, limit=700))
for name, call in {
    "usdm index": client.futures_index_price_klines,
    "usdm premium": client.futures_premium_index_klines,
    "usdm continuous": client.futures_continuous_klines,
    "coinm index": client.futures_coin_index_price_klines,
    "coinm premium": client.futures_coin_premium_index_klines,
    "coinm continuous": client.futures_coin_continous_klines,
}.items():
    pair = "BTCUSD" if name.startswith("coinm") else "BTCUSDT"
    about = {"symbol" if "premium" in name else "pair": pair + ("_PERP" if name == "coinm premium" else "")}
    if "continuous" in name:
        about["contractType"] = "PERPETUAL"
    span = {"interval": "1h", "startTime": hours["start"], "endTime": hours["end"], "limit": 300}
    document.ask("settled", name, lambda: call(**about, **span))
document.ask(
    "settled",
    "usdm by its own name",
    lambda: client.futures_historical_klines("ETHUSDT", "1d", "1 Jan, 2021", "1 Mar, 2021"),
)
document.ask("settled", "spot exchange info", lambda: without(client.get_exchange_info(), "serverTime"))
document.ask("settled", "symbol info", lambda: client.get_symbol_info("ETHUSDT"))
document.ask("settled", "usdm exchange info", lambda: without(client.futures_exchange_info(), "serverTime"))
document.ask("settled", "coinm exchange info", lambda: without(client.futures_coin_exchange_info(), "serverTime"))

document.ask("open", "spot newest", lambda: client.get_klines(symbol="BTCUSDT", interval="1h", limit=500))
document.ask("open", "spot since", lambda: client.get_historical_klines("ETHUSDT", "4h", "40 days ago UTC"))
document.ask("open", "usdm newest", lambda: client.futures_klines(symbol="BTCUSDT", interval="1h", limit=500))
document.ask("open", "coinm newest", lambda: client.futures_coin_klines(symbol="BTCUSD_PERP", interval="1h", limit=99))

document.ask("live", "server time", client.get_server_time)
document.ask("live", "usdm time", client.futures_time)
document.ask("live", "coinm time", client.futures_coin_time)
document.ask("live", "tickers of 24 hours", lambda: client.get_ticker(symbol="BTCUSDT"))
document.ask("live", "all prices", client.get_all_tickers)
document.ask("live", "price", lambda: client.get_symbol_ticker(symbol="BTCUSDT"))
document.ask("live", "all books' tops", client.get_orderbook_tickers)
document.ask("live", "average price", lambda: client.get_avg_price(symbol="BTCUSDT"))
document.ask("live", "depth", lambda: client.get_order_book(symbol="BTCUSDT", limit=20))
document.ask("live", "trades", lambda: client.get_recent_trades(symbol="BTCUSDT", limit=20))
document.ask("live", "aggregated trades", lambda: client.get_aggregate_trades(symbol="BTCUSDT", limit=20))
document.ask("live", "usdm price", lambda: client.futures_symbol_ticker(symbol="BTCUSDT"))
document.ask("live", "usdm mark price", lambda: client.futures_mark_price(symbol="BTCUSDT"))
document.ask("live", "usdm funding", lambda: client.futures_funding_rate(symbol="BTCUSDT", limit=20))
document.ask("live", "usdm open interest", lambda: client.futures_open_interest(symbol="BTCUSDT"))
document.ask("live", "usdm depth", lambda: client.futures_order_book(symbol="BTCUSDT", limit=20))
statistics = {"period": "1h", "limit": 20}
document.ask("live", "usdm history", lambda: client.futures_open_interest_hist(symbol="BTCUSDT", **statistics))
document.ask("live", "usdm ratio", lambda: client.futures_top_longshort_account_ratio(symbol="BTCUSDT", **statistics))
document.ask(
    "live",
    "coinm history",
    lambda: client.futures_coin_open_interest_hist(pair="BTCUSD", contractType="PERPETUAL", **statistics),
)
document.ask("live", "coinm price", lambda: client.futures_coin_symbol_ticker(symbol="BTCUSD_PERP"))
document.ask("live", "coinm depth", lambda: client.futures_coin_order_book(symbol="BTCUSD_PERP", limit=20))

document.ask("refused", "unknown symbol", lambda: client.get_klines(symbol="NOPEUSDT", interval="1m"))
document.ask("refused", "bad interval", lambda: client.get_klines(symbol="BTCUSDT", interval="7m"))
document.ask("refused", "usdm, unknown symbol", lambda: client.futures_klines(symbol="NOPEUSDT", interval="1m"))
document.ask("refused", "usdm, bad limit", lambda: client.futures_klines(symbol="BTCUSDT", interval="1m", limit=1501))
document.ask("refused", "coinm, unknown symbol", lambda: client.futures_coin_klines(symbol="NOPE_PERP", interval="1m"))
document.print()
