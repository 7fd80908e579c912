"""`mdcache status`: its output and its exit codes."""

import asyncio
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from rich.console import Console

from mdcache.cache.stream_status import StreamsStatus
from mdcache.cli.console import printable
from mdcache.cli.daemon_status import Health, decode_status
from mdcache.cli.status import as_lines
from mdcache.cli.status_view import duration, render, sparkline, watch_status
from mdcache.errors import BodyFault, MdcacheError
from mdcache.events import BodyRejected, GateChanged, ReadReason, UpstreamCalled
from mdcache.exchange.markets import Family
from mdcache.exchange.measured import ProfileNote
from mdcache.results import Quantiles, RecentAnswers, Result
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.ops.status import ProfileStatus
from mdcache.serving.ports import Readiness
from mdcache.settings import Settings
from tests.cli.conftest import Run
from tests.support.processes import daemon, free_port, sim
from tests.support.serving_harness import ServingHarness

HOSTILE = "[red]BTC\x1b]0;title\x07USDT[/red]"


async def told(house: ServingHarness, query: bytes = b"") -> bytes:
    return (await house.ask("/v1/status", query)).body


def shown(content: bytes, width: int = 160, height: int | None = None) -> str:
    out = io.StringIO()
    state = decode_status(content)
    Console(file=out, width=width, force_terminal=False).print(render(state, "127.0.0.1:8700", width, height))
    return out.getvalue()


async def test_all_of_it() -> None:
    house = ServingHarness()
    house.results.update({"hit": 900, "miss": 50, "stale": 50, "refused": 7})
    house.last_minute.update({"hit": 30, "error": 10})
    house.events.emit(UpstreamCalled("spot", "klines", "/p", ReadReason.REFRESH, "normal", 200, "", 40, 9, 0.1))
    house.events.emit(BodyRejected("usdm", "/fapi/v1/klines", BodyFault.PRICES, ""))
    house.governor.close_gate(Family.FUTURES, 92.0)
    house.readiness = Readiness(degraded=("futures: gate closed (operator)",))
    house.clock.seconds += 3
    page = shown(await told(house))
    assert "mdcache 1.2.3 at 127.0.0.1:8700: ready, but degraded, up for 3.0 s" in page
    for words in (
        "futures: gate closed (operator)",
        "closed (operator), 1:29 min",
        "0 / 600",
        "1,200 ?",
        "hit 900, miss 50, stale 50, refused 7",
        "0 series, 0 rows, 0 reads under way",
        "max_bytes 67,108,864",
        "/fapi/v1/klines: prices",
    ):
        assert words in page
    assert re.search(r"last minute +40 +75.0% +0.0% +25.0% +hit 30, error 10", page)
    assert re.search(r"since the start +1,007 +90.0% +5.0% +0.0% +hit 900", page)
    assert re.search(r"refresh +1 +40 +0 +1\n", page)
    assert re.search(r"disk +none *\n", page)


async def test_the_last_minutes_who_costs_most_and_what_is_not_binance() -> None:
    house = ServingHarness()
    house.answers = RecentAnswers(
        {}, {"all": Quantiles(0.000_01, 0.025)}, {"spot": Quantiles(0.1, 0.5), "usdm": Quantiles(1.0, 3.0)}
    )
    called = UpstreamCalled(
        "spot", "klines", "/p", ReadReason.REFRESH, "normal", 503, "", 2, 9, 0.1, subject="spot/BTCUSDT"
    )
    for client, weight in (("engine", 2), ("", 40), (HOSTILE, 1)):
        house.events.emit(replace(called, client=client, weight=weight))
    state = json.loads(await told(house))
    state["upstreams"] = {"egress": "x", "urls": {"spot": HOSTILE, "usdm": "https://b.com"}, "not_binance": ["spot"]}
    page = shown(json.dumps(state).encode())
    assert "reads under way, half took ≤ 0.01 ms, 99% ≤ 25 ms, tails shown ≤ 3 s old" in page
    assert re.search(r"^  NOT BINANCE: spot from \[red\]BTC�", page, re.MULTILINE)
    assert re.search(r"client, last 5 min +weight +reads +failed *\nother +40 +1 +1 *\nengine +2 +1", page)
    assert re.search(r"\nspot/BTCUSDT +43 +3 +3", page)


async def test_what_is_taken_of_the_exchange_profile() -> None:
    house = ServingHarness()
    assert "exchange profile" not in shown(await told(house))
    notes = (
        ProfileNote("spot.both_ends_rows", HOSTILE, "oldest", taken=False, effect="its answers may lack rows"),
        ProfileNote("spot.klines_cap", 500, 1_000, taken=True, effect="a read asks for at most 500 rows"),
    )
    house.profile = ProfileStatus("/s", 1_790_000_000_000, "1", {}, 45, notes, (HOSTILE,))
    page = shown(await told(house))
    said = "exchange profile of 2026-09-21 14:13 UTC: 45 measured, 1 taken, 1 not as assumed and not taken, 1 refused"
    assert said in page
    assert re.search(
        r"spot.klines_cap +500 +1000 +a read asks for at most 500 rows *\nspot.both_ends_rows +\[red\]BTC�", page
    )
    assert re.search(r"not taken: its answers may lack rows *\nrefused +\[red\]BTC�", page)
    assert said not in shown(await told(house), height=40)  # the live view has more urgent lines
    house.profile = ProfileStatus("/s", 0, "", {}, 0, (), ("it is not JSON",))
    assert "exchange profile of an unknown time: 0 measured" in shown(await told(house))


async def much(house: ServingHarness) -> bytes:
    house.results.update(dict.fromkeys(Result, 9_999_999))
    house.last_minute.update(dict.fromkeys(Result, 99_999))
    for reason in ReadReason:
        house.events.emit(UpstreamCalled("spot", "klines", "/p", reason, "normal", 200, "", 40, 9, 0.1))
    for number in range(12):
        house.events.emit(BodyRejected("usdm", f"/fapi/v1/continuousKlines{number}" * 3, BodyFault.PRICES, ""))
    house.governor.close_gate(Family.FUTURES, 92.0)
    house.readiness = Readiness(degraded=("futures: gate closed (operator), reopens in 92 s", "disk: " + "x" * 90))
    return await told(house)


STREAMS = [
    StreamsStatus("spot", "/stream", 1, {"fed": 55, "quiet": 4, "silent": 1}, 0, {"news": 9_000}, 0, 1),
    StreamsStatus(
        "usdm", "/market/stream", 1, {"fed": 9, "quiet": 1, "silent": 2}, 2, {"news": 900}, 0, 3, 0.0, "1006"
    ),
    StreamsStatus("coinm", "/stream", 0, {"fed": 0, "quiet": 0, "silent": 3}, 0, {}, 6, 90, 7.4, HOSTILE),
]


async def test_streams() -> None:
    house = ServingHarness()
    assert "streams" not in shown(await told(house))
    house.streams = STREAMS
    page = shown(await told(house))
    assert "0 reads under way, streams feed 0 of 0 tails" in page
    assert re.search(r"spot +1 +60 +1 +0 +0 of 0 +1 *\n", page)
    assert re.search(r"usdm +1 +12 +2 +2 +0 of 0 +3 +1006 *\n", page)
    assert re.search(r"coinm +0 +3 +3 +0 +0 of 0 +90 +\[red\]BTC�", page)


async def test_listeners() -> None:
    house = ServingHarness()
    assert "listeners" not in shown(await told(house))
    busy = ListenersStatus(
        "spot", {"websocket": 7, "events": 2, "wait": 4}, 30, 5, 90_000, events={"candle": 400, "closed": 9}
    )
    house.listening = [busy, ListenersStatus("usdm")]
    page = shown(await told(house))
    assert "0 reads under way, 13 listeners" in page
    assert re.search(r"spot +7 +30 +90,000 +0 +2 +5 +409 +4 *\n", page)
    assert "usdm" not in page


async def test_a_small_terminal_shows_streams_that_are_in_trouble() -> None:
    house = ServingHarness()
    house.streams = STREAMS
    lines = shown(await much(house), 80, 23).splitlines()
    assert len(lines) < 24
    text = "\n".join(lines)
    assert "streams feed 0 of 0 tails" in text
    assert "rejected" in text
    assert re.search(r"^usdm +1 +12 +2 +2", text, re.MULTILINE)
    assert not re.search(r"^spot +1 +60", text, re.MULTILINE)


@pytest.mark.parametrize("size", [(80, 24), (120, 30), (200, 50)])
async def test_it_fits_the_terminal(size: tuple[int, int]) -> None:
    width, height = size
    lines = shown(await much(ServingHarness()), width, height - 1).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    assert "ready, but degraded" in lines[0]
    text = "\n".join(lines)
    for words in ("closed (operator), 1:32 min", "0 / 600", "16.7%", "missing_rows", "rejected", "reads under way"):
        assert words in text


async def test_a_narrow_terminal_wraps_no_table() -> None:
    lines = shown(await much(ServingHarness()), 80).splitlines()
    assert any(re.match(r"futures +closed \(operator\), 1:32 min .* 0 / 600", line) for line in lines)


def test_json_has_each_list_of_numbers_on_one_line() -> None:
    answer = {"weights": {"spot": {"newest_s": 1, "by_second": [0] * 299 + [2]}}, "events": ["[1,\n 2]"], "none": []}
    text = as_lines(answer)
    assert json.loads(text) == answer
    assert len(text.splitlines()) == 12


async def test_series_are_listed_where_asked_for() -> None:
    house = ServingHarness()
    await house.ask()
    made = house.series
    house.library._series[made.key] = made
    assert "BTCUSDT" not in shown(await told(house))
    assert re.search(r"BTCUSDT +spot +1m +klines +0 +– +– +0\n", shown(await told(house, b"series=1")))


async def test_nothing_of_it_is_obeyed_by_the_terminal() -> None:
    house = ServingHarness()
    house.events.emit(GateChanged(HOSTILE, "open", "", 0.0))
    house.results[HOSTILE] = 4
    house.readiness = Readiness(reasons=(HOSTILE,))
    page = shown(await told(house))
    assert "\x1b" not in page
    assert "\x07" not in page
    assert page.count("[red]BTC�]0;title�USDT[/red]") == 3
    assert "not ready" in page
    assert printable("a\nb\r\u202e") == "a�b��"


@pytest.mark.parametrize(
    ("readiness", "health"),
    [
        (Readiness(), Health.READY),
        (Readiness(degraded=("disk",)), Health.DEGRADED),
        (Readiness(reasons=("no clock",), degraded=("disk",)), Health.NOT_READY),
    ],
)
async def test_health(readiness: Readiness, health: Health) -> None:
    house = ServingHarness()
    house.readiness = readiness
    assert decode_status(await told(house)).health is health


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"series":{}}', b'{"series":5}', b"<html>", b"\xff"])
def test_what_is_no_status_is_an_error(content: bytes) -> None:
    with pytest.raises(MdcacheError, match="not a status that this release can read"):
        decode_status(content)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (61, "1:01 min"), (3_660, "1:01 h"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_spark() -> None:
    assert sparkline([0] * 60) == " " * 12
    assert sparkline([1] * 60) == "█" * 12
    assert sparkline([0] * 55 + [80, 0, 0, 0, 0]) == " " * 11 + "█"
    assert sparkline([1, 0, 0, 0, 0, 800]) == "▁█"


@contextmanager
def answering(status: int, content: bytes) -> Iterator[int]:
    """A server that says this to everybody; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_no_daemon_exits_with_4(run: Run) -> None:
    port = free_port()
    done = run("status", MDCACHE_PORT=str(port))
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == (f"mdcache: no daemon listens on 127.0.0.1:{port} (MDCACHE_HOST and MDCACHE_PORT)\n")


@pytest.mark.parametrize(("status", "content"), [(404, b"{}"), (200, b"<html>")])
def test_another_program_exits_with_4(run: Run, status: int, content: bytes) -> None:
    with answering(status, content) as port:
        done = run("status", "--json", MDCACHE_PORT=str(port))
    assert (done.exit_code, done.stdout) == (4, "")
    assert "this release can read" in done.stderr or "another release" in done.stderr


def test_wrong_settings_are_2(run: Run) -> None:
    assert run("status", MDCACHE_PORT="x").exit_code == 2


async def test_not_ready_is_3(run: Run) -> None:
    house = ServingHarness()
    house.readiness = Readiness(reasons=("no clock",))
    with answering(200, await told(house)) as port:
        done = await asyncio.to_thread(run, "status", MDCACHE_PORT=str(port))
    assert done.exit_code == 3
    assert "no clock" in done.stdout


@pytest.mark.processes
def test_a_daemon_that_is_ready_then_banned(run: Run) -> None:
    with sim() as upstream, daemon(upstream) as (url, _):
        port = url.rpartition(":")[2]
        httpx.get(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1m", trust_env=False).raise_for_status()
        done = run("status", "--series", MDCACHE_PORT=port)
        assert done.exit_code == 0, done.output
        assert "BTCUSDT" in done.stdout
        httpx.post(f"{upstream}/_sim/ban", json={"family": "spot", "seconds": 60}, trust_env=False)
        httpx.get(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=5m", trust_env=False)
        done = run("status", "--json", MDCACHE_PORT=port)
        assert done.exit_code == 1
        assert json.loads(done.stdout)["families"][0]["gate_reason"] == "418"
        assert "closed (418)" in run("status", MDCACHE_PORT=port).stdout


class Looks:
    """A clock that lets `watch` look so often, and then ends it as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        self.left = number

    def now(self) -> float:
        return 0.0

    def wall_ms(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        assert seconds == 2.0
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.processes
def test_watching_outlives_the_daemon() -> None:
    content = asyncio.run(told(ServingHarness()))
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with answering(200, content) as port, pytest.raises(KeyboardInterrupt):
        asyncio.run(watch_status(Settings(port=port), console, Looks(2), 2.0))
    assert out.getvalue().count("1.2.3 at") == 2
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(watch_status(Settings(port=port), console, Looks(1), 2.0))
    assert f"no daemon listens on 127.0.0.1:{port}" in out.getvalue()
