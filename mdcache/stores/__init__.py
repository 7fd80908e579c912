"""Stores on disk and in Redis: adapters for the ports that `candles`, `cache` and `upstream` declare."""
