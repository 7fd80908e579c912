"""Candles computed from a seed: what happened in any stretch of time, and how it is printed. No HTTP."""
