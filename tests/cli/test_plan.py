"""`mdcache check --plan`: what it prints, and its exit codes."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]

INCIDENT = ("check", "--plan", "20x6", "--consumers", "3")
TTL = {"MDCACHE_OPEN_CANDLE_TTL_S": "2"}  # of all intervals: more than the default share pays for


def test_the_incident_fits_at_the_default_settings(run: Run) -> None:
    result = run(*INCIDENT)
    assert result.exit_code == 0
    assert "1,905.0" in result.stdout
    assert "It fits, with 37% to spare." in result.stdout


def test_the_incident_with_one_ttl_for_all_does_not_fit_and_what_would_is_said(run: Run) -> None:
    result = run(*INCIDENT, **TTL)
    assert result.exit_code == 1
    for said in ("4,320.0", "3,000.0", "8,640.0", "MDCACHE_OPEN_CANDLE_TTL_S=", "MDCACHE_WEIGHT_SHARE=0.73"):
        assert said in result.stdout


def test_what_it_advises_fits(run: Run) -> None:
    share = run(*INCIDENT, MDCACHE_WEIGHT_SHARE="0.73", **TTL)
    assert share.exit_code == 0
    assert "It fits" in share.stdout
    assert "at worst they cost 7,204" in share.stdout
    told = json.loads(run(*INCIDENT, "--json", **TTL).stdout)
    assert run(*INCIDENT, MDCACHE_OPEN_CANDLE_TTL_S=str(told["least_ttl_s"])).exit_code == 0
    slower = {name: told["slower_ttl_s"] for name in told["demand"]["intervals"] if name != "1m"}
    assert run(*INCIDENT, MDCACHE_OPEN_CANDLE_TTLS=json.dumps(slower), **TTL).exit_code == 0


def test_json_for_machines(run: Run) -> None:
    result = run("check", "--plan", "1x1m", "--market", "usdm", "--rows", "99", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["demand"]["market"] == "usdm"
    assert told["weight"] == pytest.approx(30 + 2 / 5)
    assert told["fill_weight"] == 1 + 1 + 3
    assert told["redis_bytes"] == 99 * 54


def test_what_replicas_would_keep_in_redis(run: Run) -> None:
    assert "in Redis, where replicas share one: 3.2 MB" in run(*INCIDENT).stdout  # 120 series of 500 rows


@pytest.mark.parametrize("plan", ["20", "1x7m", "20x99", "x"])
def test_a_plan_that_is_none_is_refused(run: Run, plan: str) -> None:
    result = run("check", "--plan", plan)
    assert result.exit_code == 2
    assert "--plan" in result.output


def test_wrong_settings_come_first(run: Run) -> None:
    assert run(*INCIDENT, MDCACHE_WEIGHT_SHARE="2").exit_code == 2


def test_where_no_ttl_and_no_share_would_do_it_says_so(run: Run) -> None:
    result = run("check", "--plan", "2000x1s")
    assert result.exit_code == 1
    assert "No TTL and no share would." in result.stdout


def figures(text: str) -> list[int]:
    return [int(cell.replace(",", "")) for cell in re.findall(r"\b\d+(?:,\d{3})*\b", text)]


def test_the_savings_told_in_public_are_those_of_the_plan_at_default_settings(run: Run) -> None:
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/sizing.md")]
    for consumers, size in ((1, "10x3"), (3, "10x3"), (10, "10x3"), (3, "20x6")):
        plan = json.loads(run("check", "--json", "--plan", size, "--consumers", str(consumers)).stdout)
        direct, ours = int(plan["direct"]), int(plan["weight"])
        symbols, intervals = map(int, size.split("x"))
        assert [symbols, intervals, consumers, direct, ours, plan["usable"]] in rows(pages[1]), size
        if size == "10x3":
            assert [consumers, direct, ours] in [[*row[:2], row[-1]] for row in rows(pages[0])], consumers


def rows(page: str) -> list[list[int]]:
    return [figures(line) for line in page.splitlines() if line.startswith("| ") and figures(line)]
