"""`/chart` in a real browser: candles as the daemon serves them, live, and what is not known is shown as that.

Pictures of what the tests saw are left in `.run/pictures`.
"""

import hashlib
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from mdcache.replay.processes import stream_settings
from mdcache.serving.ops.pages import _installed_file, _static
from mdcache.serving.routes import CHART_FILES
from tests.support.browser import Browser
from tests.support.processes import daemon, sim
from tests.support.serving_harness import ServingHarness

ACCESSIBLE = (Path(__file__).parent / "accessible.js").read_text()
HOSTILE = '<img src=x onerror="document.title=1">'
OURS = tuple(name for name in CHART_FILES if name != "lightweight-charts.js")
PAGE_UP, END = "\ue00e", "\ue010"  # as WebDriver names them
UP_TO_DATE = ("live, by events", "live, asked every 2 s")
# Whether the canvases have pixels of a colour of the style sheet; of a translucent one, as it is over the card.
DRAWN = """
const style = getComputedStyle(document.documentElement);
const number = (name) => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  for (const each of ["card", name]) { pen.fillStyle = style.getPropertyValue("--" + each); pen.fillRect(0, 0, 1, 1); }
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const wanted = arguments[0].map(number), found = wanted.map(() => 0);
for (const canvas of document.querySelectorAll("#chart canvas")) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < data.length; at += 4) {
    wanted.forEach((color, place) => {
      found[place] += color.every((part, channel) => Math.abs(part - data[at + channel]) < 4);
    });
  }
}
return found;
"""


async def test_the_page_loads_its_own_files_only() -> None:
    house = ServingHarness()
    reply = await house.ask("/chart", b"market=moon&symbol=%3Cscript%3E&foo=1")  # the page's script reads them
    page = reply.body.decode()
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    loaded = set(re.findall(r'(?:src|<link[^>]*href)="([^"]*)"', page))
    scripts = {"chart/chart.js", "chart/lightweight-charts.js"}
    assert loaded == {"page/icon.svg", "page/status.css", "chart/chart.css", *scripts}
    assert page.count("<script") == page.count("></script>")  # nothing inline
    assert "style=" not in page
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert (await house.ask("/chart", b"", headers={"host": "evil.example"})).status == 403
    for path in ("/chart", *(f"/chart/{name}" for name in CHART_FILES)):
        first = await house.ask(path, b"")
        assert (first.status, first.headers["x-content-type-options"]) == (200, "nosniff")
        again = await house.ask(path, b"", headers={"if-none-match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")


async def test_the_library_is_tradingviews_own_file() -> None:
    """The package that brings it is another's; this is the hash of the file in TradingView's own package, 5.1.0."""
    body = (await ServingHarness().ask("/chart/lightweight-charts.js", b"")).body
    assert hashlib.sha256(body).hexdigest() == "756b0ba9f58930226d6b8b9d47ad310448ab85d799ea1f7c2c02304777c10b52"


@pytest.mark.parametrize("name", [name for name in OURS if name.endswith(".js")])
async def test_scripts_set_text_never_markup_and_name_no_other_host(name: str) -> None:
    script = (await ServingHarness().ask(f"/chart/{name}", b"")).body.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|https?:", script)


@pytest.mark.parametrize("path", ["/chart/", "/chart/chart.html", "/chart/../chart", "/chart/js", "/chart/a.js"])
async def test_there_is_no_other_file(path: str) -> None:
    assert (await ServingHarness().ask(path, b"")).status == 404


async def test_a_package_that_is_not_installed_costs_its_file_only() -> None:
    assert _installed_file("no-such-package", "js", "x.js") is None
    assert _installed_file("litecharts", "js", "no-such-file.js") is None
    transport = httpx.ASGITransport(Starlette(routes=[Route("/x.js", _static("x.js", None))]))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        assert (await client.get("/x.js")).status_code == 404


# ------------------------------------------------------------------------------------------------- in a browser


def drawn(window: Browser, *colors: str) -> list[int]:
    """How many pixels of the chart have each of these colours."""
    found: list[int] = window.run(DRAWN, colors)
    return found


def figure(window: Browser, name: str) -> str:
    found: dict[str, str] = window.run(
        "return Object.fromEntries([...document.querySelectorAll('#figures div')]"
        ".map((div) => [div.firstElementChild.textContent, div.lastElementChild.textContent]))"
    )
    return found[name]


def open_chart(window: Browser, url: str, **series: str) -> None:
    window.open("about:blank")  # the last one's console is not of this
    window.complaints()
    window.open(f"{url}/chart?{httpx.QueryParams(series)}")


@pytest.mark.processes
@pytest.mark.untraced
def test_candles_live_with_holes_and_stale_spans(window: Browser) -> None:
    with sim() as exchange, httpx.Client(base_url=f"{exchange}/_sim/", trust_env=False) as control:

        def order(action: str, **what: Any) -> None:
            control.post(action, json=what).raise_for_status()

        with daemon(exchange, listeners_max="1", shutdown_grace_s="1", **stream_settings(exchange)) as (url, _):
            window.look()
            what_cannot_be_shown_is_said(window, url)
            without_events_it_asks(window, url)
            order("halt", market="spot", symbol="ETHUSDT")
            open_chart(window, url, market="spot", symbol="btcusdt", interval="1s")
            candles_come_by_themselves_as_served(window, url)
            the_keyboard_scrolls_back_to_older_ones(window)
            everybody_can_read_it(window)
            every_row_of_the_status_page_leads_to_its_own_candles(window, url)
            open_chart(window, url, market="spot", symbol="btcusdt", interval="1s")
            nothing_is_asked_while_nobody_looks(window, url)
            order("relist", market="spot", symbol="ETHUSDT")
            another_series_is_chosen_by_typing(window)
            window.until(lambda: "Hole: Binance has no candle from" in window.text("#spans"))
            window.until(lambda: drawn(window, "hole")[0] > 500)
            window.picture("chart-hole")
            assert [each for each in window.complaints() if "getImageData" not in each] == []  # that is `drawn`
            order("stream_fault", kind="silent")
            order("ban", family="spot", seconds=300)
            a_ban_makes_it_stale(window)
        window.until(lambda: window.text("#health") == "no answer from the daemon")
        assert "The daemon does not answer since" in window.text("#message")
        assert drawn(window, "old")[0] > 500


def what_cannot_be_shown_is_said(window: Browser, url: str) -> None:
    for series, said in (
        ({"market": "spot", "symbol": "NOPEUSDT"}, "There is no symbol “NOPEUSDT” on spot."),
        ({"market": "spot", "symbol": HOSTILE}, "Illegal characters"),
        ({"market": HOSTILE}, f"There is no market “{HOSTILE}”: choose spot, usdm, coinm."),
        ({"interval": HOSTILE}, f"There is no interval “{HOSTILE}”: choose 1s, 1m,"),
        ({"kind": "markPriceKlines"}, "There is no kind “markPriceKlines” on spot: choose klines, uiKlines."),
        ({"kind": HOSTILE, "market": "coinm"}, f"There is no kind “{HOSTILE}” on coinm: choose klines, continuous"),
        ({"zone": HOSTILE}, "The zone is in minutes ahead of UTC."),
        ({"market": "usdm", "interval": "1s"}, "Invalid interval '1s': usdm has 1m, 3m,"),
    ):
        open_chart(window, url, **series)
        window.until(lambda: window.text("#message"))
        assert window.text("#message").startswith(said)
        assert window.run("return document.querySelectorAll('img, main script').length") == 0
        assert window.run("return document.title") != "1"
    window.cdp("Network.enable")
    window.cdp("Network.setBlockedURLs", urls=["*lightweight-charts.js", "*swagger-ui-bundle.js"])
    window.open(f"{url}/docs")
    assert window.text("#page").startswith("Swagger UI, which shows this page, is not installed")
    open_chart(window, url, market="coinm")
    window.until(lambda: window.text("#message").startswith("Candles can't be drawn: TradingView's"))
    window.click("#rows summary")
    window.until(lambda: len(window.cells("#table")) == 30)
    window.cdp("Network.setBlockedURLs", urls=[])


def without_events_it_asks(window: Browser, url: str) -> None:
    window.open("about:blank")
    question = {"market": "spot", "symbols": "BTCUSDT", "intervals": "1s"}
    with httpx.Client(base_url=url, trust_env=False) as client:
        window.until(partial(listens, url, False))
        with client.stream("GET", "/v1/stream", params=question):  # there is room for one
            open_chart(window, url, interval="1s")
            window.until(lambda: window.text("#health") == "live, asked every 2 s")
            assert (window.text("#name"), window.text("#message")) == ("BTCUSDT, spot, 1s", "")
            window.click("#rows summary")
            newest = window.until(lambda: window.cells("#table"))[0][0]
            window.until(lambda: window.cells("#table")[0][0] > newest)


def candles_come_by_themselves_as_served(window: Browser, url: str) -> None:
    window.until(lambda: window.text("#health") in UP_TO_DATE)
    window.until(lambda: min(drawn(window, "up", "down")) > 500)
    assert window.text("#name") == "BTCUSDT, spot, 1s"
    window.click("#rows summary")
    newest = window.until(lambda: window.cells("#table"))[0][0]
    window.until(lambda: window.cells("#table")[0][0] > newest)
    shown = {cells[0][11:]: cells[1:] for cells in window.cells("#table")}
    question = {"market": "spot", "symbols": "BTCUSDT", "intervals": "1s", "limit": "40", "closed": "true"}
    served = httpx.get(f"{url}/v1/candles", params=question, trust_env=False).json()["series"][0]["rows"]
    times = [f"{row[0] // 3_600_000 % 24:02}:{row[0] // 60_000 % 60:02}:{row[0] // 1000 % 60:02}" for row in served]
    both = {time: row for time, row in zip(times, served, strict=True) if time in shown and shown[time][5] == "closed"}
    assert len(both) > 20
    assert {time: shown[time][:5] for time in both} == {time: row[1:6] for time, row in both.items()}
    window.until(lambda: figure(window, "Source of the tail") == "stream")
    assert window.text("#unreal").startswith("Not Binance: spot from http://127.0.0.1:")
    assert figure(window, "Gate of spot") == "open: Binance may be asked"
    assert float(figure(window, "Age").removesuffix(" s")) < 10
    assert window.text("#health") == "live, by events"


def the_keyboard_scrolls_back_to_older_ones(window: Browser) -> None:
    for _ in range(8):
        window.press("#chart", PAGE_UP)
    window.until(lambda: int(figure(window, "Shown").split()[0]) >= 1_000)
    window.press("#chart", END)


def every_row_of_the_status_page_leads_to_its_own_candles(window: Browser, url: str) -> None:
    """Those that /v1 does not have, too: they are asked for in Binance's form."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path, query, name in (
            ("/fapi/v1/markPriceKlines", "symbol=BTCUSDT&interval=1m", "BTCUSDT, usdm, 1m, mark price"),
            (
                "/dapi/v1/continuousKlines",
                "pair=BTCUSD&contractType=CURRENT_QUARTER&interval=1m",
                "BTCUSD, coinm, 1m, continuous, CURRENT_QUARTER",
            ),
            ("/api/v3/klines", "symbol=ETHUSDT&interval=1M&timeZone=-3:30", "ETHUSDT, spot, 1M, days of UTC-3:30"),
        ):
            served = client.get(path, params=f"{query}&limit=40").raise_for_status().json()
            window.open(url)
            shown = f"return document.querySelector('#series tbody a[href*=\"{query_of(name)}\"]')?.href"
            window.open(window.until(partial(window.run, shown)))
            window.until(lambda: window.text("#health") == "live, asked every 2 s")
            assert (window.text("#name"), window.text("#message")) == (name, "")
            window.until(lambda: min(drawn(window, "up", "down")) > 100)
            window.click("#rows summary")
            rows = {cells[0]: cells[1:] for cells in window.until(lambda: window.cells("#table"))}
            for opened, *prices in (row[:6] for row in served[-30:-1]):
                assert rows.get(at(opened), [*prices, "closed"]) == [*prices, "closed"]
            assert len(rows) == 30
            assert "with 0 holes" in window.text("#told")
            window.until(lambda: figure(window, "Source of the tail") in {"rest", "stream", "derived"})


def query_of(name: str) -> str:
    """Part of the address of a series' chart, by the series' name."""
    symbol, market, interval, *_ = name.split(", ")
    return f"market={market}&symbol={symbol}&interval={interval}&"


def at(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def nothing_is_asked_while_nobody_looks(window: Browser, url: str) -> None:
    hide = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    for hidden in (True, False):
        window.run(hide + "document.dispatchEvent(new Event('visibilitychange'))", hidden)
        window.until(partial(listens, url, not hidden))


def listens(url: str, wanted: bool) -> bool:
    """Whether somebody listens to the daemon's events, if `wanted`, or nobody."""
    status = httpx.get(f"{url}/v1/status", trust_env=False).json()
    return any(each["listeners"]["events"] for each in status["listeners"]) is wanted


def everybody_can_read_it(window: Browser) -> None:
    for name, dark, width in (
        ("light", False, 1200),
        ("dark", True, 1200),
        ("phone", True, 320),
    ):
        window.look(dark=dark, width=width, phone=width < 400)
        window.until(lambda: min(drawn(window, "up", "down")) > 100)
        window.run("scrollTo(0, 0)")
        window.picture(f"chart-{name}")
        assert window.run(ACCESSIBLE) == [], name
    window.look()


def another_series_is_chosen_by_typing(window: Browser) -> None:
    window.type("#symbol", "eth")
    offered = "return [...document.querySelectorAll('#symbols option')].map((option) => option.value)"
    window.until(lambda: "ETHBTC" in window.run(offered))
    assert "BTCUSDT" not in window.run(offered)
    window.type("#symbol", "ethusdt\n")
    window.until(lambda: window.text("#name") == "ETHUSDT, spot, 1s")
    assert window.run("return location.search") == "?market=spot&symbol=ETHUSDT&interval=1s"


def a_ban_makes_it_stale(window: Browser) -> None:
    window.until(lambda: window.text("#health").startswith("stale"))
    window.until(lambda: drawn(window, "old")[0] > 500)
    window.until(lambda: figure(window, "Gate of spot").startswith("closed: 418, a probe may go in"))
    assert window.text("#spans").startswith("Stale: from")
    assert window.run("return document.title").startswith("STALE: ETHUSDT 1s")
    window.look(dark=True)
    window.picture("chart-banned")
    assert window.run(ACCESSIBLE) == []
