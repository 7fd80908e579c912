"""`/v1/candles` as Arrow: the rows of JSON, exact, with what it says beside them; and where pyarrow is missing."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.serving.native import arrow_tables
from mdcache.serving.native.arrow_tables import MEDIA_TYPE, ArrowTable
from tests.support.candles_questions import PATH, TWO, get, series, world

pytestmark = pytest.mark.virtual

ARROW = f"{PATH}.arrow"


def table_of(body: bytes) -> Any:
    return pa.ipc.open_stream(body).read_all()


async def test_it_has_the_rows_of_json_with_exact_decimals_and_times_in_utc() -> None:
    w = world(deadline_s=60.0)
    query = f"{TWO}&limit=2500"
    found = await series(w, query)
    reply = await get(w, query, ARROW)
    assert (reply.status, reply.headers["content-type"]) == (200, MEDIA_TYPE)
    table = table_of(reply.body)
    table.validate(full=True)
    rows = [["spot", each["symbol"], each["interval"], *row] for each in found for row in each["rows"]]
    assert table.num_rows == len(rows) == 10_000
    for place, column in enumerate(table.columns):
        sent = [row[place] for row in rows]
        if pa.types.is_timestamp(column.type):
            assert column.type == pa.timestamp("ms", "UTC")
            assert column.cast(pa.int64()).to_pylist() == sent
        elif pa.types.is_decimal(column.type):
            assert column.to_pylist() == list(map(Decimal, sent))
        else:
            assert column.to_pylist() == sent
    assert table.column("open_time")[0].as_py() == datetime.fromtimestamp(rows[0][3] / 1000, UTC)


async def test_it_says_what_json_says_beside_the_rows_and_what_is_left_out() -> None:
    w = world()
    query = "market=spot&symbols=BTCUSDT,NOSUCHUSDT&intervals=1m&limit=3"
    reply = await get(w, query)
    said = json.loads(reply.body)
    assert (await get(w, query, ARROW)).status == 400
    for path in (ARROW, f"{PATH}.csv"):
        partial = await get(w, f"{query}&partial=true", path)
        assert partial.headers["x-mdcache-left-out"] == '"NOSUCHUSDT/1m";code=-1121'
    table = table_of((await get(w, f"{query}&partial=true", ARROW)).body)
    assert table.num_rows == 3
    about = json.loads(table.schema.metadata[b"mdcache"])
    for each in said["series"]:
        each.pop("rows", None)
    assert about == said
    since = await get(w, f"{TWO}&limit=1&since={json.loads((await get(w, f'{TWO}&limit=1')).body)['token']}", ARROW)
    assert since.status == 204


async def test_it_is_chosen_by_name_or_by_what_is_accepted() -> None:
    w = world()
    for path, query, accept in (
        (PATH, "&format=arrow", "application/json"),
        (PATH, "", f"{MEDIA_TYPE}, application/json;q=0.5"),
        (ARROW, "", "*/*"),
    ):
        reply = await get(w, f"{TWO}&limit=2{query}", path, accept=accept)
        assert reply.headers["content-type"] == MEDIA_TYPE
        assert table_of(reply.body).num_rows == 8


async def test_where_it_is_not_installed_an_answer_says_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world()
    monkeypatch.setattr(arrow_tables, "is_installed", lambda: False)
    for path, query, accept in ((PATH, "&format=arrow", "*/*"), (PATH, "", MEDIA_TYPE), (ARROW, "", "*/*")):
        refused = await get(w, f"{TWO}{query}", path, accept=accept)
        assert refused.status == 406
        assert "pip install mdcache[arrow]" in json.loads(refused.body)["msg"]
    assert not w.exchange.log
    other = await get(w, f"{TWO}&limit=2", accept=f"{MEDIA_TYPE}, text/csv;q=0.5")
    assert other.headers["content-type"].startswith("text/csv")


async def test_a_number_that_does_not_fit_ends_the_stream_with_an_error_not_a_wrong_value() -> None:
    w = world()
    ((row,),) = [each["rows"] for each in await series(w, "market=spot&symbols=BTCUSDT&intervals=1m&limit=1")]
    key = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")
    table = ArrowTable([key])
    table.start(b"{}")

    def printed(number: str) -> bytes:
        return json.dumps([row[0], number, *row[2:]], separators=(",", ":")).encode()

    for number in ("0.123456789012345678", "12345678901234567890.5", "0", "-1.5"):
        assert list(table.batches(printed(number), key))
    for number in ("0.1234567890123456789", "123456789012345678901.5", "9" * 22, "NaN", "much", ""):
        with pytest.raises(ValueError, match=r"decimal|Decimal"):
            list(table.batches(printed(number), key))
