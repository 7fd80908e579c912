"""A played profile: each fact shows in the simulator's answers, and without it they are other ones."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mdcache.exchange.facts import FACTS
from mdcache.sim import SimConfig, SymbolSpec
from mdcache.sim.config import Market
from mdcache.sim.played_facts import PLAYED, PlayedFacts, load_facts
from tests.sim.helpers import BUSY, COIN, DAY, HALTED, HOUR, MINUTE, PERP, QUIET, SECOND, T0, WORLD, Sim
from tests.sim.stream_listener import Listener

Check = Callable[[Sim], bool]
PATHS = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
NAMES = {"spot": BUSY.symbol, "usdm": PERP.symbol, "coinm": COIN.symbol}
QUIETS = {"spot": QUIET.symbol, "usdm": "QUIETUSDT", "coinm": "QUIETUSD_PERP"}
HALTS = {"spot": HALTED.symbol, "usdm": "OLDUSDT", "coinm": "OLDUSD_PERP"}
ROUTES = {"spot": "", "usdm": "/usdm/market", "coinm": "/coinm"}
BETWEEN = T0 + 7 * HOUR + 30 * SECOND


def futures(spec: SymbolSpec, market: Market) -> SymbolSpec:
    name = {"usdm": "USDT", "coinm": "USD_PERP"}[market]
    symbol, pair = spec.symbol.replace("USDT", name), spec.symbol.replace("USDT", name.partition("_")[0])
    halted = {} if spec.halted_ms is None else {"status": "SETTLING"}
    return replace(spec, market=market, symbol=symbol, pair=pair, contract_type="PERPETUAL", price="20000",
                   price_decimals=1, quantity_decimals=0, **halted)  # type: ignore[arg-type]  # fmt: skip


FUTURES: tuple[Market, ...] = ("usdm", "coinm")
PLACES = (
    *(replace(spec, trades_per_day=2_000_000) if spec is COIN else spec for spec in WORLD),
    *(futures(spec, market) for spec in (QUIET, HALTED) for market in ("usdm", "coinm")),
)


def sim(facts: Mapping[str, object]) -> Sim:
    return Sim(now=BETWEEN, config=SimConfig(symbols=PLACES, facts=PlayedFacts(facts)))


def said(found: Sim, path: str, query: str, **headers: str) -> str:
    """Return how a question is answered, as a profile states it."""
    reply = found.get(path, query, client="asks", **headers)
    if reply.status == 200:
        return "accepted"
    refusal = json.loads(reply.body)
    return f"{refusal['code']} {refusal['msg']}"


def opens(found: Sim, market: str, query: str = "", *, kind: str = "klines", symbol: str = "") -> list[int]:
    asked = f"symbol={symbol or NAMES[market]}&interval=1m&limit=5{query}"
    return [row[0] for row in found.rows(asked, PATHS[market] + kind)]


def minute(ago: int) -> int:
    return BETWEEN // MINUTE * MINUTE - ago * MINUTE


def used(found: Sim, path: str, query: str = "", *, client: str = "weighs", host: str = "") -> int:
    headers = dict(found.get(path, query, client, Host=host).headers)
    return int(headers["x-mbx-used-weight-1m"])


def final_event(found: Sim, market: str, symbol: str = "", until: int = 10) -> tuple[Any, int]:
    """Return the final frame of the minute that ends next, and how late it came."""
    topic = f"{(symbol or NAMES[market]).lower()}@kline_1m"
    listener = Listener(found, f"{ROUTES[market]}/ws/{topic}").listen(30 + until)
    finals = [event for event in listener.events if event["k"]["x"]]
    return (finals[0], finals[0]["E"] - finals[0]["k"]["T"] - 1) if finals else (None, 0)


def events(found: Sim, path: str, seconds: float) -> list[Any]:
    return Listener(found, path).listen(seconds).events


def tickers(found: Sim, market: str, seconds: float = 10) -> list[tuple[int, set[str]]]:
    heard = events(found, f"{ROUTES[market]}/ws/!miniTicker@arr", seconds)
    return [(each[0]["E"], {one["s"] for one in each}) for each in heard]


def closes(market: str) -> Iterator[tuple[str, object, Check]]:
    path, name = PATHS[market], NAMES[market]

    def row(found: Sim, ms: int) -> list[Any]:
        found.now = ms
        return found.rows(f"symbol={name}&interval=1m&endTime={minute(1)}&limit=1", path + "klines")[0]

    def date_is_ahead(found: Sim) -> bool:
        headers = dict(found.get(f"{path}ping").headers)
        return "07:00:35" in headers["Date"]

    def final_row_is_late(found: Sim) -> bool:
        at_ms = minute(0)
        return row(found, at_ms + 4_900) != row(found, at_ms + 5_100) == row(found, at_ms + 60_000)

    def rows_without_trades_are_left_out(found: Sim) -> bool:
        asked = f"symbol={QUIETS[market]}&interval=1m&limit=100"
        newest = found.rows(asked, f"{path}klines")
        oldest = found.rows(f"{asked}&startTime={minute(600)}", f"{path}klines")
        return all(len(rows) == 100 and all(row[8] for row in rows) for rows in (newest, oldest))

    yield "date_ahead_ms", 5_000, date_is_ahead
    yield "final_row_lag_ms", 5_000, final_row_is_late
    yield "zero_trade_rows", False, rows_without_trades_are_left_out


def streams(market: str) -> Iterator[tuple[str, object, Check]]:
    path, name = PATHS[market], NAMES[market]

    def final_frame_is_late(found: Sim) -> bool:
        return 5_000 <= final_event(found, market)[1] < 5_050

    def frame_differs(found: Sim) -> bool:
        event, _ = final_event(found, market)
        last = found.rows(f"symbol={name}&interval=1m&endTime={event['k']['t']}&limit=1", path + "klines")[0]
        return bool(event["k"]["n"] == last[8] - 1)

    def comes_each_second(found: Sim) -> bool:
        found.now = minute(0) + 5_000
        heard = [each["E"] for each in events(found, f"{ROUTES[market]}/ws/{name.lower()}@kline_1m", 20)]
        return 15 <= len(heard) <= 25

    def tickers_come_each_four_seconds(found: Sim) -> bool:
        times = [at_ms for at_ms, _ in tickers(found, market, 20)]
        return {later - one for one, later in pairwise(times)} == {4_000}

    def a_busy_symbol_is_left_out(found: Sim) -> bool:
        return any(name not in listed for _, listed in tickers(found, market))

    def a_quiet_symbol_is_listed(found: Sim) -> bool:
        return all(QUIETS[market] in listed for _, listed in tickers(found, market))

    def a_quiet_topic_sends(found: Sim) -> bool:
        quiet = f"{ROUTES[market]}/ws/{QUIETS[market].lower()}@kline_1m"
        return len(events(found, quiet, 20)) > 7

    yield "final_frame_lag_ms", 5_000, final_frame_is_late
    yield "frames_equal_rows", False, frame_differs
    yield "frame_cadence_ms", 1_000, comes_each_second
    yield "mini_tickers_cadence_ms", 4_000, tickers_come_each_four_seconds
    yield "mini_tickers_list_traded", False, a_busy_symbol_is_left_out
    yield "mini_tickers_list_untraded", True, a_quiet_symbol_is_listed
    yield "quiet_topics", "frames", a_quiet_topic_sends
    if market != "spot":
        without_route, wanted = f"/{market}/ws/{name.lower()}@kline_1m", market == "usdm"
        route = "none" if wanted else "market"
        yield "stream_route", route, lambda found: bool(events(found, without_route, 5)) is wanted
    else:
        yield "seconds_cadence_ms", 250, lambda found: len(events(found, f"/ws/{name.lower()}@kline_1s", 10)) > 25


def weights(market: str) -> Iterator[tuple[str, object, Check]]:
    path, name = PATHS[market], NAMES[market]
    kinds = ["klines", "uiKlines"] if market == "spot" else ["klines", "markPriceKlines", "premiumIndexKlines"]
    pairs = [] if market == "spot" else ["continuousKlines", "indexPriceKlines"]
    pair = name.partition("_")[0]

    def costs(kind: str) -> Check:
        about = f"pair={pair}&contractType=PERPETUAL" if kind in pairs else f"symbol={name}"
        return lambda found: used(found, path + kind, f"{about}&interval=1m&limit=7") == 12

    for kind in (*kinds, *pairs):
        yield f"{kind}_weights", {"99": 12, "1000": 14}, costs(kind)

    def limit_is(found: Sim) -> bool:
        listed = found.answer(f"{path}exchangeInfo")["rateLimits"]
        shown = next(each["limit"] for each in listed if each["rateLimitType"] == "REQUEST_WEIGHT")
        refused = [found.get(f"{path}ping", client="many").status for _ in range(301)][-1]
        return (shown, refused) == (300, 429)

    def refused_question_is_charged(found: Sim) -> bool:
        return used(found, f"{path}klines", "symbol=NOSUCH&interval=1m&limit=5") > 0

    yield "weight_limit", 300, limit_is
    yield "weight_header", False, lambda found: "x-mbx-used-weight-1m" not in dict(found.get(f"{path}ping").headers)
    charged = market == "spot"
    yield "refusals_weigh", charged, lambda found: refused_question_is_charged(found) is charged
    if market == "spot":

        def hosts_count_apart(found: Sim) -> bool:
            return [used(found, f"{path}ping", host=host) for host in ("a", "b", "a")] == [1, 1, 2]

        yield "data_host_shares_weight", False, hosts_count_apart
    if market == "usdm":
        yield (
            "coinm_shares_weight",
            False,
            lambda found: [used(found, f"{PATHS[one]}ping") for one in ("usdm", "coinm", "usdm")] == [1, 1, 2],
        )


def ranges(market: str) -> Iterator[tuple[str, object, Check]]:
    coinm, path, name = market == "coinm", PATHS[market], NAMES[market]
    newest, oldest = [minute(ago) for ago in range(4, -1, -1)], [minute(20 - ago) for ago in range(5)]
    start, end = f"&startTime={minute(20)}", f"&endTime={minute(3)}"
    first = BUSY.listed_ms if market == "spot" else PERP.listed_ms
    other = "oldest" if coinm else "newest"

    def refused(query: str) -> Check:
        return lambda found: said(found, f"{path}klines", f"symbol={name}&interval=1m{query}") == "-1130 No."

    def days_of(found: Sim, symbol: str) -> set[int]:
        rows = found.rows(f"symbol={symbol}&interval=3d&limit=5", f"{path}klines")
        return {row[0] // DAY % 3 for row in rows}

    def halted(found: Sim) -> list[list[Any]]:
        return found.rows(f"symbol={HALTS[market]}&interval=1m&startTime={minute(3)}", f"{path}klines")

    def prints_after_halt(found: Sim) -> bool:
        found.now = BETWEEN
        rows = halted(found)
        return len(rows) == 4 and all(row[8] == 0 and row[1] == row[4] for row in rows)

    yield (
        "klines_cap",
        400,
        lambda found: (
            len(found.rows(f"symbol={name}&interval=1m", f"{path}klines")) == 400
            and said(found, f"{path}klines", f"symbol={name}&interval=1m&limit=401")
            == ("accepted" if market == "spot" else "-1130 Data sent for parameter 'limit' is not valid.")
        ),
    )
    yield "start_inclusive", False, lambda found: opens(found, market, f"&startTime={minute(2)}")[0] == minute(1)
    yield "end_inclusive", False, lambda found: opens(found, market, end)[-1] == minute(4)
    shown = oldest if coinm else newest
    yield "start_only_rows", other, lambda found: opens(found, market, start) == shown
    yield (
        "end_only_rows",
        "oldest",
        lambda found: opens(found, market, end)[0] <= (minute(3) - 200 * DAY if coinm else first),
    )
    both = oldest if coinm else [minute(3 + ago) for ago in range(4, -1, -1)]
    yield "both_ends_rows", other, lambda found: opens(found, market, start + end) == both
    yield "future_end", "-1130 No.", refused(f"&startTime={minute(3)}&endTime={minute(-30)}")
    yield "future_range", "-1130 No.", refused(f"&startTime={minute(-20)}&endTime={minute(-30)}")
    yield (
        "range_days_cap",
        10,
        lambda found: (
            "is 10 days"
            in said(found, f"{path}klines", f"symbol={name}&interval=1h{start}&endTime={minute(20) + 11 * DAY}")
            and len(found.rows(f"symbol={name}&interval=1d", f"{path}klines")) == 10
        ),
    )
    phase = next(day for day in range(3) if day != (COIN if coinm else BUSY).listed_ms // DAY % 3)
    yield "three_day_phases", {name: phase}, lambda found: days_of(found, name) == {phase}
    yield "untraded_symbol_rows", "go_on", prints_after_halt
    yield (
        "untraded_symbol_rows",
        "refused",
        lambda found: said(found, f"{path}klines", f"symbol={HALTS[market]}&interval=1m") == "-1121 Invalid symbol.",
    )
    if market == "spot":
        zoned = "symbol=BTCUSDT&interval=1d&timeZone=8&limit=2"
        yield "time_zone_moves_opens", False, lambda found: found.rows(zoned)[0][0] % DAY == 0
        yield "micros_start_accepted", False, lambda found: not opens(found, market, f"&startTime={minute(2)}000")
        yield (
            "micros_close",
            "999000",
            lambda found: (
                found.answer("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=1", X_MBX_TIME_UNIT="microsecond")[0][
                    6
                ]
                % 1_000_000
                == 999_000
            ),
        )


def answers(market: str) -> Iterator[tuple[str, object, Check]]:
    path, name = f"{PATHS[market]}klines", NAMES[market]
    good = f"symbol={name}&interval=1m"
    questions = {
        "symbol": "symbol=NOSUCH&interval=1m",
        "interval": f"symbol={name}&interval=7m",
        "missing_symbol": "interval=1m",
        "empty_start": f"{good}&startTime=",
        "doubled_limit": f"{good}&limit=5&limit=5",
        "limit_characters": f"{good}&limit=abc",
        "symbol_characters": "symbol=A%20B&interval=1m",
        "limit_zero": f"{good}&limit=0",
        "over_cap": f"{good}&limit=1501",
        "start_after_end": f"{good}&startTime={minute(2)}&endTime={minute(3)}",
        "unknown_parameter": f"{good}&colour=red",
    }

    def answered(query: str, how: str) -> Check:
        return lambda found: said(found, path, query) == how

    if market == "spot":
        questions["time_zone"] = f"{good}&timeZone=99"
    if market == "coinm":
        questions["over_range"] = f"{good}&startTime={minute(3) - 201 * DAY}&endTime={minute(3)}"
    for about, query in questions.items():
        key = f"answer_to_{about}"
        yield key, "-4000 Not so.", answered(query, "-4000 Not so.")
        if FACTS[f"{market}.{key}"].assumed != "accepted" and about != "symbol_characters":
            yield key, "accepted", answered(query, "accepted")
    if market == "spot":
        yield (
            "answer_to_time_unit",
            "-4000 Not so.",
            lambda found: said(found, path, good, X_MBX_TIME_UNIT="hour") == "-4000 Not so.",
        )
    else:
        of_pair = f"{PATHS[market]}continuousKlines", "interval=1m&contractType="
        yield (
            "answer_to_contract_type",
            "-4000 Not so.",
            lambda found: (
                said(found, of_pair[0], f"{of_pair[1]}WEEKLY&pair={name.partition('_')[0]}") == "-4000 Not so."
            ),
        )
        yield (
            "answer_to_pair",
            "-4000 Not so.",
            lambda found: said(found, of_pair[0], f"{of_pair[1]}PERPETUAL&pair=NOSUCH") == "-4000 Not so.",
        )
    wrong = "symbol=NOSUCH&interval=7m&limit=0"
    yield (
        "check_order",
        "symbol limit interval",
        lambda found: (
            said(found, path, wrong).startswith("-1121")
            and said(found, path, wrong.replace("NOSUCH", name)).startswith("-1130")
        ),
    )
    yield "gzip", False, lambda found: dict(found.get(path, good).headers).get("Content-Encoding") == "identity"


_LAGS = {f"{market}.final_row_lag_ms" for market in PATHS}  # seconds are allowed for, none are played
_PHASES = {f"{market}.three_day_phases" for market in PATHS}
MAKERS = (closes, streams, weights, ranges, answers)
CASES = [
    (f"{market}.{name}", value, check) for market in PATHS for make in MAKERS for name, value, check in make(market)
]


@pytest.mark.parametrize(("key", "value", "shows"), CASES, ids=[f"{key}={value}" for key, value, _ in CASES])
def test_a_fact_is_played_and_shows(key: str, value: object, shows: Check) -> None:
    assert FACTS[key].kind.fault(value) is None
    assert shows(sim({key: value}))
    assert not shows(sim({}))


def test_every_fact_that_can_be_measured_is_played_and_tested_here() -> None:
    assert set(FACTS) == PLAYED
    assert {key for key, _, _ in CASES} | {f"{market}.http2" for market in PATHS} == PLAYED


def test_what_is_assumed_is_what_the_simulator_does_by_itself() -> None:
    played = {key: fact.assumed for key, fact in FACTS.items() if key not in {*_LAGS, *_PHASES}}
    plain, assumed = sim({}), sim(played)
    for market, path in PATHS.items():
        for name, value, check in (one for make in MAKERS for one in make(market)):
            assert not check(assumed), (market, name, value)
        assert opens(plain, market) == opens(assumed, market), path


def test_a_profile_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "exchange-profile.json"
    file.write_text(json.dumps({"version": 1, "facts": {"spot.klines_cap": 400}}))
    assert load_facts(file).number("spot", "klines_cap", 1000) == 400


@pytest.mark.parametrize("text", ["", "{", "[]", '{"facts":3}', '{"facts":{"spot.colour":"red"}}', "[" * 100_000])
def test_what_is_no_profile_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"profile\.json is no profile that can be played"):
        load_facts(file)


@pytest.mark.parametrize(
    ("seen", "limits", "expected"),
    [
        ({"99": 2, "100": 4, "500": 10, "1500": 20}, (1, 99, 300, 700, 1_000, 1_200), (2, 2, 4, 10, 10, 20)),
        ({"100": 1, "500": 2, "1000": 5}, (50, 100, 300, 500, 700, 1_500), (1, 1, 2, 2, 5, 10)),
        ({"99": 1, "100": 2, "1500": 10}, (50, 300, 600, 1_001), (1, 2, 5, 10)),
    ],
)
def test_weights_of_some_limits_tell_those_between(
    seen: dict[str, int], limits: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    found, path = sim({"usdm.klines_weights": seen}), "/fapi/v1/klines"
    asked = [used(found, path, f"symbol=BTCUSDT&interval=1m&limit={limit}", client=str(limit)) for limit in limits]
    assert tuple(asked) == expected
