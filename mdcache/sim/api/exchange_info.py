"""`exchangeInfo` bodies of the three markets, in the shape of Binance's (docs/binance.md#exchange-info)."""

from mdcache.sim.api.query import Query, permissions
from mdcache.sim.config import SimConfig, SymbolSpec
from mdcache.sim.default_symbols import PERPETUAL_DELIVERY_MS, base_and_quote
from mdcache.sim.prices.printing import Json, compact


def exchange_info(config: SimConfig, query: Query, at_ms: int, time: int) -> bytes:
    """Return the body for a query as of a moment; `time` is printed as the server's."""
    head: Json = {"timezone": "UTC", "serverTime": time}
    if query.market == "spot":
        names, shown = permissions(query.values.get("permissions", "SPOT")), query.values.get("showPermissionSets")
        specs = query.specs if names and "SPOT" in names else ()  # what every symbol here permits
        limits = [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, config.spot_limit),
            _limit("ORDERS", "SECOND", 10, 100),
            _limit("ORDERS", "DAY", 1, 200_000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 300_000),  # CHANGELOG.md 2026-03-27
        ]
        symbols = [_spot_symbol(spec, at_ms, permissions=shown != "false") for spec in specs]
        return compact(head | {"rateLimits": limits, "exchangeFilters": [], "symbols": symbols})
    limits = [_limit("REQUEST_WEIGHT", "MINUTE", 1, config.futures_limit), _limit("ORDERS", "MINUTE", 1, 1_200)]
    symbols = [_contract(spec, at_ms) for spec in query.specs]
    if query.market == "coinm":
        return compact(head | {"rateLimits": limits, "exchangeFilters": [], "symbols": symbols})
    limits.append(_limit("ORDERS", "SECOND", 10, 300))
    head |= {"futuresType": "U_MARGINED", "rateLimits": limits, "exchangeFilters": []}
    return compact(head | {"assets": [_asset(name) for name in ("USDT", "BTC", "ETH", "BNB")], "symbols": symbols})


def _limit(kind: str, interval: str, number: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _asset(name: str) -> Json:
    exchange = "-100" if name == "USDT" else "-0.00100000"
    return {"asset": name, "marginAvailable": True, "autoAssetExchange": exchange}


def _unit(places: int, padded: int) -> str:
    """10^-places as a decimal string with `padded` digits."""
    return f"{10**-places:.{padded}f}" if padded else "1"


def _spot_symbol(spec: SymbolSpec, at_ms: int, *, permissions: bool) -> Json:
    base, quote = base_and_quote(spec)
    tick, step = _unit(spec.price_decimals, 8), _unit(spec.quantity_decimals, 8)
    return {
        "symbol": spec.symbol,
        "status": spec.status_at(at_ms),
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]] if permissions else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }  # fmt: skip


def _contract(spec: SymbolSpec, at_ms: int) -> Json:
    base, quote = base_and_quote(spec)
    coin = spec.market == "coinm"
    printed = spec.printed_decimals or spec.price_decimals
    tick, step = _unit(spec.price_decimals, printed), _unit(spec.quantity_decimals, spec.quantity_decimals)
    status: Json = {"contractStatus" if coin else "status": spec.status_at(at_ms)}
    if coin:
        status["contractSize"] = spec.contract_size
    return {
        "symbol": spec.symbol,
        "pair": spec.pair or spec.symbol,
        "contractType": spec.contract_type or "PERPETUAL",
        "deliveryDate": spec.delivery_ms or PERPETUAL_DELIVERY_MS,
        "onboardDate": spec.listed_ms,
        **status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": base if coin else quote,
        "pricePrecision": printed,
        "quantityPrecision": spec.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.020000",
        "marketTakeBound": "0.30",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "PERCENT_PRICE", "multiplierDown": "0.9500", "multiplierUp": "1.0500",
             "multiplierDecimal": "4"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET",
                       "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }  # fmt: skip
