"""Candles in Polars, cell by cell, as notebooks and editors run it: volatility, and how two markets move together.

pip install 'mdcache[polars]'
python examples/notebook.py http://127.0.0.1:8700
"""

# %% Ask: one question for all series, closed candles only, at most a minute old.
import sys

import polars as pl

from mdcache.client import Client

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8700"
with Client(URL) as mdcache:
    answer = mdcache.candles("spot", ["BTCUSDT", "ETHUSDT"], ["1h"], limit=200, closed=True, max_age_s=60)
frame = answer.to_polars()
print(frame.select("symbol", "open_time", "open", "high", "low", "close", "volume").tail(4))

# %% The return of each hour, and its spread over a day.
returns = frame.sort("symbol", "open_time").with_columns(
    change=pl.col("close").log().diff().over("symbol"),
)
spread = returns.with_columns(spread=pl.col("change").rolling_std(24).over("symbol"))
print(spread.group_by("symbol", maintain_order=True).agg(pl.col("spread").last()))

# %% How the two move together.
wide = returns.pivot("symbol", index="open_time", values="change").drop_nulls()
print(wide.select(pl.corr("BTCUSDT", "ETHUSDT").alias("correlation")))

# %% The exact numbers, where a rounded one won't do.
exact = answer.to_polars(exact=True)
print(exact.group_by("symbol", maintain_order=True).agg(pl.col("quote_volume").sum()))
