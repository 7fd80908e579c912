"""How soon may we connect: never over the limit, and never so late that ordinary trouble lasts longer for it."""

import random
from itertools import pairwise

import pytest

from mdcache.exchange.markets import Market
from mdcache.upstream.streams.connect_pace import ConnectPace
from tests.support.examples import thinned


class Drill:
    """Markets whose connects end in a way that the test says, tried as soon as the pace allows it."""

    def __init__(self, seed: int = 1) -> None:
        self.pace = ConnectPace()
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.begun: list[tuple[float, Market]] = []

    def run(self, seconds: float, outcome: str, markets: tuple[Market, ...] = tuple(Market)) -> None:
        """Connect in turn; each connect ends a second later: `lost`, `refused`, `forbidden` or `unanswered`."""
        end_s, order = self.now_s + seconds, list(markets)
        busy: dict[Market, float] = {}
        while self.now_s < end_s:
            for market, done_s in list(busy.items()):
                if self.now_s >= done_s:
                    del busy[market]
                    self._finish(market, outcome)
            for market in list(order):
                if market not in busy and self.pace.wait_s(market, self.now_s, planned=False) <= 0:
                    self.pace.begin(market, self.now_s, self.rng.random())
                    self.begun.append((self.now_s, market))
                    busy[market] = self.now_s + 1
                    order.append(order.pop(order.index(market)))
            self.now_s += 0.1
        for market in busy:
            self.pace.cancelled(market)

    def _finish(self, market: Market, outcome: str) -> None:
        jitter = self.rng.random()
        match outcome:
            case "lost":
                self.pace.succeeded(market)
                self.pace.lost(market, self.now_s, jitter)
            case "unanswered":
                self.pace.unanswered(market, self.now_s, jitter, alive=False)
            case _:
                self.pace.refused(market, self.now_s, jitter, forbidden=outcome == "forbidden", wait_s=0.0)

    def times(self, market: Market) -> list[float]:
        return [at for at, one in self.begun if one is market]

    def most_a_minute(self) -> int:
        times = [at for at, _ in self.begun]
        return max(sum(begin <= at < begin + 60 for at in times) for begin in times)


@pytest.mark.parametrize("outcome", ["lost", "refused", "unanswered"])
@pytest.mark.parametrize("seed", thinned(range(5), 5))
def test_an_hour_of_trouble_costs_at_most_20_connects_a_minute_and_every_market_is_tried(
    outcome: str, seed: int
) -> None:
    drill = Drill(seed)
    drill.run(3_600, outcome)
    assert drill.most_a_minute() <= 20
    if outcome == "unanswered":  # one for all: when it succeeds, the others follow at once
        assert max(after - before for (before, _), (after, _) in pairwise(drill.begun)) <= 15
    else:
        for market in Market:
            assert max(after - before for before, after in pairwise(drill.times(market))) <= 15


def test_a_connection_that_dies_after_a_second_is_not_reopened_each_second() -> None:
    drill = Drill()
    drill.run(600, "lost", (Market.SPOT,))
    later = drill.times(Market.SPOT)[5:]
    assert min(after - before for before, after in pairwise(later)) >= 5


def test_the_delay_is_forgotten_after_a_calm_minute_only() -> None:
    drill = Drill()
    drill.run(120, "lost", (Market.SPOT,))
    pace, now_s = drill.pace, drill.now_s
    pace.lost(Market.SPOT, now_s, 1.0)
    pace.calm(Market.SPOT, now_s + 59)
    pace.begin(Market.SPOT, now_s + 59, 1.0)
    pace.succeeded(Market.SPOT)
    pace.lost(Market.SPOT, now_s + 59, 1.0)
    assert pace.delay_s(Market.SPOT, now_s + 59) == 10
    pace.calm(Market.SPOT, now_s + 120)
    pace.begin(Market.SPOT, now_s + 120, 1.0)
    pace.succeeded(Market.SPOT)
    pace.lost(Market.SPOT, now_s + 120, 1.0)
    assert pace.delay_s(Market.SPOT, now_s + 120) == 1


def test_many_connections_lost_at_once_count_as_one() -> None:
    pace = ConnectPace()
    for _ in range(7):
        pace.lost(Market.USDM, 100.0, 1.0)
    assert pace.delay_s(Market.USDM, 100.0) == 1
    assert pace.delay_s(Market.SPOT, 100.0) == 0


def test_a_market_in_trouble_does_not_hold_up_the_others() -> None:
    drill = Drill()
    drill.run(600, "refused", (Market.SPOT,))
    assert drill.pace.wait_s(Market.USDM, drill.now_s, planned=False) == 0


def test_a_cable_pulled_for_a_while_is_tried_soon_and_all_follow_the_first_success() -> None:
    for seed in range(50):
        drill = Drill(seed)
        drill.run(10, "unanswered")
        last_s = drill.now_s
        waits = [drill.pace.wait_s(market, last_s, planned=False) for market in Market]
        assert min(waits) <= 4
        first = list(Market)[waits.index(min(waits))]
        drill.pace.begin(first, last_s + 4, 0.5)
        drill.pace.succeeded(first)
        assert max(drill.pace.wait_s(market, last_s + 4.1, planned=False) for market in Market) <= 1


def test_who_is_forbidden_for_long_tries_once_a_minute() -> None:
    drill = Drill()
    drill.run(7_200, "forbidden", (Market.SPOT,))
    times = drill.times(Market.SPOT)
    assert max(after - before for before, after in pairwise([at for at in times if at < 590])) <= 14
    assert min(after - before for before, after in pairwise([at for at in times if at > 700])) >= 30


def test_a_stated_wait_is_kept() -> None:
    pace = ConnectPace()
    pace.begin(Market.SPOT, 0.0, 0.5)
    pace.refused(Market.SPOT, 0.0, 0.5, forbidden=True, wait_s=60.0)
    assert pace.wait_s(Market.SPOT, 1.0, planned=False) == 59


def test_planned_replacements_wait_for_calm_and_leave_room() -> None:
    pace = ConnectPace()
    assert pace.wait_s(Market.SPOT, 0.0, planned=True) == 0
    for _ in range(4):
        pace.begin(Market.USDM, 0.0, 0.5)
        pace.succeeded(Market.USDM)
    assert pace.wait_s(Market.SPOT, 0.0, planned=True) > 0
    assert pace.wait_s(Market.SPOT, 0.0, planned=False) == 0
    pace.lost(Market.SPOT, 100.0, 0.5)
    assert pace.wait_s(Market.SPOT, 200.0, planned=True) == float("inf")
    assert pace.wait_s(Market.SPOT, 200.0, planned=False) == 0


def test_a_start_with_21_connections_is_over_within_70_s() -> None:
    pace, now_s, left = ConnectPace(), 0.0, 21
    while left:
        if pace.wait_s(Market.SPOT, now_s, planned=False) <= 0:
            pace.begin(Market.SPOT, now_s, 0.5)
            pace.succeeded(Market.SPOT)
            left -= 1
        else:
            now_s += 0.1
    assert now_s <= 70
