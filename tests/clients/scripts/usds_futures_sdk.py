from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    ConfigurationRestAPI,
    DerivativesTradingUsdsFutures,
)
from document import Document
from futures_sdk import ask

document = Document()
configuration = ConfigurationRestAPI(base_path=document.base)
client = DerivativesTradingUsdsFutures(config_rest_api=configuration).rest_api
ask(document, client, "usdm", "BTCUSDT", "BTCUSDT")
document.ask("live", "mark price", lambda: client.mark_price(symbol="BTCUSDT").data())
document.ask("live", "price, second version", lambda: client.symbol_price_ticker_v2(symbol="BTCUSDT").data())
document.ask("live", "funding", lambda: client.get_funding_rate_history(symbol="BTCUSDT", limit=10).data())
document.ask("live", "history", lambda: client.open_interest_statistics(symbol="BTCUSDT", period="1h", limit=10).data())
document.ask(
    "live",
    "basis",
    lambda: client.basis(pair="BTCUSDT", contract_type="PERPETUAL", period="1h", limit=10).data(),
)
document.print()
