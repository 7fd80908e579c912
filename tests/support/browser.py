"""A headless Chromium, driven as WebDriver (W3C) says, through Debian's chromedriver. It reaches loopback only."""

import base64
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import free_port, running
from tests.support.programs import find

PICTURES = Path(__file__).parents[2] / ".run" / "pictures"
_DEADLINE_S = 20.0
_LOOK_S = 0.05
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class Browser:
    """One window."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        self._post("url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """What `script` returns; `arguments` is what it finds under that name."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def cells(self, body: str) -> list[list[str]]:
        """The text of a table's body."""
        found: list[list[str]] = self.run(
            "return [...document.querySelectorAll(arguments[0] + ' tr:not(.spacer)')]"
            ".map((tr) => [...tr.cells].map((cell) => cell.innerText))",
            body,
        )
        return found

    def until(self, holds: Callable[[], Any]) -> Any:
        """What `holds` returns once that is true."""
        deadline = time.monotonic() + _DEADLINE_S
        while not (found := holds()):
            assert time.monotonic() < deadline, self.text("body")
            time.sleep(_LOOK_S)
        return found

    def click(self, selector: str) -> None:
        self._post(f"element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field, as a keyboard does."""
        found = self._find(selector)
        self._post(f"element/{found}/clear", {})
        self._post(f"element/{found}/value", {"text": text})

    def press(self, selector: str, key: str) -> None:
        """Press a key where it is focused; keys without a character are WebDriver's (U+E000 and up)."""
        self._post(f"element/{self._find(selector)}/value", {"text": key})

    def cdp(self, command: str, **parameters: object) -> Any:
        """A command of the DevTools protocol."""
        return self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, *, dark: bool = False, width: int = 1200, height: int = 900, phone: bool = False) -> None:
        """The window's size, and what the reader prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1 + phone, mobile=phone
        )

    def picture(self, name: str, most: int = 10_000) -> Path:
        """The whole page, down to `most` pixels, as `.run/pictures/NAME.png`, to be looked at."""
        width, height = self.run(
            "return [innerWidth, Math.min(document.documentElement.scrollHeight, arguments[0])]", most
        )
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self.cdp("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        path.write_bytes(base64.b64decode(taken["data"]))
        return path

    def complaints(self) -> list[str]:
        """Return the console's new messages: violations of the policy, exceptions, failed loads."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    def _find(self, selector: str) -> str:
        found = self._post("element", {"using": "css selector", "value": selector})
        return str(next(iter(found.values())))

    def _post(self, path: str, body: dict[str, object]) -> Any:
        reply = self._session.post(path, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()["value"]


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile is in `folder`; gone at the end."""
    program = find("chromium")
    driver = find("chromedriver")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {"binary": program, "args": [*_OPTIONS, f"--user-data-dir={folder}"]}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    with running([driver, f"--port={port}"], f"{url}/status"), httpx.Client(timeout=60.0, trust_env=False) as client:
        reply = client.post(f"{url}/session", json={"capabilities": {"alwaysMatch": wanted}})
        if reply.status_code != 200:
            raise RuntimeError(f"no browser: {reply.text}")
        client.base_url = httpx.URL(f"{url}/session/{reply.json()['value']['sessionId']}/")
        try:
            yield Browser(client)
        finally:
            with contextlib.suppress(httpx.HTTPError, subprocess.SubprocessError):
                client.delete("")
