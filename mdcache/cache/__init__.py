"""The data path: answer questions from what is cached, and fetch from Binance what is missing."""
