"""Choose the symbols that a query names: one, a list, or those of a pair or of permissions."""

import json
import re
from collections.abc import Mapping

from mdcache.sim.api import refusals
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.config import Market, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote

COMPOSITE = "DEFIUSDT"  # the one composite index; not a symbol that trades here
MOST_SYMBOLS = 100  # rest-api.md, GET /api/v3/ticker and /api/v3/ticker/tradingDay
_PERMISSION = re.compile(r"SPOT|MARGIN|LEVERAGED|TRD_GRP_[0-9]{3}")  # enums.md, Account and Symbol Permissions


def chosen(
    market: Market, endpoint: str, values: Mapping[str, str], visible: tuple[SymbolSpec, ...], at_ms: int
) -> tuple[SymbolSpec, ...] | ApiRefusal:
    """Return the symbols asked for: one by its name, some, those of a pair, or all."""
    name = name_of(values, spot=market == "spot")
    specs: tuple[SymbolSpec, ...] | ApiRefusal = visible
    if name:
        specs = tuple(spec for spec in visible if name in _names(market, endpoint, spec, by_symbol="symbol" in values))
        if not specs:
            return refusals.BAD_SYMBOL if "symbol" in values else refusals.bad_pair(market)
    elif "symbols" in values:
        specs = _several(values["symbols"], visible, most=MOST_SYMBOLS if endpoint != "exchangeInfo" else None)
    if isinstance(specs, ApiRefusal):
        return specs
    if endpoint == "assetIndex":  # one contract of each asset
        specs = tuple(spec for spec in specs if spec.symbol == spec.pair)
    contract, status = values.get("contractType", "ALL"), values.get("symbolStatus")
    if contract != "ALL":
        specs = tuple(spec for spec in specs if spec.contract_type == contract)
    found = tuple(spec for spec in specs if status in {None, spec.status_at(at_ms)})
    return refusals.WRONG_STATUS if specs and not found and "symbol" in values else found


def _names(market: Market, endpoint: str, spec: SymbolSpec, *, by_symbol: bool) -> set[str | None]:
    """Return the names that a path uses for a symbol."""
    if not by_symbol:
        return {spec.pair}
    if endpoint == "indexInfo":
        return {COMPOSITE}
    if endpoint == "assetIndex":
        return {base_and_quote(spec)[0] + "USD"}
    either = market == "coinm" and (endpoint == "constituents" or endpoint.endswith("Ratio"))
    return {spec.symbol, spec.pair} if either else {spec.symbol}


def _several(
    text: str, visible: tuple[SymbolSpec, ...], *, most: int | None = None
) -> tuple[SymbolSpec, ...] | ApiRefusal:
    """Return the symbols of a `symbols` parameter, a JSON list of names, in its order."""
    names = _json_list(text)
    if names is None:
        return refusals.BAD_LIST
    if most is not None and len(names) > most:
        return refusals.TOO_MANY.about(most, len(names))
    if len(set(names)) < len(names):
        return refusals.REPEATED_SYMBOL
    by_name = {spec.symbol: spec for spec in visible}
    return tuple(by_name[name] for name in names) if by_name.keys() >= set(names) else refusals.BAD_SYMBOL


def name_of(values: Mapping[str, str], *, spot: bool) -> str:
    """Return the symbol or pair in the market's own spelling, or nothing."""
    sent = values.get("symbol") or values.get("pair") or ""
    return sent if spot else sent.upper()


def permissions(text: str) -> frozenset[str] | None:
    """Parse one permission, or a JSON list of them; `None` for anything else."""
    names = _json_list(text) if text.startswith("[") else [text]
    good = names is not None and all(_PERMISSION.fullmatch(name) for name in names)
    return frozenset(names) if names is not None and good else None


def _json_list(text: str) -> list[str] | None:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
