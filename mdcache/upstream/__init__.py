"""The only way to Binance: gate, budget and lanes decide; governor, rest and clocksync act.

httpx and tenacity are imported in this package and nowhere else.
"""
