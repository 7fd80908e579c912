"""`exchangeInfo` bodies of the three markets, in the shape of Binance's (BINANCE 3.5, 8)."""

import json
from collections.abc import Sequence

from mdcache.sim.config import SimConfig, SymbolSpec
from mdcache.sim.questions import parse, repeated
from mdcache.sim.refusals import Refusal, illegal, unread
from mdcache.sim.world import PERPETUAL_DELIVERY_MS, base_and_quote

Json = dict[str, object]

_SPOT_PARAMETERS = {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}
_SPOT_STATUSES = {"TRADING", "HALT", "BREAK"}
_NOT_BOTH = Refusal(-1128, "Combination of optional parameters invalid.")
_BAD_SYMBOL = Refusal(-1121, "Invalid symbol.")


def spot_info(config: SimConfig, specs: Sequence[SymbolSpec], query: str, at_ms: int, time: int) -> bytes | Refusal:
    """GET /api/v3/exchangeInfo, filtered as asked; `time` is printed as the server's."""
    chosen = _chosen(specs, query, at_ms)
    if isinstance(chosen, Refusal):
        return chosen
    permissions = dict(parse(query)).get("showPermissionSets", "true") != "false"
    return _compact({
        "timezone": "UTC",
        "serverTime": time,
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, config.spot_limit),
            _limit("ORDERS", "SECOND", 10, 100),
            _limit("ORDERS", "DAY", 1, 200_000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 300_000),  # CHANGELOG.md 2026-03-27
        ],
        "exchangeFilters": [],
        "symbols": [_spot_symbol(spec, at_ms, permissions=permissions) for spec in chosen],
    })  # fmt: skip


def futures_info(config: SimConfig, specs: Sequence[SymbolSpec], at_ms: int, time: int) -> bytes:
    """GET /fapi/v1/exchangeInfo or /dapi/v1/exchangeInfo; every parameter is ignored."""
    coin = bool(specs) and specs[0].market == "coinm"
    limits = [
        _limit("REQUEST_WEIGHT", "MINUTE", 1, config.futures_limit),
        _limit("ORDERS", "MINUTE", 1, 1_200),
    ]
    body: Json = {"timezone": "UTC", "serverTime": time}
    if coin:
        body |= {"rateLimits": limits, "exchangeFilters": []}
    else:
        assets = sorted({asset for spec in specs for asset in base_and_quote(spec) if asset in {"BTC", "ETH", "BNB"}})
        body |= {
            "futuresType": "U_MARGINED",
            "rateLimits": [*limits, _limit("ORDERS", "SECOND", 10, 300)],
            "exchangeFilters": [],
            "assets": [_asset(asset) for asset in ("USDT", *assets)],
        }
    body["symbols"] = [_contract(spec, at_ms) for spec in specs]
    return _compact(body)


def _chosen(specs: Sequence[SymbolSpec], query: str, at_ms: int) -> Sequence[SymbolSpec] | Refusal:
    """The symbols a spot query asks for."""
    sent = parse(query)
    values = dict(sent)
    refusal = repeated(sent)
    if refusal is None and not _SPOT_PARAMETERS.issuperset(values):
        refusal = unread(sum(name in _SPOT_PARAMETERS for name in values), len(values))
    if refusal is None and len({"symbol", "symbols", "permissions"} & values.keys()) > 1:
        refusal = _NOT_BOTH
    if refusal is not None:
        return refusal
    status = values.get("symbolStatus")
    if status is not None:
        if {"symbol", "symbols"} & values.keys():
            return _NOT_BOTH
        if status not in _SPOT_STATUSES:
            return Refusal(-1122, "Invalid symbolStatus.")
        return [spec for spec in specs if spec.status_at(at_ms) == status]
    names = _names(values)
    if names is None or isinstance(names, Refusal):
        return specs if names is None else names
    by_name = {spec.symbol: spec for spec in specs}
    if len(set(names)) < len(names):
        return Refusal(-1151, "Symbol is present multiple times in the list.")
    if not by_name.keys() >= set(names):
        return _BAD_SYMBOL
    return [by_name[name] for name in names]


def _names(values: dict[str, str]) -> list[str] | Refusal | None:
    if "symbol" in values:
        if values["symbol"] != values["symbol"].upper():
            return illegal("symbol", r"^[\w\-._&&[^a-z]]{1,50}$")
        return [values["symbol"]]
    if "symbols" not in values:
        return None
    bad = Refusal(-1135, "JSON sent for parameter 'symbols' is not valid")
    try:
        names = json.loads(values["symbols"])
    except ValueError:
        return bad
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return bad


def _compact(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _limit(kind: str, interval: str, number: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _asset(name: str) -> Json:
    return {
        "asset": name,
        "marginAvailable": True,
        "autoAssetExchange": "-100" if name == "USDT" else "-0.00100000",
    }


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
