"""`mdcache check --plan`: what it prints, and its exit codes."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]

INCIDENT = ("check", "--plan", "20x6", "--consumers", "3")
# One TTL for all intervals is more than the default share pays for.
TTL = {"MDCACHE_OPEN_CANDLE_TTL_S": "2", "MDCACHE_STREAMS": "off", "MDCACHE_DERIVE": "false"}


def test_the_incident_fits_at_the_default_settings(run: Run) -> None:
    for settings, said in (
        (
            {},
            (
                "MDCACHE_STREAMS=auto): 121 topics on 1 connection",
                "6.7",
                "where streams are blocked",
                "with 99% to spare",
            ),
        ),
        ({"MDCACHE_STREAMS": "off"}, ("5m, 15m, 1h, 4h derived", "842.8", "with 71% to spare")),
        ({"MDCACHE_STREAMS": "off", "MDCACHE_DERIVE": "false"}, ("no stream", "1,901.3", "with 36% to spare")),
    ):
        result = run(*INCIDENT, **settings)
        assert result.exit_code == 0
        assert [each for each in said if each not in result.stdout] == []


def test_a_market_of_another_upstream_has_streams_only_if_their_base_is_set(run: Run) -> None:
    other = {"MDCACHE_SPOT_URL": "http://127.0.0.1:1"}
    assert "no stream" in run(*INCIDENT, **other).stdout
    assert "121 topics" in run(*INCIDENT, **other, MDCACHE_SPOT_WS_URL="ws://127.0.0.1:1").stdout


def test_the_incident_with_one_ttl_for_all_does_not_fit_and_what_would_is_said(run: Run) -> None:
    result = run(*INCIDENT, **TTL)
    assert result.exit_code == 1
    for said in ("4,320.0", "3,000.0", "8,640.0", "MDCACHE_OPEN_CANDLE_TTL_S=", "MDCACHE_WEIGHT_SHARE=0.73"):
        assert said in result.stdout


def test_what_it_advises_fits(run: Run) -> None:
    share = run(*INCIDENT, MDCACHE_WEIGHT_SHARE="0.73", **TTL)
    assert share.exit_code == 0
    assert "It fits" in share.stdout
    assert "at worst they cost 7,201" in share.stdout
    told = json.loads(run(*INCIDENT, "--json", **TTL).stdout)
    assert run(*INCIDENT, **TTL | {"MDCACHE_OPEN_CANDLE_TTL_S": str(told["least_ttl_s"])}).exit_code == 0
    slower = {name: told["slower_ttl_s"] for name in told["demand"]["intervals"] if name != "1m"}
    assert run(*INCIDENT, MDCACHE_OPEN_CANDLE_TTLS=json.dumps(slower), **TTL).exit_code == 0


def test_json_for_machines(run: Run) -> None:
    result = run("check", "--plan", "1x1m", "--market", "usdm", "--rows", "99", "--json", **TTL)
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["demand"]["market"] == "usdm"
    assert told["weight"] == pytest.approx(30 + 1 / 60 + 1 / 5)
    assert told["fill_weight"] == 1 + 1 + 3
    assert told["redis_bytes"] == 99 * 54
    assert (told["topics"], told["sources"], told["without_streams"]) == (0, {"1m": "polled"}, None)
    fed = json.loads(run("check", "--plan", "1x1m", "--market", "usdm", "--rows", "99", "--json").stdout)
    assert (fed["topics"], fed["connections"], fed["sources"]) == (2, 1, {"1m": "stream"})
    assert fed["without_streams"] == told["weight"]
    assert fed["fits_without_streams"] is True


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
    result = run("check", "--plan", "2000x1s", **TTL)
    assert result.exit_code == 1
    assert "No TTL and no share would." in result.stdout


def figures(text: str) -> list[float]:
    return [float(cell.replace(",", "")) for cell in re.findall(r"\b\d+(?:,\d{3})*(?:\.\d)?\b", text)]


def test_the_savings_told_in_public_are_those_of_the_plan_at_default_settings(run: Run) -> None:
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/sizing.md")]
    for consumers, size in ((1, "10x3"), (3, "10x3"), (10, "10x3"), (3, "20x6")):
        plan = json.loads(run("check", "--json", "--plan", size, "--consumers", str(consumers)).stdout)
        told = [plan["direct"], round(plan["weight"], 1), round(plan["without_streams"], 1)]
        assert [*map(int, size.split("x")), consumers, *told, plan["usable"]] in rows(pages[1]), size
        if size == "10x3":
            assert [consumers, *told] in [[*row[:2], *row[-2:]] for row in rows(pages[0]) if len(row) > 3], consumers
            assert f"weight {plan['fill_weight']} in all" in pages[0]


def rows(page: str) -> list[list[float]]:
    return [figures(line) for line in page.splitlines() if line.startswith("| ") and figures(line)]
