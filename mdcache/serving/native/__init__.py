"""The native API, `/v1`: what is not Binance's own form (docs/streams.md#events)."""
