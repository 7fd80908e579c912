"""The paths that answer as Binance does: requests read, answers found or fetched, headers written."""
