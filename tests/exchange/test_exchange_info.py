"""`exchangeInfo`, cut by symbol and permission as spot does it (docs/binance.md#exchange-info)."""

import json
from typing import Any

import pytest

from mdcache.errors import InvalidBody, Refusal
from mdcache.exchange.exchange_info import ExchangeInfoDocument, SymbolSelection, parse_selection
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import DEFAULT_LIMIT, weight_limit
from mdcache.exchange.symbols import MarketSymbols, read_symbols


def symbol(name: str, status: str = "TRADING", *sets: list[str]) -> dict[str, Any]:
    return {"symbol": name, "status": status, "permissions": [], "permissionSets": list(sets)}


SYMBOLS = [
    symbol("BTCUSDT", "TRADING", ["SPOT", "MARGIN"]),
    symbol("ETHUSDT", "HALT", ["SPOT"], ["TRD_GRP_004"]),
    symbol("OLDUSDT", "BREAK", ["TRD_GRP_004"]),
]
BODY = json.dumps(
    {"timezone": "UTC", "serverTime": 1, "rateLimits": [], "symbols": SYMBOLS}, separators=(",", ":")
).encode()


def answer(query: str, time_ms: int = 7, time_unit: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ExchangeInfoDocument(BODY).body(time_ms, parse_selection(query, time_unit)))
    return found


def test_the_whole_list_is_binances_own_but_for_the_time() -> None:
    document = ExchangeInfoDocument(BODY)
    assert document.body(1, SymbolSelection()) == BODY
    assert answer("", 1_700_000_000_000)["serverTime"] == 1_700_000_000_000
    assert answer("", 7, "MICROSECOND")["serverTime"] == 7_000
    assert document.nbytes <= len(BODY)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["BTCUSDT", "ETHUSDT", "OLDUSDT"]),
        ("symbol=ETHUSDT", ["ETHUSDT"]),
        ('symbols=["OLDUSDT","BTCUSDT"]', ["BTCUSDT", "OLDUSDT"]),  # in the list's order
        ("permissions=SPOT", ["BTCUSDT", "ETHUSDT"]),
        ('permissions=["TRD_GRP_004","MARGIN"]', ["BTCUSDT", "ETHUSDT", "OLDUSDT"]),
        ("permissions=SPOT&symbolStatus=HALT", ["ETHUSDT"]),
        ("symbolStatus=BREAK", ["OLDUSDT"]),
    ],
)
def test_the_symbols_that_a_question_names(query: str, names: list[str]) -> None:
    assert [each["symbol"] for each in answer(query)["symbols"]] == names


def test_permission_sets_are_left_out_where_the_question_says_so() -> None:
    shown = answer("permissions=SPOT&showPermissionSets=false")["symbols"]
    assert [each["permissionSets"] for each in shown] == [[], []]
    assert answer("symbol=BTCUSDT&showPermissionSets=false")["symbols"][0]["permissionSets"]  # by permission only


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=NONEUSDT", -1121),
        ("symbol=btcusdt", -1100),
        ('symbol=BTCUSDT&symbols=["BTCUSDT"]', -1128),
        ("symbol=BTCUSDT&symbolStatus=TRADING", -1128),
        ("symbolStatus=SLEEPING", -1122),
        ("showPermissionSets=maybe", -1130),
        ("permissions=a%20b", -1130),
        ("permissions=[]", -1135),
        ('symbols=["A1","A1"]', -1151),
        ("unknown=1", -1104),
    ],
)
def test_what_spot_refuses(query: str, code: int) -> None:
    with pytest.raises(Refusal) as caught:
        answer(query)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("query", "exceeds"),
    [
        ("", False),
        ("permissions=SPOT", False),
        ('permissions=["SPOT","LEVERAGED"]', False),
        ("permissions=TRD_GRP_004", True),
    ],
)
def test_permissions_beyond_the_default_need_another_list(query: str, *, exceeds: bool) -> None:
    assert parse_selection(query, None).exceeds_default is exceeds


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"serverTime":1}', b'{"symbols":null}', b'{"symbols":{}}', b"[" * 5_000]
)
def test_anything_else_is_broken(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        ExchangeInfoDocument(body)


def test_a_document_knows_its_symbols() -> None:
    document = ExchangeInfoDocument(BODY)
    assert document.contains(["BTCUSDT", "OLDUSDT"])
    assert not document.contains(["BTCUSDT", "NONEUSDT"])


# ------------------------------------------------------------------------------- odd entries

ODD_ENTRIES = [
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b'{"status":"TRADING"}',
    b'{"symbol":null,"status":"TRADING"}',
    b'{"symbol":"","status":"TRADING"}',
    b'{"symbol":["BTCUSDT"],"status":"TRADING"}',
    b'{"symbol":"\xff","status":"TRADING"}',
    b'{"symbol":"XUSDT","status":1}',
    b'{"symbol":"XUSDT","status":null,"permissions":null,"permissionSets":null,"pair":null}',
    b'{"symbol":"XUSDT","status":{"a":[]},"permissions":"SPOT","permissionSets":"SPOT","pair":7}',
    b'{"symbol":"XUSDT","permissions":[null,1,["SPOT"]],"permissionSets":[null,1,[null,1]],"contractStatus":[]}',
    b'{"symbol":"XUSDT","permissionSets":[["\xff"]]}',
    b'{"symbol":"XUSDT","baseAsset":"\xff"}',
    b'{"symbol":"XUSDT","symbol":"XUSDT"}',
]


@pytest.mark.parametrize("odd", ODD_ENTRIES)
@pytest.mark.parametrize("place", [0, 1])
def test_one_odd_entry_takes_no_market_down_and_stays_as_printed(odd: bytes, place: int) -> None:
    good = b'{"symbol":"BTCUSDT","status":"TRADING","permissions":["SPOT"],"permissionSets":[["SPOT"]]}'
    entries = b",".join([odd, good] if place else [good, odd])
    body = b'{"serverTime":1,"symbols":[' + entries + b"]}"
    names = read_symbols(Market.SPOT, body, 0)
    assert names.trades("BTCUSDT", by_pair=False)
    document = ExchangeInfoDocument(body)
    assert document.body(1, SymbolSelection()) == body
    alone = b'{"serverTime":1,"symbols":[' + good + b"]}"
    assert document.body(1, parse_selection("symbol=BTCUSDT", None)) == alone
    assert good in document.body(1, parse_selection("symbolStatus=TRADING", None))
    without_sets = document.body(1, parse_selection("permissions=SPOT&showPermissionSets=false", None))
    assert without_sets == alone.replace(b'[["SPOT"]]', b"[]")


@pytest.mark.parametrize("odd", [b'"pair":"\xff"', b'"status":"\xff"', b'"contractStatus":"\xff"', b'"a":"\xff"'])
def test_an_odd_field_takes_nothing_else_of_its_entry_away(odd: bytes) -> None:
    entry = b'{"symbol":"A",' + odd + b',"permissionSets":[["SPOT"]]}'
    body = b'{"symbols":[{"symbol":"B"},' + entry + b"]}"
    assert read_symbols(Market.COINM, body, 0).trading == {"A", "B"}
    assert ExchangeInfoDocument(body).body(1, parse_selection("symbol=A", None)) == b'{"symbols":[' + entry + b"]}"


def test_a_symbol_whose_status_is_odd_may_trade() -> None:
    body = b'{"symbols":[{"symbol":"A","status":1},{"symbol":"B"},{"symbol":"C","status":"HALT"}]}'
    names = read_symbols(Market.SPOT, body, 0)
    assert names.trading == {"A", "B"}


@pytest.mark.parametrize(
    "limits", [b"null", b"7", b'{"a":1}', b'[null,7,{"limit":null}]', b'["\xff"]', b'[{"limit":1e400}]']
)
def test_odd_limits_are_none(limits: bytes) -> None:
    body = b'{"rateLimits":' + limits + b',"symbols":[{"symbol":"A"}]}'
    names = read_symbols(Market.SPOT, body, 0)
    assert weight_limit(Market.SPOT, names.rate_limits) == DEFAULT_LIMIT[Family.SPOT]


@pytest.mark.parametrize(
    "body",
    [
        b'{"symbols":[{"symbol":"A"}],"serverTime":1}',
        b'{ "\\"symbols\\":":"serverTime" ,\n "symbols" : [ { "symbol" : "A" } ] ,"x":{"symbols":7},"serverTime":1}',
        b'{"serverTime":1,"a":1,"b":1,"symbols":[{"symbol":"A"}],"c":[]}',
        b'{"symbols":[{"symbol":"A"}]}',
    ],
)
def test_names_come_in_any_order_and_all_else_is_as_printed(body: bytes) -> None:
    document = ExchangeInfoDocument(body)
    assert document.body(1, SymbolSelection()) == body
    assert json.loads(document.body(5, parse_selection("symbol=A", None))).get("serverTime", 5) == 5


# ------------------------------------------------------------------------------- names of a market


def test_a_name_once_seen_stays_known() -> None:
    gone = frozenset({"GONEUSDT"})
    before = MarketSymbols(names=gone, pairs=gone, trading=gone)
    found = read_symbols(Market.SPOT, BODY, 9).joined_with(before)
    assert found.knows("GONEUSDT", by_pair=True)
    assert found.knows("GONEUSDT", by_pair=False)
    assert not found.trades("GONEUSDT", by_pair=False)
    assert found.trades("BTCUSDT", by_pair=False)
    assert not found.trades("ETHUSDT", by_pair=False)
    assert found.as_of_ms == 9


def test_coinm_has_pairs_and_its_own_word_for_the_status() -> None:
    body = b'{"symbols":[{"symbol":"BTCUSD_PERP","pair":"BTCUSD","contractStatus":"TRADING"}]}'
    found = read_symbols(Market.COINM, body, 0)
    assert found.knows("BTCUSD", by_pair=True)
    assert not found.knows("BTCUSD", by_pair=False)
    assert found.trades("BTCUSD_PERP", by_pair=False)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"symbols":[]}', b'{"symbols":[{"name":"A"}]}'])
def test_a_body_without_symbols_is_broken(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        read_symbols(Market.SPOT, body, 0)
