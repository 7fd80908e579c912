"""`/docs`: the page works, loads nothing but its own files, and serves no other."""

import json
import re

import pytest

from mdcache.serving.routes import DOCS_FILES
from tests.support.browser import Browser
from tests.support.processes import daemon, sim
from tests.support.serving_harness import ServingHarness
from tools.openapi import text


async def test_the_page_loads_its_own_files_only() -> None:
    page = (await ServingHarness().ask("/docs", b"")).body.decode()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {f"docs/{name}" for name in DOCS_FILES} == set(loaded)
    assert page.count("<script") == page.count("></script>")  # nothing inline
    assert "style=" not in page


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("docs.css", "text/css; charset=utf-8"),
        ("docs.js", "text/javascript; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_files(name: str, content_type: str) -> None:
    reply = await ServingHarness().ask(f"/docs/{name}", b"")
    assert (reply.status, reply.headers["content-type"]) == (200, content_type)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    again = await ServingHarness().ask(f"/docs/{name}", b"", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


async def test_the_style_sheets_load_nothing() -> None:
    names = [name for name in DOCS_FILES if name.endswith(".css")]
    css = "".join([(await ServingHarness().ask(f"/docs/{name}", b"")).body.decode() for name in names])
    assert "@import" not in css
    assert all(url.startswith("data:") for url in re.findall(r"url\([\"']?([^)]{0,20})", css))


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/../docs",
        "/docs/../openapi.py",
        "/docs/./docs.js",
        "/docs/docs.html",
        "/docs/swagger-ui-bundle.js/",
        "/docs//etc/passwd",
        "/docs/..\\docs.py",
        "/docs/docs.js\0",
        "/docs/swagger-editor-bundle.js",
    ],
)
async def test_there_is_no_other_file(path: str) -> None:
    assert (await ServingHarness().ask(path, b"")).status == 404


@pytest.mark.processes
@pytest.mark.untraced
def test_in_a_browser_a_first_try_is_fetched_and_the_second_is_a_hit(window: Browser) -> None:
    """Whatever the page is told to ask for first; the browser's own cache must not answer for the daemon's."""
    with sim() as upstream, daemon(upstream) as (url, _):
        window.look(height=1_600)
        window.open("about:blank")
        window.complaints()
        window.open(f"{url}/docs#/spot/api_v3_klines")
        window.until(lambda: window.run("return document.querySelector('.try-out__btn') !== null"))
        document = json.loads(text())
        shown = window.run("return [...document.querySelectorAll('[data-path]')].map((each) => each.dataset.path)")
        assert shown == [
            path for path, item in document["paths"].items() if item.get("get", {}).get("tags") == ["spot"]
        ]
        shown = window.run("return [...document.querySelectorAll('[data-tag]')].map((each) => each.dataset.tag)")
        assert shown == [each["name"] for each in document["tags"]]
        window.click(".try-out__btn")
        first = execute(window)
        assert "cache-status: mdcache; fwd=uri-miss; fwd-status=200; stored" in first
        assert "x-mdcache-as-of: " in first
        assert any("cache-status: mdcache; hit" in execute(window) for _ in range(3))  # the first, if within 10 s
        for name, dark, phone in (("light", False, False), ("dark", True, False), ("phone", True, True)):
            window.look(dark=dark, width=390 if phone else 1_200, height=1_600, phone=phone)
            window.picture(f"docs-{name}", most=3_000)
            assert window.run("return document.documentElement.scrollWidth <= innerWidth"), name
        loaded = window.run("return performance.getEntriesByType('resource').map((each) => each.name)")
        assert {f"{url}/openapi.json", f"{url}/docs/docs.js", f"{url}/docs/docs.css"} <= set(loaded)
        assert all(each.startswith(f"{url}/") for each in loaded)
        assert [each for each in window.complaints() if "deep link whitespace" not in each] == []


def execute(window: Browser) -> str:
    """The headers of the answer that the page shows after a click."""
    shown = "[...document.querySelectorAll('.live-responses-table .headerline')].map((each) => each.innerText)"
    window.run("document.querySelector('.btn-clear')?.click()")
    window.until(lambda: window.run(f"return {shown}.length === 0"))
    window.click(".execute")
    return "\n".join(window.until(lambda: window.run(f"return {shown}")))
