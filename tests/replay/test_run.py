"""What a replay comes to; and a short one with real processes, whose direct side is really banned."""

import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdcache.errors import MdcacheError
from mdcache.replay import run
from mdcache.replay.consumers import ConsumerTally, ReplayLoad
from mdcache.replay.notes import notes
from mdcache.replay.processes import free_port, running
from mdcache.replay.run import ReplayPlan, ReplayResult
from mdcache.replay.sides import side_result
from tests.cli.conftest import Run
from tests.support.examples import long

pytestmark = pytest.mark.processes

START_MS = 1_790_771_380_100  # a tenth of a second into the 40th of a minute


def entry(at_s: float, status: int = 200, weight: int = 2, path: str = "/api/v3/klines") -> dict[str, Any]:
    return {"at_ms": START_MS + round(at_s * 1000), "status": status, "weight": weight, "path": path}


def test_the_exchanges_log_in_sum() -> None:
    log = [
        *(entry(at) for at in (-3.0, 0.0, 0.9, 2.5)),
        entry(2.6, status=429),
        entry(3.0, status=418, weight=0),
        entry(3.5, status=418, weight=0),
        entry(5.0, weight=50),
        entry(-0.1, weight=50),
    ]
    tally = ConsumerTally(
        Counter({200: 3, 429: 1, 418: 2}), 1, 2.34567, [0.1, 0.2, 0.9], Counter({0: 2, 2: 1}), Counter({3: 3})
    )
    found = side_result("direct", tally, log, 1, START_MS, ReplayLoad(seconds=5))
    assert (found.calls, found.weight, found.refused, found.bans, found.banned_at_s) == (6, 8, 3, 1, 3.0)
    assert found.used == (4, 4, 8, 8, 8)
    assert (found.answered, found.refusals) == ((2, 0, 1, 0, 0), (0, 0, 0, 3, 0))
    assert (found.asked, found.failed, found.marked, found.worst_age_s, found.p99_ms) == (6, 3, 1, 2.346, 900.0)


def test_weight_is_counted_by_the_exchanges_minutes() -> None:
    log = [entry(second + 0.5) for second in range(30)]
    found = side_result("direct", ConsumerTally(), log, 0, START_MS, ReplayLoad(seconds=30))
    assert found.used[:20] == tuple(range(2, 42, 2))
    assert found.used[20:] == tuple(range(2, 22, 2))


def test_the_first_minute_is_told_apart_from_the_warm_ones() -> None:
    log = [*map(entry, range(30)), entry(0.5, weight=20, path="/api/v3/exchangeInfo"), entry(61.0), entry(130.0)]
    log += [entry(125.0, weight=1, path="/api/v3/time"), entry(100.0, weight=0, path="/stream")]
    found = side_result("mdcache", ConsumerTally(), log, 0, START_MS, ReplayLoad(seconds=150))
    assert found.weights == (80, 2, 3)
    assert found.other_weights == (20, 0, 1)
    assert (found.cold_weight, found.warm_weight) == (80, 3)
    short = side_result("mdcache", ConsumerTally(), log, 0, START_MS, ReplayLoad(seconds=60))
    assert (short.cold_weight, short.warm_weight) == (80, None)


@pytest.mark.parametrize(("at_s", "step_s"), [(0.0, 0.0), (61.0, 59.0), (90.0, 30.0), (179.5, 0.5)])
def test_a_clock_is_put_ahead_to_a_minutes_beginning(at_s: float, step_s: float) -> None:
    assert run._to_next_minute_s(at_s) == step_s


def test_a_process_that_ends_says_why() -> None:
    command = ["sh", "-c", "echo no such luck >&2; exit 3"]
    with pytest.raises(MdcacheError, match="no such luck"), running(command, f"http://127.0.0.1:{free_port()}/"):
        pass


@pytest.mark.parametrize("processors", [3, *long(4)])
def test_a_short_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    """Two symbols against a limit of 110: all sides begin alike, and the one without mdcache is banned."""
    load = ("--seconds", "10", "--symbols", "2", "--limit", "110")
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    done = run("replay", "--json", *load, "--picture", str(tmp_path / "p"))
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told
    assert told["plan"]["in_turn"] is (processors < 4)
    direct, rest_only, mdcache = told["direct"], told["rest_only"], told["mdcache"]
    assert direct["asked"] == rest_only["asked"] == mdcache["asked"] == told["plan"]["load"]["consumers"] * 2 * 12
    assert (direct["bans"], rest_only["bans"], mdcache["bans"]) == (1, 0, 0)
    assert direct["refused"] == direct["failed"] > 5
    assert (rest_only["refused"], rest_only["failed"]) == (mdcache["refused"], mdcache["failed"]) == (0, 0)
    assert max(direct["used"]) > 110 >= max(rest_only["used"])
    assert mdcache["weight"] <= rest_only["weight"]
    assert 0 < direct["banned_at_s"] < 10
    assert mdcache["worst_age_s"] < 10
    assert not any("too short" in note for note in told["notes"])
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "wrote" in done.stderr


def test_without_the_extra_it_says_so_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mdcache.replay.picture", None)
    done = run("replay")
    assert done.exit_code == 2
    assert "pip install 'mdcache[replay]'" in done.stderr
    assert "--no-picture" in done.stderr


def made(**changes: Any) -> ReplayResult:
    """A replay of ten seconds with round numbers."""
    log = [entry(second, 200 if second < 6 else 418, 100 if second < 6 else 0) for second in range(10)]
    tally = ConsumerTally(Counter({200: 6, 418: 4}), 0, 4.0, [0.01] * 10, Counter(range(6)), Counter(range(6, 10)))
    direct = side_result("direct", tally, log, 1, START_MS, ReplayLoad(seconds=10))
    calm = ConsumerTally(Counter({200: 10}), 2, 1.5, [0.02] * 10, Counter(range(10)), Counter())
    mdcache = side_result("mdcache", calm, [entry(0.5, weight=5)], 0, START_MS, ReplayLoad(seconds=10))
    plan = ReplayPlan(ReplayLoad(seconds=10), limit=600)
    rest_only = side_result("rest_only", calm, [entry(at, weight=15) for at in (0.5, 5.0)], 0, START_MS, plan.load)
    return replace(ReplayResult(plan, direct, rest_only, mdcache), **changes)


def test_whether_it_held() -> None:
    found = made()
    assert found.passed
    assert found.uncached_weight == 120
    assert not made(mdcache=found.direct).passed
    assert not made(rest_only=found.direct).passed


def test_what_the_terminal_shows(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from mdcache.cli.replay import progress_bars, results, summary

    console = Console(width=100)
    console.print(results(made()))
    shown = capsys.readouterr().out
    for words in ("weight in the first minute", "600", " 30 ", " 5", "1, after 6 s", "4.0 s", "without mdcache"):
        assert words in shown
    assert "they cost 5 in the first minute; with REST only 30 in the first minute" in summary(made())
    warm = replace(made().mdcache, weights=(5, 2, 3))
    assert "they cost 5 in the first minute and at most 3 in a later one; with" in summary(made(mdcache=warm))
    with progress_bars(ReplayPlan(), Console(force_terminal=True, width=100)) as watch:
        watch("direct", 4_320, 1_320)
        watch("mdcache", 2_160, 0)
        watch("rest_only", 4_319, 0)
    shown = capsys.readouterr().out
    assert "1,320 failed" in shown
    assert "2160/8640" in shown
    assert "4319/8640" in shown


def test_the_same_run_draws_the_same_bytes(tmp_path: Path) -> None:
    from mdcache.replay.picture import draw

    first, again = draw(made(), tmp_path / "a"), draw(made(), tmp_path / "b")
    assert first[0].read_bytes() == again[0].read_bytes()
    assert first[1].read_bytes() == again[1].read_bytes()


@pytest.mark.parametrize("banned_at_s", [0.2, 4.0, 9.9])
def test_every_label_is_inside_the_picture(banned_at_s: float) -> None:
    from mdcache.replay.picture import make_figure

    figure = make_figure(made(direct=replace(made().direct, banned_at_s=banned_at_s)))
    figure.draw_without_rendering()
    above = figure.axes[0]
    labels = above.texts
    assert any("banned after" in text.get_text() for text in labels)
    frame = figure.bbox
    shown, below = figure.legends[0].get_window_extent(), figure.axes[1].get_tightbbox()
    assert below is not None
    assert frame.x0 <= shown.x0 <= shown.x1 <= frame.x1
    assert frame.y0 <= shown.y0 <= shown.y1 <= below.y0
    for text in labels:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, text.get_text()
        assert above.bbox.x0 <= box.x0 <= box.x1 <= above.bbox.x1 + 1, text.get_text()


def test_a_run_that_shows_what_it_should_needs_no_note() -> None:
    assert notes(made()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"late_s": 3.25}, "sent up to 3.2 s late"),
        ({"no_answer": 40}, "40 got no answer within 15 s"),
        ({"p99_ms": 2_100.0}, "2.1 s for the slowest answer"),
    ],
)
def test_it_says_when_the_machine_was_the_limit(changes: dict[str, Any], words: str) -> None:
    (note,) = notes(made(direct=replace(made().direct, **changes)))
    assert note.startswith("This machine, not the exchange, was the limit")
    assert words in note


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((281, 20), "281 in the first minute, where 280 should do."),
        ((280, 20, 21), "it should: 21 in a later minute, where 20 should do."),
        ((300, 40), "300 in the first minute, where 280 should do, and 40 in a later minute, where 20 should do."),
        ((280, 20), ""),
        ((280,), ""),
    ],
)
def test_it_says_what_streams_cost_too_much(weights: tuple[int, ...], words: str) -> None:
    found = notes(made(mdcache=replace(made().mdcache, weights=weights)))
    assert len(found) == bool(words)
    assert not words or words in found[0]


def plan(seconds: float, **load: int) -> ReplayPlan:
    return ReplayPlan(ReplayLoad(seconds=seconds, **load), limit=600)


def test_it_says_when_a_run_is_too_short_or_too_small_to_be_banned() -> None:
    calm = replace(made().direct, bans=0, banned_at_s=None)
    (short,) = notes(made(plan=plan(5.0, symbols=2), direct=calm))  # 72 a round of 5 s: 600 after 41.7 s
    assert "too short for a ban" in short
    assert "after 42 s" in short
    assert "--seconds 47" in short
    (small,) = notes(made(plan=plan(60.0, symbols=1, consumers=1), direct=calm))
    assert "weigh 144 a minute, within the limit of 600" in small
    (odd,) = notes(made(plan=plan(60.0, symbols=20), direct=calm))
    assert "although" in odd


def test_a_run_without_a_ban_can_be_drawn(tmp_path: Path) -> None:
    from mdcache.replay.picture import draw

    svg, png = draw(made(direct=made().mdcache), tmp_path / "v1.2")
    assert (svg.name, png.name) == ("v1.2.svg", "v1.2.png")
