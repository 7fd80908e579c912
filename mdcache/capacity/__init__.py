"""Capacity planning: the weight that a set of candle series will cost, for `mdcache check --plan`. Pure.

It uses the daemon's own weight tables, and counts what keeps open candles fresh under the settings in effect, the list
of symbols and the clock. Anything else (snapshots, history, re-reads of replies that show less than is known, retries)
comes on top.
"""

from mdcache.capacity.demand import COMMON_INTERVALS, Demand, InvalidPlan, demand
from mdcache.capacity.describe import describe
from mdcache.capacity.plan import CapacityPlan, plan
from mdcache.capacity.refreshes import PlanTerms, Source

__all__ = [
    "COMMON_INTERVALS",
    "CapacityPlan",
    "Demand",
    "InvalidPlan",
    "PlanTerms",
    "Source",
    "demand",
    "describe",
    "plan",
]
