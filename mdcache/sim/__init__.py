"""A simulated Binance: rows, refusals, limits, bans and faults, all computed from a seed and a clock.

It is written from docs/binance.md alone, and shares no code with the rest of mdcache, so that the two can check each
other; of mdcache, only the clock may be imported, by `server.py`.
"""

from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.config import Family, Market, Outage, SimConfig, SymbolSpec
from mdcache.sim.control.actions import Control
from mdcache.sim.control.faults import FAULT_KINDS, InjectedFault
from mdcache.sim.default_symbols import default_symbols
from mdcache.sim.exchange import Exchange, LogEntry

__all__ = [
    "FAULT_KINDS",
    "Control",
    "Exchange",
    "ExchangeReply",
    "Family",
    "InjectedFault",
    "LogEntry",
    "Market",
    "Outage",
    "SimConfig",
    "SymbolSpec",
    "default_symbols",
]
