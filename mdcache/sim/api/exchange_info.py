"""Write the `exchangeInfo` bodies of the three markets in Binance's format (docs/binance.md#exchange-info)."""

from string import Template

from mdcache.sim.api.query import Query
from mdcache.sim.api.symbol_choice import permissions
from mdcache.sim.config import SimConfig, SymbolSpec
from mdcache.sim.default_symbols import PERPETUAL_DELIVERY_MS, base_and_quote

_LIMIT = '{"rateLimitType":"%s","interval":"%s","intervalNum":%d,"limit":%d}'
_Limits = tuple[tuple[str, str, int, int], ...]
_SPOT_LIMITS: _Limits = (
    ("ORDERS", "SECOND", 10, 100),
    ("ORDERS", "DAY", 1, 200_000),
    ("RAW_REQUESTS", "MINUTE", 5, 300_000),  # CHANGELOG.md 2026-03-27
)
_COINM_LIMITS: _Limits = (("ORDERS", "MINUTE", 1, 1_200),)
_USDM_LIMITS: _Limits = (*_COINM_LIMITS, ("ORDERS", "SECOND", 10, 300))
_ASSET = '{"asset":"%s","marginAvailable":true,"autoAssetExchange":"%s"}'
_ASSETS = ",".join([_ASSET % ("USDT", "-100"), *(_ASSET % (name, "-0.00100000") for name in ("BTC", "ETH", "BNB"))])
_SPOT_SYMBOL = Template(
    '{"symbol":"$symbol","status":"$status","baseAsset":"$base","baseAssetPrecision":8,"quoteAsset":"$quote",'
    '"quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,'
    '"orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS_LIMIT","TAKE_PROFIT_LIMIT"],"icebergAllowed":true,'
    '"ocoAllowed":true,"otoAllowed":true,"quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,'
    '"cancelReplaceAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":false,"filters":['
    '{"filterType":"PRICE_FILTER","minPrice":"$tick","maxPrice":"1000000.00000000","tickSize":"$tick"},'
    '{"filterType":"LOT_SIZE","minQty":"$step","maxQty":"9000000.00000000","stepSize":"$step"},'
    '{"filterType":"ICEBERG_PARTS","limit":10},'
    '{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000",'
    '"applyMaxToMarket":false,"avgPriceMins":5},{"filterType":"MAX_NUM_ORDERS","maxNumOrders":200},'
    '{"filterType":"MAX_NUM_ALGO_ORDERS","maxNumAlgoOrders":5}],"permissions":[],"permissionSets":$permissions,'
    '"defaultSelfTradePreventionMode":"EXPIRE_MAKER",'
    '"allowedSelfTradePreventionModes":["NONE","EXPIRE_TAKER","EXPIRE_MAKER","EXPIRE_BOTH"]}'
)
_CONTRACT = Template(
    '{"symbol":"$symbol","pair":"$pair","contractType":"$type","deliveryDate":$delivery,"onboardDate":$listed,'
    '$state,"maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000","baseAsset":"$base","quoteAsset":"$quote",'
    '"marginAsset":"$margin","pricePrecision":$printed,"quantityPrecision":$places,"baseAssetPrecision":8,'
    '"quotePrecision":8,"underlyingType":"COIN","underlyingSubType":[],"triggerProtect":"0.0500",'
    '"liquidationFee":"0.020000","marketTakeBound":"0.30","filters":['
    '{"filterType":"PRICE_FILTER","minPrice":"$tick","maxPrice":"1000000","tickSize":"$tick"},'
    '{"filterType":"LOT_SIZE","minQty":"$step","maxQty":"1000000","stepSize":"$step"},'
    '{"filterType":"MARKET_LOT_SIZE","minQty":"$step","maxQty":"1000000","stepSize":"$step"},'
    '{"filterType":"MAX_NUM_ORDERS","limit":200},{"filterType":"MAX_NUM_ALGO_ORDERS","limit":10},'
    '{"filterType":"PERCENT_PRICE","multiplierDown":"0.9500","multiplierUp":"1.0500","multiplierDecimal":"4"}],'
    '"orderTypes":["LIMIT","MARKET","STOP","STOP_MARKET","TAKE_PROFIT","TAKE_PROFIT_MARKET","TRAILING_STOP_MARKET"],'
    '"timeInForce":["GTC","IOC","FOK","GTX"]}'
)


def exchange_info(config: SimConfig, query: Query, at_ms: int, time: int) -> bytes:
    """Return the body for a query as of a moment; `time` is printed as the server's."""
    kind, more = "", ""
    if query.market == "spot":
        limits = _SPOT_LIMITS
        names = permissions(query.values.get("permissions", "SPOT")) or ()
        specs = query.specs if "SPOT" in names else ()  # what every symbol here permits
        shown = "[]" if query.values.get("showPermissionSets") == "false" else '[["SPOT"]]'
        symbols = [_spot_symbol(spec, at_ms, shown) for spec in specs]
    else:
        symbols = [_contract(spec, at_ms) for spec in query.specs]
        limits = _COINM_LIMITS
        if query.market == "usdm":
            limits, kind, more = _USDM_LIMITS, '"futuresType":"U_MARGINED",', f'"assets":[{_ASSETS}],'
    listed = ",".join(
        _LIMIT % each for each in (("REQUEST_WEIGHT", "MINUTE", 1, config.shown_limit(query.market)), *limits)
    )
    text = f'{{"timezone":"UTC","serverTime":{time},{kind}"rateLimits":[{listed}],"exchangeFilters":[],{more}'
    return f'{text}"symbols":[{",".join(symbols)}]}}'.encode()


def _unit(places: int, padded: int) -> str:
    """Print 10^-places with `padded` digits."""
    return f"{10**-places:.{padded}f}" if padded else "1"


def _spot_symbol(spec: SymbolSpec, at_ms: int, shown: str) -> str:
    base, quote = base_and_quote(spec)
    return _SPOT_SYMBOL.substitute(
        symbol=spec.symbol,
        status=spec.status_at(at_ms),
        base=base,
        quote=quote,
        tick=_unit(spec.price_decimals, 8),
        step=_unit(spec.quantity_decimals, 8),
        permissions=shown,
    )


def _contract(spec: SymbolSpec, at_ms: int) -> str:
    base, quote = base_and_quote(spec)
    printed, status = spec.printed_decimals or spec.price_decimals, spec.status_at(at_ms)
    coin = spec.market == "coinm"
    return _CONTRACT.substitute(
        symbol=spec.symbol,
        pair=spec.pair or spec.symbol,
        type=spec.contract_type or "PERPETUAL",
        delivery=spec.delivery_ms or PERPETUAL_DELIVERY_MS,
        listed=spec.listed_ms,
        state=f'"contractStatus":"{status}","contractSize":{spec.contract_size}' if coin else f'"status":"{status}"',
        base=base,
        quote=quote,
        margin=base if coin else quote,
        printed=printed,
        places=spec.quantity_decimals,
        tick=_unit(spec.price_decimals, printed),
        step=_unit(spec.quantity_decimals, spec.quantity_decimals),
    )
