"""Connections to Binance's streams: which topics are wanted, and how their frames come (docs/design.md#streams)."""
