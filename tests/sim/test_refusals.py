"""Every question Binance refuses is refused with its code, its message and its status."""

import json

import pytest

from tests.sim.helpers import DAY, T0, Sim, header

SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
GOOD = {
    SPOT: "symbol=BTCUSDT&interval=1m",
    USDM: "symbol=BTCUSDT&interval=1m",
    COINM: "symbol=BTCUSD_PERP&interval=1m",
}
NUMBERS = "'; legal range is '^[0-9]{1,20}$'."
MISSING = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."
PAIRS = "/fapi/v1/continuousKlines"


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ("&interval=1m", -1101, "Duplicate values for a parameter detected."),
        ("&limit=", -1105, "Parameter 'limit' was empty."),
        ("&startTime=", -1105, "Parameter 'startTime' was empty."),
        ("&limit=abc", -1100, "Illegal characters found in parameter 'limit" + NUMBERS),
        ("&limit=-1", -1100, "Illegal characters found in parameter 'limit" + NUMBERS),
        ("&startTime=1.5", -1100, "Illegal characters found in parameter 'startTime" + NUMBERS),
        ("&endTime=" + 21 * "1", -1100, "Illegal characters found in parameter 'endTime" + NUMBERS),
        ("&limit=0", -1130, "Data sent for parameter 'limit' is not valid."),
    ],
)
def test_all_markets(sim: Sim, path: str, more: str, code: int, message: str) -> None:
    assert sim.error(path, GOOD[path] + more) == (400, code, message)


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", -1102, MISSING.format("symbol")),
        ("interval=1m", -1102, MISSING.format("symbol")),
        ("symbol=BTCUSDT", -1102, MISSING.format("interval")),
        ("symbol=&interval=1m", -1105, "Parameter 'symbol' was empty."),
        ("symbol=NOPE&interval=1m", -1121, "Invalid symbol."),
        ("symbol=NOPE&interval=2m", -1120, "Invalid interval."),
        ("symbol=BTCUSDT&interval=1D", -1120, "Invalid interval."),
        ("symbol=BTCUSDT&interval=1mo", -1120, "Invalid interval."),
    ],
)
def test_names_and_intervals(sim: Sim, path: str, query: str, code: int, message: str) -> None:
    assert sim.error(path, query) == (400, code, message)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ("&star_time=1", -1104, "Not all sent parameters were read; read '2' parameter(s) but was sent '3'."),
        ("&timeZone=15", -1130, "Data sent for parameter 'timeZone' is not valid."),
        ("&timeZone=+08:00", -1130, "Data sent for parameter 'timeZone' is not valid."),
    ],
)
def test_spot_only(sim: Sim, more: str, code: int, message: str) -> None:
    assert sim.error(SPOT, GOOD[SPOT] + more) == (400, code, message)
    assert sim.get(USDM, GOOD[USDM] + more).status == 200


def test_spot_symbols_are_upper_case(sim: Sim) -> None:
    legal = r"^[\w\-._&&[^a-z]]{1,50}$"
    message = f"Illegal characters found in parameter 'symbol'; legal range is '{legal}'."
    assert sim.error(SPOT, "symbol=btcusdt&interval=1m") == (400, -1100, message)
    assert rb"^[\\w\\-._&&[^a-z]]{1,50}$" in sim.get(SPOT, "symbol=btcusdt&interval=1m").body
    assert sim.error(SPOT, f"symbol={51 * 'A'}&interval=1m")[1] == -1100
    assert sim.get(SPOT, "symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&interval=1m").status == 200


def test_futures_take_lower_case(sim: Sim) -> None:
    assert sim.get(USDM, "symbol=btcusdt&interval=1m").body == sim.get(USDM, GOOD[USDM]).body
    assert sim.error(USDM, "symbol=BTC/USDT&interval=1m")[2].endswith("legal range is '^[A-Z0-9-_.]{1,20}$'.")


def test_spot_time_units(sim: Sim) -> None:
    message = "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
    for path in (SPOT, "/api/v3/time", "/api/v3/exchangeInfo"):
        query = GOOD.get(path, "")
        assert sim.error(path, query, x_mbx_time_unit="NANOSECOND") == (400, -1194, message)
    assert sim.get(USDM, GOOD[USDM], x_mbx_time_unit="NANOSECOND").status == 200


def test_the_binary_format_is_off(sim: Sim) -> None:
    for path in ("/api/v3/time", SPOT):
        assert sim.error(path, GOOD.get(path, ""), accept="application/sbe") == (406, -1155, "SBE is not enabled.")
    for accept in ("application/sbe, application/json", "*/*"):
        assert sim.get(SPOT, GOOD[SPOT], accept=accept).status == 200
    assert sim.get("/fapi/v1/klines", GOOD["/fapi/v1/klines"], accept="application/sbe").status == 200


def test_microseconds(sim: Sim) -> None:
    plain = json.loads(sim.get(SPOT, GOOD[SPOT], x_mbx_time_unit="millisecond").body)
    micros = json.loads(sim.get(SPOT, GOOD[SPOT], X_MBX_TIME_UNIT="MICROSECOND").body)
    assert [(row[0], row[6]) for row in micros] == [(row[0] * 1000, row[6] * 1000 + 999) for row in plain]
    assert [row[1:6] + row[7:] for row in micros] == [row[1:6] + row[7:] for row in plain]
    assert sim.get("/api/v3/time", x_mbx_time_unit="microsecond").body == b'{"serverTime":%d}' % (sim.now * 1000)


def test_spot_reads_times_in_either_unit(sim: Sim) -> None:
    one = sim.rows(GOOD[SPOT] + f"&startTime={T0}&endTime={T0 + 120_000}")
    assert sim.rows(GOOD[SPOT] + f"&startTime={T0 * 1000}&endTime={(T0 + 120_000) * 1000 + 999}") == one
    assert sim.rows(GOOD[SPOT] + f"&startTime={T0 * 1000 + 1}&endTime={(T0 + 120_000) * 1000}") == one[1:]


def test_limits(sim: Sim) -> None:
    assert len(sim.rows(GOOD[SPOT])) == len(sim.rows(GOOD[USDM], USDM)) == 500
    assert len(sim.rows(GOOD[SPOT] + "&limit=5000")) == 1000
    assert len(sim.rows(GOOD[SPOT] + "&limit=" + 20 * "9")) == 1000
    assert len(sim.rows(GOOD[USDM] + "&limit=1500", USDM)) == 1500
    message = "Data sent for parameter 'limit' is not valid."
    assert sim.error(USDM, GOOD[USDM] + "&limit=1501") == (400, -1130, message)
    assert sim.error(COINM, GOOD[COINM] + "&limit=1501") == (400, -1130, message)
    assert sim.error(USDM, "symbol=BTCUSDT&interval=1s") == (400, -1120, "Invalid interval.")


def test_start_after_end(sim: Sim) -> None:
    window = f"&startTime={T0}&endTime={T0 - 1}"
    assert sim.rows(GOOD[SPOT] + window) == []
    for path in (USDM, COINM, "/dapi/v1/premiumIndexKlines"):
        query = GOOD.get(path, GOOD[COINM]) + window
        assert sim.error(path, query) == (400, -1023, "Start time is greater than end time.")


def test_pairs_and_contracts(sim: Sim) -> None:
    assert sim.error(PAIRS, "interval=1m") == (400, -1102, MISSING.format("pair"))
    assert sim.error(PAIRS, "pair=BTCUSDT&interval=1m") == (400, -1102, MISSING.format("contractType"))
    good = "&contractType=PERPETUAL&interval=1m"
    assert sim.error(PAIRS, "pair=NOPE" + good) == (400, -4144, "Invalid pair")
    assert sim.error("/dapi/v1/continuousKlines", "pair=NOPE" + good) == (400, -4087, "Invalid pair.")
    assert sim.error("/dapi/v1/indexPriceKlines", "pair=BTCUSD_PERP&interval=1m") == (
        400,
        -4087,
        "Invalid pair.",
    )
    assert sim.error(PAIRS, "pair=BTCUSDT&contractType=WEEKLY&interval=1m") == (
        400,
        -4104,
        "Invalid contract type",
    )
    coin = "pair=BTCUSD&contractType=TRADIFI_PERPETUAL&interval=1m"
    assert sim.error("/dapi/v1/continuousKlines", coin)[1] == -4104
    assert sim.rows("pair=BTCUSDT&contractType=NEXT_QUARTER&interval=1m", PAIRS) == []
    assert sim.rows("pair=btcusdt" + good, PAIRS) == sim.rows(GOOD[USDM], USDM)
    quarter = sim.rows("pair=BTCUSDT&contractType=CURRENT_QUARTER&interval=1h", PAIRS)
    assert quarter == sim.rows("symbol=BTCUSDT_231229&interval=1h", USDM) != []


def test_spot_windows(sim: Sim) -> None:
    base = "symbol=BTCUSDT&interval=1h"
    every = sim.rows(base + "&startTime=0&limit=1000")
    newest = sim.rows(base + "&limit=5")
    opens = [row[0] for row in newest]
    assert sim.rows(f"{base}&startTime={opens[0]}&endTime={opens[-1]}") == newest
    assert sim.rows(f"{base}&startTime={opens[0] - 1}&endTime={opens[-1] + 1}") == newest
    assert sim.rows(f"{base}&startTime={opens[0] + 1}&endTime={opens[-1] - 1}") == newest[1:-1]
    assert sim.rows(f"{base}&startTime={opens[1]}&endTime={opens[1]}") == [newest[1]]
    assert sim.rows(f"{base}&startTime={opens[0]}&endTime={opens[-1]}&limit=2") == newest[:2]
    assert sim.rows(f"{base}&endTime={opens[-2]}&limit=2") == newest[2:4]
    assert sim.rows(f"{base}&startTime=0&limit=1") == every[:1]
    assert sim.rows(f"{base}&startTime={sim.now + 1}") == []
    assert sim.rows(f"{base}&startTime={20 * '9'}") == []
    assert sim.rows(f"{base}&limit=5&endTime={20 * '9'}") == newest
    assert sim.rows(f"{base}&endTime=0") == []


def test_coinm_windows_count_back_from_their_end(sim: Sim) -> None:
    base, day = GOOD[COINM].replace("1m", "1d"), DAY
    assert len(sim.rows(base, COINM)) == 200
    assert len(sim.rows(base + "&limit=1000", COINM)) == 200
    opens = [row[0] for row in sim.rows(f"{base}&startTime={T0 - 600 * day}&limit=3", COINM)]
    assert opens == [T0 - 402 * day, T0 - 401 * day, T0 - 400 * day]
    opens = [row[0] for row in sim.rows(f"{base}&endTime={T0 - 300 * day}&limit=1000", COINM)]
    assert (opens[0], opens[-1], len(opens)) == (T0 - 500 * day, T0 - 300 * day, 201)
    both = f"{base}&startTime={T0 - 100 * day}&endTime={T0 + 100 * day}"
    assert sim.rows(both + "&limit=2", COINM)[-1][0] == T0
    message = "Invalid time interval; Maximum time interval is 200 days."
    assert sim.error(COINM, both + "1") == (400, -4088, message)
    assert sim.rows(f"{base}&startTime={T0 + day}", COINM) == []
    premium = sim.rows(f"{base}&startTime=0&limit=2", "/dapi/v1/premiumIndexKlines")
    assert premium[0][0] == T0 - 900 * day


def test_unknown_paths(sim: Sim) -> None:
    assert (sim.get("/api/v3/nope").status, sim.get("/api/v3/nope").body) == (404, b"")
    page = sim.get("/api/v3/nope", Accept="text/html,*/*")
    assert page.body == b"<html><body><h2>404 Not found</h2></body></html>"
    assert header(page, "content-type") == "text/html"
    assert sim.error("/fapi/v1/nope") == (404, -5000, "Path /fapi/v1/nope, Method GET is invalid")
    assert sim.get("/elsewhere").status == 404
    assert json.loads(sim.exchange.respond("POST", "/fapi/v1/klines", "", {}).body)["code"] == -5000


def test_small_answers(sim: Sim) -> None:
    assert sim.get("/api/v3/ping").body == sim.get("/fapi/v1/ping", "x=1").body == b"{}"
    assert sim.get("/dapi/v1/time").body == b'{"serverTime":%d}' % sim.now
    assert sim.error("/api/v3/ping", "x=1")[1] == -1104


def test_spot_exchange_info(sim: Sim) -> None:
    info = json.loads(sim.get("/api/v3/exchangeInfo").body)
    assert list(info) == ["timezone", "serverTime", "rateLimits", "exchangeFilters", "symbols"]
    assert info["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000,
    }  # fmt: skip
    status = {symbol["symbol"]: symbol["status"] for symbol in info["symbols"]}
    assert status == {"BTCUSDT": "TRADING", "QUIETUSDT": "TRADING", "OLDUSDT": "BREAK", "NEWUSDT": "TRADING",
                      "币安人生USDT": "TRADING"}  # fmt: skip
    assert info["symbols"][0]["baseAsset"] == "BTC"

    def names(query: str) -> list[str]:
        return [one["symbol"] for one in json.loads(sim.get("/api/v3/exchangeInfo", query).body)["symbols"]]

    assert names("symbol=OLDUSDT") == ["OLDUSDT"]
    assert names('symbols=["BTCUSDT","NEWUSDT"]') == ["BTCUSDT", "NEWUSDT"]
    assert names("symbols=%5B%22BTCUSDT%22%5D") == ["BTCUSDT"]
    assert names("symbolStatus=BREAK") == ["OLDUSDT"]
    bare = json.loads(sim.get("/api/v3/exchangeInfo", "symbol=BTCUSDT&showPermissionSets=false").body)
    assert (info["symbols"][0]["permissionSets"], bare["symbols"][0]["permissionSets"]) == ([["SPOT"]], [])
    for query, code in (
        ("symbol=NOPE", -1121), ("symbols=[x", -1135), ("symbols=[1]", -1135), ('symbols=["BTCUSDT","BTCUSDT"]', -1151),
        ('symbol=BTCUSDT&symbols=["BTCUSDT"]', -1128), ("symbol=BTCUSDT&symbolStatus=BREAK", -1128),
        ("symbolStatus=NOPE", -1122), ("x=1", -1104), ("symbol=btcusdt", -1100), ("symbol=", -1105),
    ):  # fmt: skip
        assert sim.error("/api/v3/exchangeInfo", query)[:2] == (400, code), query


def test_futures_exchange_info(sim: Sim) -> None:
    usdm = json.loads(sim.get("/fapi/v1/exchangeInfo", "symbol=IGNORED").body)
    assert list(usdm) == [
        "timezone", "serverTime", "futuresType", "rateLimits", "exchangeFilters", "assets", "symbols",
    ]  # fmt: skip
    assert [(one["symbol"], one["pair"], one["contractType"], one["status"]) for one in usdm["symbols"]] == [
        ("BTCUSDT", "BTCUSDT", "PERPETUAL", "TRADING"),
        ("BTCUSDT_231229", "BTCUSDT", "CURRENT_QUARTER", "TRADING"),
    ]
    coinm = json.loads(sim.get("/dapi/v1/exchangeInfo").body)
    assert coinm["symbols"][0]["contractStatus"] == "TRADING"
    assert coinm["symbols"][0]["contractSize"] == 100
    assert coinm["rateLimits"][0]["limit"] == usdm["rateLimits"][0]["limit"] == 2400


def test_content_types(sim: Sim) -> None:
    assert header(sim.get(SPOT, GOOD[SPOT]), "content-type") == "application/json;charset=UTF-8"
    assert header(sim.get(SPOT, ""), "content-type") == "application/json;charset=UTF-8"
    assert header(sim.get(USDM, GOOD[USDM]), "content-type") == "application/json"
