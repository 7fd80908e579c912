"""Everything known about a series, as values and pure functions: blocks, coverage, tail, plan, merge, freshness.

No clock and no I/O: callers pass the exchange's time. Imports `exchange` and the leaves only.
"""
