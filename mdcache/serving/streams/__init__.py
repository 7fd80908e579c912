"""Streams out: WebSocket connections of clients, in Binance's form (docs/design.md#listeners)."""
