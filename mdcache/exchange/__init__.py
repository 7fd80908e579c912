"""What Binance is, as pure values and functions: markets, intervals, questions, rows, weights, limits, symbols.

No clock, no I/O, and no import of ours but the leaves. Facts carry their source.
"""
