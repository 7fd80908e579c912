"""Readiness: decide whether the daemon can answer."""

from collections.abc import Sequence

from mdcache.cache.symbols import SymbolTable
from mdcache.exchange.markets import Market
from mdcache.serving.ports import Readiness
from mdcache.upstream.governor import Governor

_OPEN = {"open", "ramp"}


def readiness(governor: Governor, symbols: SymbolTable, troubles: Sequence[str]) -> Readiness:
    """Return `reasons` only if nothing can be answered: what was read before is served during a ban, too."""
    families = governor.status()
    shut = [
        f"{family.family}: gate {family.gate_state} ({family.gate_reason}), reopens in {family.reopens_in_s:.0f} s"
        for family in families
        if family.gate_state not in _OPEN
    ]
    known = any(symbols.symbols(market).names for market in Market)
    if len(shut) == len(families) and not known:
        return Readiness(reasons=tuple(shut))
    return Readiness(degraded=(*shut, *troubles))
