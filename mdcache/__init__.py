"""mdcache: a caching gateway in front of Binance's public market data.

Only the package's version may be here: importing `mdcache` must cost nothing.
"""

__version__ = "0.2.0"
