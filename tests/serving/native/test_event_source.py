"""A browser's own `EventSource` listens through a killed daemon: each closed candle once, and nothing to program."""

import contextlib

import pytest

from tests.support.browser import Browser
from tests.support.daemon_process import DaemonProcess
from tests.support.processes import sim

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

LISTEN = """
window.opens = [];
const events = new EventSource("/v1/stream?market=spot&symbols=BTCUSDT&intervals=1s&closed=true");
events.addEventListener("closed", (event) => window.opens.push(JSON.parse(event.data).row[0]));
"""


def test_each_close_comes_once_through_a_killed_daemon(window: Browser) -> None:
    with sim() as upstream:
        daemon = DaemonProcess(upstream)
        with contextlib.closing(daemon):
            daemon.start()
            window.open(f"{daemon.url}/healthz")
            window.run(LISTEN)
            before = len(window.until(lambda: window.run("return window.opens.length > 8 && window.opens")))
            daemon.kill()
            daemon.start()
            window.until(lambda: window.run("return window.opens.length") > before + 8)
            opens: list[int] = window.run("return window.opens")
    assert opens == list(range(opens[0], opens[-1] + 1, 1_000))
