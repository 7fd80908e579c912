"""The HTTP side of the daemon: the Binance-compatible paths, the operators' paths, and the server under them."""
