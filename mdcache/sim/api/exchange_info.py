"""`exchangeInfo` bodies of the three markets, in the shape of Binance's (BINANCE 3.5, 8)."""

import json
import re
from collections.abc import Sequence

from mdcache.sim.api.kline_query import SPOT_SYMBOL_TEXT, parse, repeated
from mdcache.sim.api.query import SPOT_STATUSES, several
from mdcache.sim.api.refusals import BAD_STATUS, BAD_SYMBOL, NOT_BOTH, ApiRefusal, illegal, invalid, unread
from mdcache.sim.config import Market, SimConfig, SymbolSpec
from mdcache.sim.default_symbols import PERPETUAL_DELIVERY_MS, base_and_quote
from mdcache.sim.prices.printing import Json, compact

_SPOT_PARAMETERS = {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}
_PERMISSIONS = frozenset({"SPOT"})  # what every symbol here has
_PERMISSION = re.compile(r"SPOT|MARGIN|LEVERAGED|TRD_GRP_[0-9]{3}")  # enums.md, Account and Symbol Permissions


def spot_info(config: SimConfig, specs: Sequence[SymbolSpec], query: str, at_ms: int, time: int) -> bytes | ApiRefusal:
    """GET /api/v3/exchangeInfo, filtered as asked; `time` is printed as the server's."""
    chosen = _chosen(specs, query, at_ms)
    if isinstance(chosen, ApiRefusal):
        return chosen
    permissions = dict(parse(query)).get("showPermissionSets", "true") != "false"
    return compact({
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


def futures_info(config: SimConfig, market: Market, specs: Sequence[SymbolSpec], at_ms: int, time: int) -> bytes:
    """GET /fapi/v1/exchangeInfo or /dapi/v1/exchangeInfo; every parameter is ignored."""
    limits = [
        _limit("REQUEST_WEIGHT", "MINUTE", 1, config.futures_limit),
        _limit("ORDERS", "MINUTE", 1, 1_200),
    ]
    body: Json = {"timezone": "UTC", "serverTime": time}
    if market == "coinm":
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
    return compact(body)


def _chosen(specs: Sequence[SymbolSpec], query: str, at_ms: int) -> Sequence[SymbolSpec] | ApiRefusal:
    """The symbols a spot query asks for."""
    sent = parse(query)
    values = dict(sent)
    refusal = repeated(sent) or _refusal(values)
    if refusal is not None:
        return refusal
    if "symbol" in values:
        return [spec for spec in specs if spec.symbol == values["symbol"]] or BAD_SYMBOL
    if "symbols" in values:
        return several(values["symbols"], tuple(specs))
    if "permissions" in values:
        permissions = _permissions(values["permissions"])
        if permissions is None:
            return invalid("permissions")
        specs = specs if permissions & _PERMISSIONS else ()
    status = values.get("symbolStatus")
    return [spec for spec in specs if status in {None, spec.status_at(at_ms)}]


def _refusal(values: dict[str, str]) -> ApiRefusal | None:
    """The refusal of parameters that are wrong whatever is listed."""
    if not _SPOT_PARAMETERS.issuperset(values):
        return unread(sum(name in _SPOT_PARAMETERS for name in values), len(values))
    names = {"symbol", "symbols"} & values.keys()
    if len(names) > 1 or (names and {"permissions", "symbolStatus"} & values.keys()):
        return NOT_BOTH
    if values.get("symbolStatus", "TRADING") not in SPOT_STATUSES:
        return BAD_STATUS
    if values.get("showPermissionSets", "true") not in {"true", "false"}:
        return invalid("showPermissionSets")
    symbol = values.get("symbol", "")
    return illegal("symbol", SPOT_SYMBOL_TEXT) if symbol != symbol.upper() else None


def _permissions(text: str) -> frozenset[str] | None:
    """One permission, or a JSON list of them; `None` for anything else."""
    if not text.startswith("["):
        return frozenset({text}) if _PERMISSION.fullmatch(text) else None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    good = all(isinstance(name, str) and _PERMISSION.fullmatch(name) for name in names)
    return frozenset(names) if good else None


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
        "permissionSets": [sorted(_PERMISSIONS)] if permissions else [],
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
