"""The balancer in front of replicas: HAProxy takes the file, and asks only those who can answer."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.deploy.conftest import call
from tests.deploy.proxies import HAPROXY, client_of, haproxy
from tests.support.processes import daemon, free_port, running, sim
from tests.support.programs import find
from tests.support.waiting import eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

ASKED = 12


class Replica:
    """A small server with a name; `ready` is what it says at /readyz."""

    def __init__(self, name: str) -> None:
        self.name, self.ready = name, True
        replica = self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1  # head and body at once: a health check disconnects after the head

            def do_GET(self) -> None:
                body = replica.name.encode()
                self.send_response(200 if replica.ready or self.path != "/readyz" else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: pytest has the outcome."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def balanced(*replicas: str) -> Iterator[httpx.Client]:
    """A client of HAProxy in front of these three."""
    with haproxy(*replicas) as address, client_of(address) as client:
        yield client


def names(client: httpx.Client) -> set[str]:
    """Return which servers answer; every question is answered."""
    replies = [client.get("/api/v3/ping") for _ in range(ASKED)]
    assert {reply.status_code for reply in replies} == {200}
    return {reply.text for reply in replies}


def test_haproxy_takes_the_file() -> None:
    program, at = find("haproxy"), "127.0.0.1:87"
    done = call(
        program, "-c", "-f", HAPROXY, BIND=f"{at}00", REPLICA_1=f"{at}11", REPLICA_2=f"{at}12", REPLICA_3=f"{at}13"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_daemon_not_ready_or_dead_gets_no_questions_and_none_is_lost() -> None:
    one, two, three = Replica("one"), Replica("two"), Replica("three")
    with balanced(one.address, two.address, three.address) as client:
        assert names(client) == {"one", "two", "three"}
        two.ready = False
        eventually(lambda: names(client) == {"one", "three"})
        three.die()
        assert names(client) == {"one"}  # at once: what met the dead one was asked of another
        two.ready = True
        eventually(lambda: names(client) == {"one", "two"})
    for replica in (one, two):
        replica.die()


def test_what_mdcache_says_goes_through_and_the_operators_doors_do_not() -> None:
    path = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=500&endTime=1700000000000"
    told = ("cache-control", "content-type", "content-length", "etag")
    dead = f"127.0.0.1:{free_port()}"
    with (
        sim() as upstream,
        daemon(upstream, admin_token="sesame") as (url, _),
        balanced(dead, url.removeprefix("http://"), dead) as client,
    ):
        there = client.get(path)
        here = httpx.get(url + path, trust_env=False)
        assert (there.status_code, there.content) == (200, here.content)
        assert {name: there.headers[name] for name in told} == {name: here.headers[name] for name in told}
        assert client.get(path, headers={"if-none-match": there.headers["etag"]}).status_code == 304
        purge = client.post("/v1/admin/purge", json={}, headers={"authorization": "Bearer sesame"})
        assert (purge.status_code, "through this balancer" in purge.text) == (403, True)


def test_without_any_replica_it_says_so() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with balanced(dead, dead, dead) as client, pytest.raises(httpx.HTTPStatusError, match="503"):
        client.get("/api/v3/ping").raise_for_status()


def test_an_exchange_that_comes_late_is_asked_although_the_balancer_sends_nothing() -> None:
    """All gates close while it is away, so nobody is ready; only the daemon itself can find out that it is back."""
    port, nobody = free_port(), f"127.0.0.1:{free_port()}"
    upstream = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mdcache", "sim", "--port", str(port)]
    questions = [f"/{api}/klines?symbol=BTCUSDT&interval=1m&limit=5" for api in ("api/v3", "fapi/v1")]
    with daemon(upstream) as (url, _), balanced(nobody, url.removeprefix("http://"), nobody) as client:

        def statuses() -> set[int]:
            return {client.get(question).status_code for question in questions}

        def is_ready() -> bool:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200

        def balancer_has_nobody() -> bool:
            replies = [client.get(question) for question in questions]
            assert 200 not in {reply.status_code for reply in replies}
            return all(reply.status_code == 503 and "proxy-status" not in reply.headers for reply in replies)

        eventually(balancer_has_nobody)
        with running(command, f"{upstream}/_sim/"):
            eventually(lambda: statuses() == {200})
            assert is_ready()
