"""Connections to Binance's streams: which topics are wished, and how their frames come (docs/design.md#streams)."""
