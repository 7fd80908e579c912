from document import Document, without
from unicorn_binance_rest_api import BinanceRestApiManager

document = Document()
# Its addresses come with `exchange`; only `tld` leaves the class attributes alone.
BinanceRestApiManager.API_URL = document.base + "/api"
BinanceRestApiManager.FUTURES_URL = document.base + "/fapi"
BinanceRestApiManager.FUTURES_COIN_URL = document.base + "/dapi"
client = BinanceRestApiManager(tld="com", warn_on_update=False)

for name, wanted in document.ranges.items():
    asked = wanted["symbol"], wanted["interval"], wanted["start"], wanted["end"]
    if wanted["market"] == "spot":
        document.ask("settled", name, lambda: client.get_historical_klines(*asked, limit=1000))
        document.ask("settled", f"{name}, generator", lambda: list(client.get_historical_klines_generator(*asked)))
    else:
        call = client.futures_klines if wanted["market"] == "usdm" else client.futures_coin_klines
        span = {"symbol": asked[0], "interval": asked[1], "startTime": asked[2], "endTime": asked[3]}
        document.ask("settled", name, lambda: call(**span, limit=1000))
span = {"startTime": document.ranges["spot_hours"]["start"], "limit": 400, "interval": "1h"}
document.ask("settled", "coinm index", lambda: client.futures_coin_index_price_klines(pair="BTCUSD", **span))
document.ask("settled", "coinm mark", lambda: client.futures_coin_mark_price_klines(symbol="BTCUSD_PERP", **span))
document.ask("settled", "spot exchange info", lambda: without(client.get_exchange_info(), "serverTime"))
document.ask("settled", "symbol info", lambda: client.get_symbol_info("ETHUSDT"))
document.ask("settled", "usdm exchange info", lambda: without(client.futures_exchange_info(), "serverTime"))
document.ask("settled", "coinm exchange info", lambda: without(client.futures_coin_exchange_info(), "serverTime"))
document.ask("open", "newest", lambda: client.get_klines(symbol="BTCUSDT", interval="1h"))
document.ask("open", "usdm newest", lambda: client.futures_klines(symbol="BTCUSDT", interval="1h"))
document.ask("live", "time", client.get_server_time)
document.ask("live", "all prices", client.get_all_tickers)
document.ask("live", "ticker", lambda: client.get_ticker(symbol="BTCUSDT"))
document.ask("live", "depth", lambda: client.get_order_book(symbol="BTCUSDT", limit=10))
document.ask("live", "usdm price", lambda: client.futures_symbol_ticker(symbol="BTCUSDT"))
document.ask("refused", "unknown symbol", lambda: client.get_klines(symbol="NOPEUSDT", interval="1m"))
document.ask("refused", "usdm, bad interval", lambda: client.futures_klines(symbol="BTCUSDT", interval="7m"))
document.print()
client.stop_manager()
