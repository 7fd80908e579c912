"""Columns of candles as tables of Arrow, Polars and pandas: each comes with an extra, and is imported when asked for.

Times are UTC. Numbers that Binance sends as text are 64-bit floats, or with `exact` decimals that nothing is lost of.
"""

import importlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

Columns = Mapping[str, Sequence[Any]]
DIGITS, PLACES = 38, 18  # of a decimal, as `/v1/candles.arrow` has them
_TEXTS = frozenset({"market", "symbol", "interval"})
_TIMES = frozenset({"open_time", "close_time"})
_COUNT, _FLAG = "trades", "closed"


def to_arrow(columns: Columns, *, exact: bool) -> "pa.Table":
    """Return a table of Arrow; raise `ImportError` without pyarrow."""
    arrow = _imported("pyarrow", "arrow")
    number = arrow.decimal128(DIGITS, PLACES) if exact else arrow.float64()

    def typed(name: str, values: Sequence[Any]) -> Any:  # noqa: ANN401 - of a library that may not be there
        if name in _TIMES:
            return arrow.array(values, arrow.int64()).cast(arrow.timestamp("ms", "UTC"))
        if name in {_COUNT, _FLAG}:
            return arrow.array(values, arrow.int64() if name == _COUNT else arrow.bool_())
        texts = arrow.array(values, arrow.utf8())
        return texts if name in _TEXTS else texts.cast(number)

    table: pa.Table = arrow.table({name: typed(name, values) for name, values in columns.items()})
    return table


def to_polars(columns: Columns, *, exact: bool) -> "pl.DataFrame":
    """Return a frame of Polars; raise `ImportError` without it."""
    polars = _imported("polars", "polars")
    types = dict.fromkeys(columns, polars.Decimal(DIGITS, PLACES) if exact else polars.Float64)
    types |= dict.fromkeys(_TEXTS, polars.String) | dict.fromkeys(_TIMES, polars.Datetime("ms", "UTC"))
    types |= {_COUNT: polars.Int64, _FLAG: polars.Boolean}
    sent = (
        dict.fromkeys(columns, polars.String) | dict.fromkeys({*_TIMES, _COUNT}, polars.Int64) | {_FLAG: polars.Boolean}
    )
    frame: pl.DataFrame = polars.DataFrame(columns, schema=sent).cast(types)
    return frame


def to_pandas(columns: Columns, *, exact: bool) -> "pd.DataFrame":
    """Return a frame of pandas, with decimals as objects; raise `ImportError` without it."""
    pandas = _imported("pandas", "pandas")

    def typed(name: str, values: Sequence[Any]) -> Any:  # noqa: ANN401 - of a library that may not be there
        if name in _TIMES:
            return pandas.Series(values, dtype="int64").astype("datetime64[ms, UTC]")
        if name in _TEXTS:
            return pandas.Series(values, dtype="str")
        if name in {_COUNT, _FLAG}:
            return pandas.Series(values, dtype="int64" if name == _COUNT else "bool")
        if exact:
            return pandas.Series(list(map(Decimal, values)), dtype="object")
        return pandas.Series(list(map(float, values)), dtype="float64")

    frame: pd.DataFrame = pandas.DataFrame({name: typed(name, values) for name, values in columns.items()})
    return frame


def _imported(module: str, extra: str) -> Any:  # noqa: ANN401 - as above
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs {module}: pip install 'mdcache[{extra}]'") from error
