"""`/docs`: the page works, loads nothing but its own files, and serves no other."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdcache.serving.routes import DOCS_FILES
from tests.support.asgi_client import ServingHarness
from tests.support.processes import daemon, sim
from tests.support.programs import find
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


async def test_the_style_sheet_loads_nothing() -> None:
    css = (await ServingHarness().ask("/docs/swagger-ui.css", b"")).body.decode()
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
def test_in_a_browser_it_shows_every_path_and_loads_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    with sim() as upstream, daemon(upstream) as (url, _):
        done = subprocess.run(
            [
                find("chromium"),
                *("--no-sandbox", "--headless=new", "--disable-gpu", "--disable-background-networking"),
                *("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--enable-logging=stderr"),
                *(f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}"),
                *("--virtual-time-budget=20000", "--dump-dom", f"{url}/docs#/spot/api_v3_klines"),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    for path in json.loads(text())["paths"]:
        assert f'data-path="{path}"' in done.stdout
    assert 'data-param-name="timeZone"' in done.stdout  # the path in the address is open
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in console if re.search(r"refused|violat|error", line, re.IGNORECASE)], console
    asked = [params["url"] for params in requests(log) if params.get("initiator") == url]  # not the browser's own
    assert {f"{url}/openapi.json", f"{url}/docs/docs.js"} <= set(asked)
    assert all(each.startswith(f"{url}/") for each in asked)


def requests(log: Path) -> Iterator[dict[str, Any]]:
    """What the browser's log, an event a line, says of the requests it made."""
    for line in log.read_text().splitlines():
        if '"initiator":' in line:
            yield json.JSONDecoder().raw_decode(line)[0]["params"]
