"""The control API carries out actions, refuses nonsense, and is documented."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdcache.sim.control import control_api
from mdcache.sim.streams.session import StreamSession
from tests.sim.helpers import Sim

PAGE = (Path(__file__).parents[2] / "docs" / "sim.md").read_text()
PATH, QUERY = "/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=100"


def look(sim: Sim, name: str, query: str = "") -> Any:
    return json.loads(control_api.answer(sim.exchange, "GET", f"/_sim/{name}", query, b"").body)


def act(sim: Sim, action: str, body: str = "") -> int:
    return control_api.answer(sim.exchange, "POST", f"/_sim/{action}", "", body.encode()).status


def examples() -> Iterator[tuple[str, str]]:
    """Action and body of each curl line of the page."""
    for line in re.findall(r"^\$ (curl -X POST .*)$", PAGE, re.MULTILINE):
        words = shlex.split(line)
        yield words[3].rpartition("/")[2], words[5] if len(words) > 4 else ""


def test_open_streams_are_told(sim: Sim) -> None:
    kept = sim.exchange.open_stream("/usdm/market/ws", "", "10.9.8.7")
    gone = sim.exchange.open_stream("/ws", "")
    assert isinstance(kept, StreamSession)
    assert isinstance(gone, StreamSession)
    kept.subscribe(["!ticker@arr"], sim.now)
    sim.exchange.end_stream(gone)
    assert look(sim, "status")["streams"] == [
        {"market": "usdm", "path": "/usdm/market/ws", "client": "10.9.8.7", "topics": ["!ticker@arr"]}
    ]
    sim.control.close_streams()
    sim.now += 1
    kept.due(sim.now)
    assert look(sim, "status")["streams"] == []


def test_every_action_has_an_example_that_works(sim: Sim) -> None:
    done = list(examples())
    assert {action for action, _ in done} == set(control_api.ACTIONS)
    for action, body in done:
        assert act(sim, action, body) == 200, (action, body)


@pytest.mark.parametrize("action", control_api.ACTIONS)
def test_every_argument_of_an_action_is_documented(action: str) -> None:
    (arguments,) = re.findall(rf"^\| `{action}` \| (.*?) \|", PAGE, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", arguments)) - {"alternate", "random"}
    assert named == set(control_api.parameters(action))


def test_what_was_set_is_shown_and_reset(sim: Sim) -> None:
    assert act(sim, "ban", '{"family":"futures","seconds":60,"retry_after":false}') == 200
    assert act(sim, "fault", f'{{"kind":"500","count":1,"path":"{PATH}","retry_after_s":null}}') == 200
    assert act(sim, "replicas", '{"lags_s":[0,2.5]}') == 200
    assert act(sim, "spend", '{"family":"spot","weight":100}') == 200
    status = look(sim, "status")
    assert (status["replicas_ms"], status["faults"][0]["kind"]) == ([0, 2500], "500")
    assert status["accounts"][0]["family"] == "futures"
    assert [sim.get("/fapi/v1/ping").status, sim.get(PATH, QUERY).status] == [418, 500]
    assert sim.exchange.used_weight("spot") == 102
    assert [entry["status"] for entry in look(sim, "log")] == [418, 500]
    assert [entry["status"] for entry in look(sim, "log", "limit=1")] == [500]
    assert act(sim, "reset") == 200
    assert look(sim, "status")["requests"] == look(sim, "status")["faults"] == []


def test_the_truth(sim: Sim) -> None:
    sent = f"path={PATH}&query={QUERY.replace('&', '%26').replace('=', '%3D')}&at_ms={sim.now - 60_000}&lag_ms=2000"
    assert look(sim, "truth", sent) == json.loads(sim.exchange.truth(PATH, QUERY, at_ms=sim.now - 62_000))
    assert look(sim, "truth", "path=/api/v3/ping") == {}
    assert "error" in look(sim, "truth", "at_ms=x")


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("fault", '{"kind":"teapot"}'),
        ("fault", "{}"),
        ("fault", "[]"),
        ("fault", "{"),
        ("fault", '{"kind":"500","colour":1}'),
        ("latency", '{"before_s":"long"}'),
        ("ban", '{"family":"margin","seconds":1}'),
        ("replicas", '{"lags_s":"x"}'),
        ("revise", '{"path":"/api/v3/klines","name":"X","interval":"1m","open_ms":0,"volume":"x"}'),
    ],
)
def test_nonsense_is_refused(sim: Sim, action: str, body: str) -> None:
    reply = control_api.answer(sim.exchange, "POST", f"/_sim/{action}", "", body.encode())
    assert reply.status == 400
    assert json.loads(reply.body)["error"]
    assert control_api.answer(sim.exchange, "GET", f"/_sim/{action}", "", b"").status == 404
