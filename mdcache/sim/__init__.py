"""A Binance that lives on this machine: rows, refusals, limits, bans and faults, all from a seed and a clock.

Written from docs/binance.md alone. It shares no code with the rest of mdcache, so that "equal to the simulator"
means more than that one mind agreed with itself; of mdcache only the clock may be imported, by `server.py`.
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
