"""mdcache: a caching daemon in front of Binance's public REST API.

Only the package's version may be here: importing `mdcache` must cost nothing.
"""

__version__ = "0.2.0"
