"""The status page in a real browser: what it shows, that nothing of it runs, and that everybody can read it.

Pictures of what the tests saw are left in `.run/pictures`.
"""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from mdcache.errors import BodyFault, BudgetSpent
from mdcache.events import BodyRejected, OddBody, UpstreamCalled
from mdcache.exchange.markets import Family
from mdcache.serving.ports import Readiness
from mdcache.serving.routes import PAGE_FILES
from mdcache.upstream.priority import Lane
from tests.support.asgi_client import KLINES
from tests.support.browser import Browser
from tests.support.processes import daemon, sim
from tests.support.serving_harness import ServingHarness
from tests.support.status_page import HOSTILE, add, busy, figures, fill, opened, served

ACCESSIBLE = (Path(__file__).parent / "accessible.js").read_text()
SERIES = "#series tbody"


async def test_the_page_loads_its_own_files_only() -> None:
    house = ServingHarness()
    reply = await house.ask("/", b"")
    page = reply.body.decode()
    loaded = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]*)"', page)
    assert sorted(loaded) == sorted(f"page/{name}" for name in PAGE_FILES)
    assert page.count("<script") == page.count("></script>")  # nothing inline
    assert "style=" not in page
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in reply.headers["content-security-policy"]
    again = await house.ask("/", b"", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


async def test_the_script_sets_text_never_markup() -> None:
    names = [name for name in PAGE_FILES if name.endswith(".js")]
    script = "".join([(await ServingHarness().ask(f"/page/{name}", b"")).body.decode() for name in names])
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", script)
    assert "http" not in re.sub(r"https?://www\.w3\.org", "", script)


@pytest.mark.processes
@pytest.mark.untraced
def test_all_of_it_in_light_dark_and_on_a_phone(window: Browser) -> None:
    house = ServingHarness()
    busy(house)
    fill(house, 30)
    house.results.update({"error": 1})
    with served(house) as url:
        for name, dark, width, phone in (
            ("light", False, 1200, False),
            ("dark", True, 1200, False),
            ("phone", False, 390, True),
            ("phone-dark", True, 390, True),
            ("narrow", False, 320, True),
        ):
            window.look(dark=dark, width=width, phone=phone)
            opened(window, url)
            window.picture(f"status-{name}")
            assert window.run(ACCESSIBLE) == [], name
        assert window.complaints() == []
    assert window.text("#health") == "ready"
    chart = window.run("return document.querySelector('#series tbody a').getAttribute('href')")
    assert chart == "chart?market=spot&symbol=C0000USDT&interval=1m"
    assert window.text("#version") == "1.2.3"
    assert window.text("#upstreams") == "Reads spot from https://api.binance.com, by the address “default”"
    profile = window.text("#profile")
    assert profile.startswith("Exchange profile of 20")
    assert "45 facts. Taken: spot.klines_cap 500 (a read asks for at most 500 rows). Not as assumed, not" in profile
    assert window.run("return [document.title, ...document.querySelectorAll('#top > :not([hidden])')]") == ["mdcache"]
    assert window.cells("#calls")[0] == ["refresh", "30", "1,200", "0", "76"]
    answered = "fresh, from what was known"
    assert ["hit", "3,000", "≤ 0.01 ms", "≤ 0.025 ms", "9,000", answered] in window.cells("#requests")
    assert window.run("return [...document.querySelectorAll('#rates li')].map((li) => li.innerText)") == [
        "hit 65/s, peak 65/s",
        "miss 3.3/s, peak 4/s",
        "stale 0/s, peak 9/s",
        "error 0/s, peak 3/s",
        "unheard-of 0.1/s, peak 0.2/s",
    ]
    assert window.run("return document.querySelector('#shares-chart').ariaLabel") == (
        "Highest in the last five minutes: 17.2% marked, 3.8% failed"
    )
    assert window.cells("#heavy-clients") == [
        ["other", "6,020", "151", "0"],
        ["ai", "4", "1", "0"],
        ["engine", "2", "1", "0"],
    ]
    assert [HOSTILE, "4", "1", "0"] in window.cells("#heavy-series")
    assert window.cells("#ages") == [["spot", "≤ 500 ms", "≤ 1.5 s"], ["usdm", "≤ 1 s", "≤ 3 s"]]
    assert [cells[1:3] for cells in window.cells("#closures")] == [["futures", "403: the web firewall"]]
    assert window.cells("#streams") == [
        ["spot", "1", "60", "1", "0", "0%", "1", "none"],
        ["usdm", "1", "12", "2", "2", "–", "3", "1006"],
        ["coinm", "0", "3", "3", "0", "–", "90", f"{HOSTILE}; next attempt in 7.4 s"],
    ]
    assert window.cells("#listeners") == [["spot", "7", "30", "90,000", "5", "1", "2", "5", "409", "4"]]
    worrying = "return [...document.querySelectorAll('#streams .warning')].map((cell) => cell.cellIndex)"
    assert window.run(worrying) == [4, 1, 7]
    assert [cells[1:] for cells in window.cells("#events")] == [
        ["futures", "open", "gate", "1"],
        ["futures", "closed: 403, for 2 s", "gate", "1"],
        ["usdm", "/fapi/v1/klines: prices", "rejected", "1"],
    ]
    assert figures(window) | {"Running for": ""} == {
        "Answers a second": "68.4",
        "Half took, last minute": "≤ 0.01 ms",
        "99% took, last minute": "≤ 0.025 ms",
        "Hit ratio, last minute": "99.7%",
        "Hit ratio, since the start": "99.7%",
        "Marked, last minute": "0%",
        "Failed, last minute": "0%",
        "Marked, 5 minutes": "2.1%",
        "Failed, 5 minutes": "0.2%",
        "Age of tails shown, 99%": "≤ 3 s",
        "Reads from Binance, last minute": "62",
        "Tails fed by streams": "0%",
        "Reads under way": "0",
        "Series": "30",
        "Rows in memory": "30",
        "Memory": window.text("#figures div:nth-child(16) dd"),
        "Running for": "",
    }
    assert ["MDCACHE_ADMIN_TOKEN", "(hidden)"] in window.run(
        "return [...document.querySelectorAll('#settings tr')].map((tr) => [...tr.cells].map((c) => c.textContent))"
    )


@pytest.mark.processes
@pytest.mark.untraced
def test_a_spent_budget_and_old_answers_are_amber(window: Browser) -> None:
    """The readiness, the event and the shares are the daemon's; here they are as it states them."""
    house = ServingHarness()
    busy(house)
    fill(house, 10)
    spot = house.governor._schedulers[Family.SPOT]
    spot.shortage.record(BudgetSpent(30.0, "the weight budget is spent"), Lane.NORMAL, spot.now().number)
    house.readiness = Readiness(degraded=("spot: a limit is spent: answers may be older, or fail",))
    house.last_minute = {"hit": 900, "stale": 90, "error": 10}
    with served(house) as url:
        for name, dark, width in (("light", False, 1200), ("dark", True, 1200), ("phone", True, 390)):
            window.look(dark=dark, width=width, phone=width < 400)
            opened(window, url)
            window.picture(f"status-short-{name}")
            assert window.run(ACCESSIBLE) == [], name
        assert window.run("return document.querySelector('#health').className") == "warning"
        assert window.run("return document.querySelector('#troubles').className") == "warning"
        assert window.run("return [...document.querySelectorAll('.shortage')].map((p) => p.textContent)") == [
            "A limit is spent: answers are older, or fail",
            "",
        ]
        assert ["spot", "the weight budget is spent", "budget", "1"] in [each[1:] for each in window.cells("#events")]
        worrying = "return [...document.querySelectorAll('#figures .warning')].map((dd) => dd.textContent)"
        assert window.run(worrying) == ["9%", "1%", "2.1%", "0.2%"]
        assert figures(window)["Hit ratio, last minute"] == "90%"
        assert window.complaints() == []


@pytest.mark.processes
@pytest.mark.untraced
def test_everything_has_a_name_as_the_browser_computes_it(window: Browser) -> None:
    house = ServingHarness()
    fill(house, 3)
    with served(house) as url:
        window.look()
        opened(window, url)
        nodes = window.cdp("Accessibility.getFullAXTree")["nodes"]
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]
    nameless = [
        role for role, name in found if not name and role in {"button", "link", "searchbox", "table", "region", "meter"}
    ]
    assert nameless == []
    roles = {role for role, _ in found}
    assert {"banner", "main", "contentinfo", "navigation", "status", "meter", "columnheader", "rowheader"} <= roles
    assert ("button", "Pause") in found
    assert ("meter", "Weight used this minute, spot") in found


@pytest.mark.processes
@pytest.mark.untraced
def test_five_thousand_series(window: Browser) -> None:
    house = ServingHarness()
    fill(house, 5_000)
    with served(house) as url:
        window.look()
        opened(window, url)
        assert window.until(lambda: window.text("#shown")) == "5,000 of 5,000"
        first = window.cells(SERIES)
        assert len(first) < 80  # what is in sight, and a few more
        assert first[0] == ["C0000USDT", "spot", "1m", "klines", "1", "1:23 h", "rest", "0"]
        window.run("document.querySelector('#window').scrollTop = 1e9")
        window.until(lambda: window.cells(SERIES)[-1][0] == "C0999USDT")
        assert window.run("return document.querySelector('#series').ariaRowCount") == "5001"
        indexes = window.run(
            "return [...document.querySelectorAll('#series tbody tr:not(.spacer)')]"
            ".map((tr) => Number(tr.ariaRowIndex))"
        )
        assert indexes == list(range(5_001 - len(indexes) + 1, 5_002))
        tall = window.run("return document.querySelector('#window').scrollHeight")
        window.run("document.querySelector('#window').scrollTop = 75000")
        window.until(lambda: window.cells(SERIES)[0][0] not in {"C0000USDT", first[-1][0], "C0990USDT"})
        assert abs(window.run("return document.querySelector('#window').scrollHeight") - tall) < 2
        in_sight = (
            "const frame = document.querySelector('#window'); frame.scrollIntoView();"
            "const box = frame.getBoundingClientRect();"
            "return document.elementFromPoint(box.x + 30, box.y + 200).closest('tbody th') !== null"
        )
        window.until(lambda: window.run(in_sight))  # rows come there, in the height that stands for others
        window.picture("status-5000")
        window.click("#headings th:nth-child(6) button")  # age
        assert [cells[5] for cells in window.cells(SERIES)[:3]] == ["1.0 s", "2.0 s", "3.0 s"]
        window.click("#headings th:nth-child(6) button")
        assert window.cells(SERIES)[0][0] == "C0000USDT"
        assert window.run("return [...document.querySelectorAll('#headings th')].map((th) => th.ariaSort)") == [
            *["none"] * 5,
            "descending",
            *["none"] * 2,
        ]
        window.click("#headings th:nth-child(3) button")  # by how long they are, not by their names
        window.click("#headings th:nth-child(3) button")
        assert {cells[2] for cells in window.cells(SERIES)} == {"1M"}
        window.type("#filter", "c012 4h")
        assert window.until(lambda: window.text("#shown") == "10 of 5,000")
        assert [cells[0] for cells in window.cells(SERIES)] == [f"C012{n}USDT" for n in range(10)]
        window.picture("status-5000-filtered")
        window.type("#filter", "nothing like it")
        assert window.until(lambda: window.text("#shown") == "0 of 5,000")
        assert window.complaints() == []


@pytest.mark.processes
@pytest.mark.untraced
def test_every_value_is_shown_as_text(window: Browser) -> None:
    house = ServingHarness()
    add(house, HOSTILE)
    hostile: Any = HOSTILE
    house.events.emit(BodyRejected("spot", HOSTILE, BodyFault.TYPES, ""))
    house.events.emit(OddBody("spot", KLINES, "</script><script>document.title=2</script>"))
    house.events.emit(UpstreamCalled("spot", "klines", KLINES, hostile, "normal", 200, "", 2, 9, 0.1))
    house.results[HOSTILE] = 3
    house.readiness = Readiness(degraded=(f"disk: {HOSTILE}",))
    with served(house) as url:
        window.look()
        opened(window, url)
        assert window.cells(SERIES)[0][0] == HOSTILE
        assert window.cells("#events")[0][2].startswith(HOSTILE)
        assert window.cells("#calls")[0][0] == HOSTILE
        assert window.cells("#requests")[-1][0] == HOSTILE
        assert window.text("#troubles") == f"disk: {HOSTILE}"
        assert window.text("#health") == "ready, but degraded"
        assert window.run("return [document.title, document.querySelectorAll('main img, main script').length]") == [
            "mdcache",
            0,
        ]
        assert window.complaints() == []


@pytest.mark.processes
@pytest.mark.untraced
def test_it_pauses_and_says_when_the_daemon_is_gone(window: Browser) -> None:
    house = ServingHarness()
    with served(house) as url:
        window.look()
        opened(window, url)
        window.click("#pause")
        assert window.run("return document.querySelector('#pause').ariaPressed") == "true"
        house.readiness = Readiness(reasons=("no clock",))
        stood = window.text("#updated")
        window.click("#pause")
        window.until(lambda: window.text("#health") == "not ready")
        assert window.text("#updated") != stood
        assert window.text("#troubles") == "no clock"
    window.until(lambda: window.text("#health").startswith("no answer from the daemon since"))
    assert "Gate when last heard of: open" in window.text("#families")
    window.picture("status-gone")
    assert window.complaints() != []


@pytest.mark.processes
@pytest.mark.untraced
def test_a_ban_as_the_simulated_exchange_speaks_it(window: Browser) -> None:
    with sim() as upstream, daemon(upstream) as (url, _), httpx.Client(base_url=url, trust_env=False) as client:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            client.get(f"/api/v3/klines?symbol={symbol}&interval=1m&limit=500").raise_for_status()
        client.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=99").raise_for_status()
        httpx.post(f"{upstream}/_sim/ban", json={"family": "spot", "seconds": 110}, trust_env=False)
        client.get("/api/v3/klines?symbol=BTCUSDT&interval=5m&limit=500")
        window.look(dark=True)
        opened(window, url)
        told = window.until(
            lambda: re.search(r"closed by 418, a probe may go in (1:\d\d min)", window.text("#families"))
        )
        window.until(lambda: told.group() not in window.text("#families"))  # it counts down
        until = re.fullmatch(
            r"BANNED until (\d\d:\d\d:\d\d) UTC – NOT BINANCE – mdcache", window.run("return document.title")
        )
        assert until is not None
        alarm = window.text("#alarm")
        assert alarm.startswith(f"Binance has banned this address: spot is not asked until {until[1]} UTC (in 1:")
        window.run("scrollTo(0, document.body.scrollHeight)")
        in_sight = (
            "const box = document.querySelector('#alarm').getBoundingClientRect(); return [box.top >= 0, box.top < 80]"
        )
        assert window.run(in_sight) == [True, True]
        assert window.text("#unreal") == f"Not Binance: spot, usdm, coinm from {upstream}"
        assert window.cells("#closures")[0][1:3] == ["spot", "418: a ban"]
        assert (
            window.run("return document.querySelector('#closures a').href") == f"{url}/page/runbook.html#mdcachebanned"
        )
        assert [cells[0] for cells in window.cells("#heavy-clients")] == ["other"]
        assert "spot/klines/BTCUSDT/1m" in [cells[0] for cells in window.cells("#heavy-series")]
        window.until(lambda: window.run("return document.querySelectorAll('#rates li').length") == 2)
        assert window.text("#health") == "ready, but degraded"
        assert {cells[0] for cells in window.cells(SERIES)} == {"BTCUSDT", "ETHUSDT"}
        assert any(cells[1] == "spot" and cells[2].startswith("closed: 418") for cells in window.cells("#events"))
        assert window.run(ACCESSIBLE) == []
        window.picture("status-banned")
        assert window.complaints() == []
        assert json.loads(client.get("/v1/status").content)["families"][0]["gate_reason"] == "418"
        window.click("#alarm a")
        window.until(lambda: window.run("return location.hash") == "#mdcachebanned")
        assert "Binance answered 418" in window.text("main")
        assert window.run("return document.querySelector('#mdcachebanned').getBoundingClientRect().top") < 100
        window.look(width=390, phone=True)
        window.picture("runbook-phone")
        assert window.run("return document.documentElement.scrollWidth <= innerWidth")
        assert window.complaints() == []


@pytest.mark.processes
@pytest.mark.untraced
def test_the_operators_hand_on_the_gate_shows(window: Browser) -> None:
    house = ServingHarness()
    house.governor.close_gate(Family.FUTURES, 3_700.0)
    with served(house) as url:
        window.look()
        opened(window, url)
        assert "closed by operator, a probe may go in 1:01 h" in window.text("#families")
