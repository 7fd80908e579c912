"""Candles as tables of Arrow, Polars and pandas: types, exactness, and what is said where a library is missing."""

import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mdcache.client import Candle, Candles, Series

MS = 1_793_795_340_000
PRICES = ("18611.53000000", "18612.00000000", "0.00000001", "123456789012.12345678")
CANDLE = Candle(
    *("spot", "BTCUSDT", "1m", MS),
    *PRICES,
    volume="3.18406000",
    close_time=MS + 59_999,
    quote_volume="59254.94071800",
    trades=211,
    taker_buy_volume="1.60513000",
    taker_buy_quote_volume="29871.02514300",
    closed=True,
)
ANSWER = Candles("token", (Series("spot", "BTCUSDT", "1m", MS, stale=False, etag="", rows=[CANDLE, CANDLE]),), {})
EMPTY = Candles("token", (), {})
NUMBERS = [name for name, value in zip(Candle._fields[4:], CANDLE[4:], strict=True) if isinstance(value, str)]


def rows_of(frame: Any) -> list[tuple[Any, ...]]:
    if hasattr(frame, "to_pylist"):
        return [tuple(row.values()) for row in frame.to_pylist()]
    return [tuple(row) for row in (frame.rows() if hasattr(frame, "rows") else frame.itertuples(index=False))]


@pytest.mark.parametrize("make", ["to_arrow", "to_polars", "to_pandas"])
def test_times_are_moments_and_numbers_are_floats_or_exact(make: str) -> None:
    moment = datetime.fromtimestamp(MS / 1000, UTC)
    for exact, kind in ((False, float), (True, Decimal)):
        first, second = rows_of(getattr(ANSWER, make)(exact=exact))
        assert first == second
        found = dict(zip(Candle._fields, first, strict=True))
        assert found["open_time"] == moment
        assert found["close_time"] == moment + timedelta(milliseconds=59_999)
        assert [found[name] for name in ("market", "symbol", "interval", "trades", "closed")] == [
            *("spot", "BTCUSDT", "1m", 211, True)
        ]
        for name in NUMBERS:
            assert type(found[name]) is kind
            assert found[name] == kind(getattr(CANDLE, name))


@pytest.mark.parametrize("exact", [False, True])
def test_no_rows_have_the_same_types(exact: bool) -> None:
    assert EMPTY.to_arrow(exact=exact).schema == ANSWER.to_arrow(exact=exact).schema
    assert EMPTY.to_polars(exact=exact).schema == ANSWER.to_polars(exact=exact).schema
    assert EMPTY.to_pandas(exact=exact).dtypes.to_dict() == ANSWER.to_pandas(exact=exact).dtypes.to_dict()


def test_the_types_of_each() -> None:
    import polars as pl
    import pyarrow as pa

    arrow, polars, pandas = ANSWER.to_arrow(exact=True), ANSWER.to_polars(exact=True), ANSWER.to_pandas()
    assert arrow.schema.field("open_time").type == pa.timestamp("ms", "UTC")
    assert arrow.schema.field("close").type == pa.decimal128(38, 18)
    assert polars.schema["open_time"] == pl.Datetime("ms", "UTC")
    assert polars.schema["close"] == pl.Decimal(38, 18)
    assert str(pandas["open_time"].dtype) == "datetime64[ms, UTC]"
    assert [str(pandas[name].dtype) for name in ("close", "trades", "closed")] == ["float64", "int64", "bool"]


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [("to_arrow", "pyarrow", "arrow"), ("to_polars", "polars", "polars"), ("to_pandas", "pandas", "pandas")],
)
def test_a_missing_library_is_named_with_its_extra(
    make: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'mdcache\[{extra}\]'"):
        getattr(ANSWER, make)()
