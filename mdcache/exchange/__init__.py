"""Binance's rules, as pure values and functions: markets, intervals, questions, rows, weights, limits, symbols.

No clock, no I/O, and no imports of ours except the leaves. Facts carry their source.
"""
