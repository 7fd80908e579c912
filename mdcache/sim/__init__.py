"""A Binance that lives on this machine: rows, refusals, limits, bans and faults, all from a seed and a clock.

Written from `BINANCE.md` alone. It shares no code with the rest of mdcache, so that "equal to the simulator"
means more than that one mind agreed with itself; of mdcache only the clock may be imported, by `server.py`.
"""

from mdcache.sim.config import Family, Market, Outage, SimConfig, SymbolSpec
from mdcache.sim.control import Control
from mdcache.sim.exchange import Exchange, LogEntry
from mdcache.sim.faults import FAULT_KINDS, Fault
from mdcache.sim.replies import Reply
from mdcache.sim.world import default_world

__all__ = [
    "FAULT_KINDS",
    "Control",
    "Exchange",
    "Family",
    "Fault",
    "LogEntry",
    "Market",
    "Outage",
    "Reply",
    "SimConfig",
    "SymbolSpec",
    "default_world",
]
