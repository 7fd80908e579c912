"""What we know about a series, as values and pure functions: blocks, coverage, tail, plan, freshness.

No clock, no I/O: whoever calls hands in the exchange's time. Imports `exchange` and the leaves only.
"""
