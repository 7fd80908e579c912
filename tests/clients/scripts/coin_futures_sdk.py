from binance_sdk_derivatives_trading_coin_futures.derivatives_trading_coin_futures import (
    ConfigurationRestAPI,
    DerivativesTradingCoinFutures,
)
from document import Document
from futures_sdk import ask

document = Document()
configuration = ConfigurationRestAPI(base_path=document.base)
client = DerivativesTradingCoinFutures(config_rest_api=configuration).rest_api
ask(document, client, "coinm", "BTCUSD_PERP", "BTCUSD")
document.ask("live", "mark price", lambda: client.index_price_and_mark_price(symbol="BTCUSD_PERP").data())
document.ask(
    "live",
    "basis",
    lambda: client.basis(pair="BTCUSD", contract_type="PERPETUAL", period="1h", limit=10).data(),
)
document.print()
