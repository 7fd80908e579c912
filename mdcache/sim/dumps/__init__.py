"""Dump files of the simulated exchange's candles, in the form of data.binance.vision."""
