"""Binance's public dump files: which there are, how they are fetched, and the rows in them (docs/dumps.md)."""
