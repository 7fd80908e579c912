"""Bytes in, bytes out: the Binance-compatible paths, the operators' paths, and the server under them."""
