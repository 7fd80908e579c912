"""Where knowledge is stored: adapters for the ports of `candles`, `cache` and `upstream`, on disk and in Redis."""
