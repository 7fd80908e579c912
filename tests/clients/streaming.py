"""Run a stream client twice at the same time, against a simulated exchange and through the daemon; compare.

What the exchange streams depends on its seed and the moment alone: two of them send the same. So both runs must be
given the same frames, each once and in order, in the time that they share.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from mdcache.replay.processes import Process, daemon, sim, stream_settings
from tests.clients.outcome import Outcome

_LISTEN_S = 25.0  # at least; and over a full minute, so that candles end
_AFTER_MINUTE_S = 5.0  # futures' final frames come two seconds after the close
_MINUTE_S = 60.0
_DEADLINE_S = 60.0  # from the end of listening until the document is printed
_SHARED = 3  # frames of each topic that both runs must have, at least
_HEAD = 10  # frames of a run among which one must be the other's, too
_TAIL = 200  # frames that one run may have more at the end: five seconds of a busy symbol's trades

Frames = dict[str, list[Any]]


class ScriptFailed(Exception):
    """A script ended without its document."""


@dataclass(frozen=True, slots=True)
class StreamRun:
    """What one run of a client was given: its frames by topic, what it said of some topics by key, what failed."""

    frames: Frames
    states: dict[str, dict[str, Any]]
    errors: list[str]


@dataclass(slots=True)
class StreamResult(Outcome):
    """How two runs of a client compare: topics, frames that both were given, and topics subscribed to upstream."""

    topics: int = 0
    frames: int = 0
    upstream: int = 0


def run_streams(command: list[str], result: StreamResult, *, longer_s: float, direct_only: bool) -> None:
    """Run a client's script against the exchange and, meanwhile, through the daemon."""
    with sim() as alone:
        if direct_only:
            with started(command, alone, _until(longer_s)) as script:
                direct = document(script)
            result.topics, result.frames = len(direct.frames), sum(map(len, direct.frames.values()))
            result.problems = _missing(direct, "without the daemon")
            return
        with sim() as exchange, daemon(exchange, **stream_settings(exchange)) as (url, _):
            until = _until(longer_s)
            with started(command, alone, until) as script, started(command, url, until) as other:
                time.sleep(max(0.0, until - time.time() - 1.0))
                upstream = subscribed(exchange)
                direct, through = document(script), document(other)
    result.upstream = len(upstream)
    result.problems = [
        *_missing(direct, "without the daemon"),
        *(f"upstream: {topic} is subscribed to {times} times" for topic, times in upstream.items() if times > 1),
        *(f"through the daemon: {error}" for error in through.errors),
        *_differences(direct, through, result),
    ]


def _until(longer_s: float) -> float:
    """Return when to stop listening: after a full minute, and not too soon."""
    soonest = time.time() + _LISTEN_S + longer_s
    return (soonest // _MINUTE_S + 1) * _MINUTE_S + _AFTER_MINUTE_S


@contextmanager
def started(command: list[str], base: str, until: float) -> Iterator[tuple[Process, Path, float]]:
    """Start a script; give its process, the folder of its output and its deadline."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.startswith(("MDCACHE_", "PYTHON"))
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            process = subprocess.Popen(
                [*command, base, str(until)],
                env=clean | {"NO_PROXY": "*", "TZ": "UTC"},
                cwd=folder,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        try:
            yield process, place, until + _DEADLINE_S
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            process.wait()


def document(script: tuple[Process, Path, float]) -> StreamRun:
    """Return the script's document: the last line it prints."""
    process, folder, deadline = script
    try:
        code = process.wait(max(1.0, deadline - time.time()))
    except subprocess.TimeoutExpired:
        raise ScriptFailed(f"no document: {(folder / 'err').read_text()[-2000:]}") from None
    try:
        return StreamRun(**json.loads((folder / "out").read_text().splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        raise ScriptFailed(f"exit code {code}, no document: {(folder / 'err').read_text()[-2000:]}") from None


def subscribed(exchange: str) -> Counter[str]:
    """Return how often each topic is subscribed to at the exchange, over all connections."""
    status = httpx.get(f"{exchange}/_sim/status", trust_env=False, timeout=30.0).json()
    return Counter(f"{stream['market']} {topic}" for stream in status["streams"] for topic in stream["topics"])


def _missing(run: StreamRun, name: str) -> list[str]:
    found = [f"{name}: {topic}: {len(frames)} frames" for topic, frames in run.frames.items() if len(frames) < _SHARED]
    return [*(found if run.frames else [f"{name}: no frames"]), *(f"{name}: {error}" for error in run.errors)]


def _differences(direct: StreamRun, through: StreamRun, result: StreamResult) -> Iterator[str]:
    for topic, expected in direct.frames.items():
        shared, problem = _shared(expected, through.frames.get(topic, []))
        result.frames += shared
        result.topics += 1
        if problem is not None:
            yield f"{topic}: {problem}"
    yield from (f"{topic}: only through the daemon" for topic in through.frames.keys() - direct.frames.keys())
    for name, expected_states in direct.states.items():
        got = through.states.get(name, {})
        keys = expected_states.keys() & got.keys()
        if not keys:
            yield f"{name}: {len(expected_states)} and {len(got)}, none the same"
        wrong = next((key for key in keys if expected_states[key] != got[key]), None)
        if wrong is not None:
            yield f"{name} {wrong}: {str(expected_states[wrong])[:200]} became {str(got[wrong])[:200]}"


def _shared(expected: list[Any], got: list[Any]) -> tuple[int, str | None]:
    """Return how many frames two runs share, from the first that both have to the end of the shorter; and a difference.

    The two neither begin nor stop at the same moment, and a candle's first frame comes at once to who has just begun.
    """
    starts = ((ours, expected.index(frame)) for ours, frame in enumerate(got[:_HEAD]) if frame in expected)
    begin = next(starts, None)
    if begin is None:
        starts = ((got.index(frame), theirs) for theirs, frame in enumerate(expected[:_HEAD]) if frame in got)
        begin = next(starts, None)
    if begin is None:
        return 0, f"{len(expected)} frames became {len(got)}, and none of the first is shared"
    ours, theirs = got[begin[0] :], expected[begin[1] :]
    for place, (one, other) in enumerate(zip(theirs, ours, strict=False)):
        if one != other:
            return place, f"frame {place}: {str(one)[:300]} became {str(other)[:300]}"
    shared = min(len(ours), len(theirs))
    if abs(len(ours) - len(theirs)) > _TAIL or shared < _SHARED:
        return shared, f"{len(expected)} frames became {len(got)}, {shared} of them shared"
    return shared, None
