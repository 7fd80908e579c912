"""mdcache: a gateway between a trading stack and Binance's public market data.

Nothing but the package's version may live here: importing `mdcache` must cost nothing.
"""

__version__ = "0.1.0"
