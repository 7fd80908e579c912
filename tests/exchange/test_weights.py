"""What kline calls cost, and how many rows that buys (docs/binance.md#kline-weights)."""

import pytest

from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint
from mdcache.exchange.rate_limits import FUNDING
from mdcache.exchange.weights import klines_weight, page_limit, tail_limit, ttl_by_requests_s, ttl_by_weight_s

SPOT, USDM = KLINE_ENDPOINTS["/api/v3/klines"], KLINE_ENDPOINTS["/fapi/v1/klines"]


@pytest.mark.parametrize(
    ("endpoint", "rows", "weight", "page", "tail"),
    [
        # spot: one price for any number of rows
        (SPOT, 1, 2, 1_000, 100),
        (SPOT, 100, 2, 1_000, 100),
        (SPOT, 101, 2, 1_000, 1_000),
        (SPOT, 1_000, 2, 1_000, 1_000),
        # futures: 1, 2, 5 and 10
        (USDM, 1, 1, 99, 99),
        (USDM, 99, 1, 99, 99),
        (USDM, 100, 2, 499, 499),
        (USDM, 499, 2, 499, 499),
        (USDM, 500, 5, 1_000, 1_000),
        (USDM, 1_000, 5, 1_000, 1_000),
        (USDM, 1_001, 10, 1_500, 1_500),
        (USDM, 1_500, 10, 1_500, 1_500),
    ],
)
def test_what_rows_cost_and_how_many_come_for_the_same_price(
    endpoint: KlineEndpoint, rows: int, weight: int, page: int, tail: int
) -> None:
    assert klines_weight(endpoint, rows) == weight
    assert page_limit(endpoint, rows) == page
    assert klines_weight(endpoint, page) == weight
    assert tail_limit(endpoint, rows) == tail
    assert klines_weight(endpoint, tail) == weight


def test_a_question_asked_all_the_time_spends_a_tenth_of_what_is_allowed() -> None:
    assert ttl_by_weight_s(weight=40, allowed=2_400) == 10.0  # 6 a minute of 40 are 240
    assert ttl_by_requests_s(FUNDING, share=0.5) == 12.0  # 25 in five minutes
