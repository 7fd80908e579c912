"""Listeners behind the balancers: what they are sent comes through at once, in silence the connection stays, and a
daemon that stops ends it in an orderly way."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.deploy.proxies import Address, client_of
from tests.deploy.test_paths import PROXIES, proxy
from tests.support.daemon_process import DaemonProcess
from tests.support.processes import sim
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

EVENTS = "/v1/stream?market=spot&symbols=BTCUSDT&intervals=1s,1m"
QUIET = "/v1/stream?market=spot&symbols=BTCUSDT&intervals=1w&closed=true"
SILENT_S = 32.0  # two heartbeats of events, and a ping: longer than what the balancers wait for polls


@pytest.fixture(params=PROXIES)
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Address, DaemonProcess]]:
    """A balancer, and the daemon behind it with streams of the simulated exchange."""
    with sim() as upstream:
        at = upstream.replace("http://", "ws://")
        daemon = DaemonProcess(
            upstream, spot_ws_url=at, usdm_ws_url=f"{at}/usdm", coinm_ws_url=f"{at}/coinm", shutdown_grace_s="4"
        )
        with contextlib.closing(daemon):
            daemon.start()
            with proxy(request.param, daemon.url.removeprefix("http://"), tmp_path) as address:
                eventually(lambda: address.ask("/api/v3/ping").status == 200)
                yield address, daemon


def socket_to(address: Address, path: str) -> ClientConnection:
    scheme = "ws" if address.tls is None else "wss"
    return connect(f"{scheme}://127.0.0.1:{address.port}{path}", ssl=address.tls, proxy=None)


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Each event with its data; a comment is an event without a name."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
        elif line.startswith(":"):
            yield "", None


def worst_lag_s(direct: Iterator[int], through: Iterator[int], count: int) -> float:
    """How much later than from the daemon itself something comes through, by numbers that grow."""
    worst_s, come = 0.0, -1
    for _ in range(count):
        sent, at_s = next(direct), time.monotonic()
        while come < sent:
            come = next(through)
        worst_s = max(worst_s, time.monotonic() - at_s)
    return worst_s


def trades(link: ClientConnection) -> Iterator[int]:
    events = (json.loads(text)["data"] for text in link)
    return (event["a"] for event in events if event["e"] == "aggTrade")


def closes(response: httpx.Response) -> Iterator[int]:
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream"
    told = (data for name, data in events(response.iter_lines()) if name == "closed")
    return (data["row"][0] for data in told if data["interval"] == "1s")


def test_frames_and_events_come_through_at_once(behind: tuple[Address, DaemonProcess]) -> None:
    address, daemon = behind
    path = "/stream?streams=btcusdt@aggTrade/btcusdt@kline_1s"
    with socket_to(address, path) as link, connect(daemon.url.replace("http", "ws") + path, proxy=None) as direct:
        assert worst_lag_s(trades(direct), trades(link), 12) < 2.0
        link.send('{"method":"LIST_SUBSCRIPTIONS","params":[],"id":7}')
        while json.loads(message := link.recv(timeout=PATIENCE_S)).get("id") != 7:
            pass
        assert set(json.loads(message)["result"]) == {"btcusdt@aggTrade", "btcusdt@kline_1s"}
    with (
        client_of(address) as client,
        httpx.Client(base_url=daemon.url, trust_env=False) as itself,
        client.stream("GET", EVENTS, timeout=PATIENCE_S) as response,
        itself.stream("GET", EVENTS, timeout=PATIENCE_S) as undelayed,
    ):
        assert worst_lag_s(closes(undelayed), closes(response), 4) < 2.0


def test_a_listener_stays_through_silence_and_is_told_when_the_daemon_stops(
    behind: tuple[Address, DaemonProcess],
) -> None:
    address, daemon = behind
    seen: list[str] = []

    def read() -> None:
        with client_of(address) as client, client.stream("GET", QUIET, timeout=60.0) as response:
            seen.extend(name for name, _ in events(response.iter_lines()))
        seen.append("end")  # and no error: the response was whole

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with socket_to(address, "/usdm/private/ws") as link:
        with pytest.raises(TimeoutError):
            link.recv(timeout=SILENT_S)
        assert seen == ["", ""]
        daemon.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            link.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    reader.join(10)
    assert seen == ["", "", "end"]


def test_a_listener_without_a_daemon_gets_the_balancers_own_error(behind: tuple[Address, DaemonProcess]) -> None:
    address, daemon = behind
    daemon.kill()
    with client_of(address) as client:
        reply = client.get(EVENTS)
        assert reply.status_code in {502, 503}
        assert reply.json()["code"] == -1001
    with pytest.raises(Exception, match=r"HTTP 50[23]"):
        socket_to(address, "/ws")
    with pytest.raises(httpx.HTTPStatusError), client_of(address) as client:
        client.get("/v1/status").raise_for_status()
