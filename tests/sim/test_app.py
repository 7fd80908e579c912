"""The exchange as an application, and once on a real socket."""

import contextlib
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.sync.client import connect

from mdcache.sim import SimConfig
from mdcache.sim.asgi import SimApp
from mdcache.sim.asgi_scope import ConnectionBroken
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.server import uvicorn_config
from tests.sim.helpers import WORLD, Sim
from tests.support.programs import find

PATH, QUESTION = "/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=100"
QUERY = f"{PATH}?{QUESTION}"


class Wired:
    """The application, with the sleeps it asked for."""

    def __init__(self) -> None:
        self.sim = Sim()
        self.slept: list[float] = []
        self.app = SimApp(self.sim.exchange, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sim.now += round(seconds * 1000)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://sim")


@pytest.fixture
def wired() -> Wired:
    return Wired()


async def test_requests_reach_the_exchange(wired: Wired) -> None:
    async with wired.client() as client:
        reply = await client.get(QUERY)
        assert reply.content == wired.sim.exchange.truth(PATH, QUESTION, at_ms=wired.sim.now)
        assert reply.headers["content-encoding"] == "gzip"
        assert reply.headers["x-mbx-used-weight-1m"] == "2"
        plain = await client.get(QUERY, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.headers["content-length"] == str(len(plain.content))
        assert "content-encoding" not in (await client.get("/api/v3/time")).headers
        await client.get("/fapi/v1/ping", headers={"X-Sim-Client": "10.9.8.7"})
    assert wired.sim.exchange.log[-1].client == "10.9.8.7"
    assert wired.slept == []


async def test_rows_are_looked_up_after_the_request_s_delay(wired: Wired) -> None:
    wired.sim.control.latency(before_s=2, after_s=3)
    start = wired.sim.now
    async with wired.client() as client:
        reply = await client.get(QUERY)
    assert wired.slept == [2, 3]
    assert reply.content == wired.sim.exchange.truth(PATH, QUESTION, at_ms=start + 2_000)


async def test_broken_connections(wired: Wired) -> None:
    async with wired.client() as client:
        for kind in ("drop", "truncate"):
            wired.sim.control.fault(kind, count=1)
            with pytest.raises(ConnectionBroken):
                await client.get(QUERY)
        assert (await client.get(QUERY)).status_code == 200


async def test_never_answering_ends_with_the_client(wired: Wired) -> None:
    wired.sim.control.fault("timeout")
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/v3/ping", "query_string": b"", "headers": []}
    await wired.app(scope, receive, send)
    assert (sent, messages) == ([], [])


@pytest.fixture
def port() -> Iterator[int]:
    """A real server on a free port, stopped at the end."""
    config = uvicorn_config(SimConfig(symbols=WORLD), "127.0.0.1", 0)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


def test_on_a_real_socket(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
        reply = client.get(QUERY)
        assert len(reply.json()) == 100
        assert len(reply.headers.get_list("date")) == 1
        assert reply.headers["server"] == "nginx"
        for kind, error in (
            ("drop", httpx.RemoteProtocolError),
            ("truncate", httpx.RemoteProtocolError),
            ("garbage_gzip", httpx.DecodingError),
        ):
            client.post("/_sim/fault", json={"kind": kind, "count": 1})
            with pytest.raises(error):
                client.get(QUERY)
        client.post("/_sim/fault", json={"kind": "timeout", "count": 1})
        with pytest.raises(httpx.ReadTimeout):
            client.get(QUERY, timeout=0.2)
        client.post("/_sim/fault", json={"kind": "huge", "count": 1, "size": 20_000_000})
        assert len(client.get(QUERY).content) == 20_000_000
        assert client.get(QUERY).status_code == 200
        with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as raw:
            raw.sendall(b"HEAD /api/v3/ping HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in raw.recv(4096)
    assert json.loads(reply.content)


@pytest.mark.processes
@pytest.mark.parametrize(("http2", "chosen"), [(True, "h2"), (False, "http/1.1")])
def test_http2_is_offered_in_the_tls_handshake_if_that_is_played(
    http2: bool,
    chosen: str,
    tmp_path: Path,
) -> None:
    file = tmp_path / "both.pem"
    options = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=sim")
    command = [find("openssl"), "req", *options, "-keyout", str(file), "-out", str(tmp_path / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "certificate").read_text())
    config = uvicorn_config(SimConfig(facts=PlayedFacts({"usdm.http2": http2})), "127.0.0.1", 0, file)
    client, server = ssl.create_default_context(cafile=str(tmp_path / "certificate")), config.ssl
    assert server is not None
    client.check_hostname = False
    client.set_alpn_protocols(["h2", "http/1.1"])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, answering = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for side in (asking, answering):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert asking.selected_alpn_protocol() == chosen


def test_streams_on_a_real_socket(port: int) -> None:
    base, control = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}/_sim"
    with httpx.Client(timeout=10, trust_env=False) as client:
        with connect(f"{base}/usdm/market/ws/btcusdt@kline_1m", proxy=None) as futures:
            assert json.loads(futures.recv(10))["k"]["i"] == "1m"
            futures.send('{"method":"SUBSCRIBE","params":["btcusdt@kline_5m"],"id":1}')
            while "k" in (said := json.loads(futures.recv(10))):
                assert said["k"]["i"] == "1m"
            assert said == {"result": None, "id": 1}
            while json.loads(futures.recv(10))["k"]["i"] != "5m":
                pass
            client.post(f"{control}/close_streams", json={"notice_s": 0.3})
            for _ in futures:
                pass
            assert futures.close_code == 1001
        with connect(f"{base}/ws", proxy=None) as spot:
            client.post(f"{control}/close_streams")
            with pytest.raises(ConnectionClosedError):
                spot.recv(10)
        client.post(f"{control}/fault", json={"kind": "418", "count": 1, "path": "/stream", "retry_after_s": 9})
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{base}/stream", proxy=None)
        assert refused.value.response.status_code == 418
        assert refused.value.response.headers["Retry-After"] == "9"
        client.post(f"{control}/fault", json={"kind": "drop", "count": 1, "path": "/ws"})
        with pytest.raises(InvalidMessage):
            connect(f"{base}/ws", proxy=None)
        client.post(f"{control}/fault", json={"kind": "timeout", "count": 1, "path": "/ws"})
        with pytest.raises(TimeoutError):
            connect(f"{base}/ws", proxy=None, open_timeout=0.3)
        with connect(f"{base}/ws", proxy=None) as again:
            again.ping().wait(10)
