"""Compute candles from a seed for any span of time, and print them. No HTTP."""
