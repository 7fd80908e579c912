"""The only way to Binance: gate, budget and queue decide; scheduler, sender and HTTP client act, behind the governor.

httpx and tenacity are imported in this package and nowhere else.
"""
