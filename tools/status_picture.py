"""Draw the README's picture of the status page: `python -m tools.status_picture` (about two minutes).

Three programs ask a daemon with default settings, in front of a simulated exchange, for candles of ten symbols in six
intervals. Chromium takes the picture.
"""

import asyncio
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from PIL import Image

from mdcache.clock import SystemClock
from mdcache.replay.consumers import Consumers, ReplayLoad
from mdcache.replay.processes import daemon, sim, stream_settings
from tests.support.browser import browser

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
LOAD = ReplayLoad(seconds=100.0, symbols=10)
_BEFORE_THE_END_S = 10.0
_COLOURS = 256  # of the palette: the page has few, and the file is a third
_WIDTH, _HEIGHT = 1200, 900
_BOTTOM = "return document.querySelector('#shares-chart').closest('section').getBoundingClientRect().bottom + scrollY"


def main() -> int:
    """Write the picture."""
    with (
        sim() as exchange,
        daemon(exchange, **stream_settings(exchange)) as (url, _),
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        asking = threading.Thread(target=lambda: asyncio.run(_ask(url)))
        asking.start()
        with browser(Path(profile)) as window:
            time.sleep(LOAD.seconds - _BEFORE_THE_END_S)
            window.look(width=_WIDTH, height=_HEIGHT)
            window.open(f"{url}/")
            window.until(lambda: window.cells("#requests"))
            bottom = round(window.run(_BOTTOM))
            drawn = window.picture("status")
        asking.join()
    save(drawn, PICTURES / "status.png", bottom)
    return 0


def save(drawn: Path, path: Path, height: int) -> None:
    """Save the first `height` pixels of a picture, with few colours."""
    with Image.open(drawn) as picture:
        cut = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, height)))
        cut.quantize(_COLOURS).save(path, optimize=True)
    print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


async def _ask(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=url) as client:
        info = (await client.get("/api/v3/exchangeInfo")).raise_for_status().json()
        (await client.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).raise_for_status()
    trading = [each["symbol"] for each in info["symbols"] if each["status"] == "TRADING"]
    clock = SystemClock()
    await Consumers(url, trading[: LOAD.symbols], LOAD, clock).run(clock.now())


if __name__ == "__main__":
    sys.exit(main())
