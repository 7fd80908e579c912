"""Readiness: decide whether the daemon can answer."""

import math
from collections.abc import Sequence

from mdcache.cache.symbols import SymbolTable
from mdcache.exchange.markets import Market
from mdcache.serving.ports import Readiness
from mdcache.upstream.gate import GateState
from mdcache.upstream.governor import FamilyStatus, Governor

_OPEN = frozenset({GateState.OPEN.value, GateState.RAMP.value})


def readiness(governor: Governor, symbols: SymbolTable, troubles: Sequence[str]) -> Readiness:
    """Return `reasons` only if nothing can be answered (docs/design.md#operations), or another replica can do better.

    What was read before, or is stored, is served during a ban, too. A gate whose time has come may be asked: otherwise
    a balancer would never send the question that it waits for.
    """
    families = governor.status()
    troubled = tuple(_describe(family) for family in families if family.gate_state not in _OPEN)
    waiting = tuple(
        f"{family}: no weight to spend yet: the other replicas have drawn all of it"
        for family, sharing in governor.sharing().items()
        if not sharing.ready
    )
    short = tuple(f"{each.family}: a limit is spent: answers may be older, or fail" for each in families if each.short)
    known = any(symbols.symbols(market).names for market in Market)
    if waiting or (not known and all(_is_shut(family) for family in families)):
        return Readiness(reasons=(*troubled, *waiting))
    return Readiness(degraded=(*troubled, *short, *troubles))


def _is_shut(family: FamilyStatus) -> bool:
    return family.gate_state == GateState.CLOSED.value and family.reopens_in_s > 0


def _describe(family: FamilyStatus) -> str:
    when = f"reopens in {math.ceil(family.reopens_in_s)} s" if _is_shut(family) else "may be probed now"
    return f"{family.family}: gate {family.gate_state} ({family.gate_reason}), {when}"
