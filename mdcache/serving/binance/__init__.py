"""The Binance-compatible paths: parse requests, find or fetch answers, write headers."""
