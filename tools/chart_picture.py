"""Draw the documentation's picture of the chart page: `python -m tools.chart_picture` (about a minute).

One-second candles of a simulated exchange that stops trading for a while, later bans the daemon, and sends it nothing.
"""

import sys
import tempfile
import time
from pathlib import Path

import httpx

from mdcache.replay.processes import daemon, sim, stream_settings
from tests.support.browser import browser
from tools.status_picture import PICTURES, save

_HALT_S, _BETWEEN_S, _BAN_S = 8.0, 14.0, 12.0
_WIDTH, _HEIGHT = 1000, 1100  # down to the end of "Where it comes from"


def main() -> int:
    """Write the picture."""
    with (
        sim() as exchange,
        daemon(exchange, **stream_settings(exchange)) as (url, _),
        httpx.Client(base_url=f"{exchange}/_sim/", trust_env=False) as control,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        browser(Path(profile)) as window,
    ):
        window.look(width=_WIDTH, height=_HEIGHT)
        window.open(f"{url}/chart?market=spot&symbol=ETHUSDT&interval=1s")
        window.until(lambda: window.text("#health") == "live, by events")
        for action, what, then_s in (
            ("halt", {"market": "spot", "symbol": "ETHUSDT"}, _HALT_S),
            ("relist", {"market": "spot", "symbol": "ETHUSDT"}, _BETWEEN_S),
            ("stream_fault", {"kind": "silent"}, 0.0),
            ("ban", {"family": "spot", "seconds": 300}, _BAN_S),
        ):
            control.post(action, json=what).raise_for_status()
            time.sleep(then_s)
        window.until(lambda: window.text("#health").startswith("stale"))
        drawn = window.picture("chart")
    save(drawn, PICTURES / "chart.png", _HEIGHT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
