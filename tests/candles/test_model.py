"""Any history of questions, against a toy exchange that keeps everything in one list.

The body is the exchange's own at the answer's as-of, and what was once settled is not asked for again.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.window import WindowKind
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import KLINE_ENDPOINTS
from tests.support.examples import examples
from tests.support.toy_exchange import MINUTE, ToyExchange, ask, body, make_series, random_opens

pytestmark = pytest.mark.untraced

NOW = 1_790_771_371_858
SPAN = 6_000 * MINUTE
PATHS = ["/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"]


def random_question(rng: random.Random, path: str, now: int, first: int) -> KlineQuestion:
    rule = KLINE_ENDPOINTS[path]

    def moment() -> int:
        dice = rng.random()
        if dice < 0.1:
            return rng.choice([0, 1, first - 1, first, now, now + 1, now + 10 * MINUTE, now - 1])
        if dice < 0.4:
            return now - rng.randrange(0, 30 * MINUTE)
        t = rng.randrange(first - 200 * MINUTE, now + MINUTE)
        return t - t % MINUTE if rng.random() < 0.5 else t

    start = moment() if rng.random() < 0.5 else None
    end = moment() if rng.random() < 0.5 else None
    if start is not None and end is not None and path != "/api/v3/klines":
        start, end = min(start, end), max(start, end)
        end = min(end, start + 200 * 86_400_000) if rule.max_span_ms else end
    limit = rng.choice([1, 2, 3, 99, 100, 499, 500, 501, 999, rule.max_limit, rng.randrange(1, rule.max_limit)])
    return KlineQuestion(make_series(path).key, rule, start, end, limit)


@pytest.mark.parametrize("path", PATHS)
@given(seed=st.integers(0, 2**32))
@examples(20)
def test_every_answer_is_the_exchanges_own(path: str, seed: int) -> None:
    rng = random.Random(seed)
    first = NOW - rng.randrange(10, 6_000) * MINUTE
    first -= first % MINUTE
    last = NOW if rng.random() < 0.8 else rng.randrange(first, NOW)
    exchange = ToyExchange(path, random_opens(rng, first, last + 600 * MINUTE if last == NOW else last))
    series = make_series(path)
    now = NOW
    as_of_before = 0
    for _ in range(12):
        question = random_question(rng, path, now, first)
        answer, as_of, _ = ask(series, exchange, now, question)
        truth = exchange.answer(question.start_ms, question.end_ms, question.limit, as_of)
        assert answer == body(truth), question
        if series.tail is not None:
            assert series.tail.as_of_ms >= as_of_before
            as_of_before = series.tail.as_of_ms
        now += rng.choice([0, 1, 500, 2_000, 5_000, MINUTE, 20 * MINUTE, 2_000 * MINUTE])


@pytest.mark.parametrize("path", PATHS)
@given(seed=st.integers(0, 2**32))
@examples(20)
def test_a_cap_that_is_lowered_and_raised_without_notice_changes_no_answer(path: str, seed: int) -> None:
    rng = random.Random(seed)
    first = NOW - rng.randrange(10, 2_000) * MINUTE
    first -= first % MINUTE
    last = NOW + 600 * MINUTE if rng.random() < 0.7 else rng.randrange(first, NOW)
    exchange = ToyExchange(path, random_opens(rng, first, last))
    series = make_series(path)
    now = NOW
    for _ in range(12):
        exchange.cap = rng.choice([exchange.cap, 60, 90, 300, 700, 1_500])
        question = random_question(rng, path, now, first)
        answer, as_of, reads = ask(series, exchange, now, question)
        truth = exchange.answer(question.start_ms, question.end_ms, question.limit, as_of)
        assert answer == body(truth), question
        assert reads <= 6 + len(truth) // min(exchange.cap, 499) * 2, (question, exchange.calls[-reads:])
        assert ask(series, exchange, now, question)[2] == 0
        now += rng.choice([0, 1, 500, 2_000, 5_000, MINUTE, 20 * MINUTE])


@pytest.mark.parametrize("path", PATHS)
@given(seed=st.integers(0, 2**32))
@examples(20)
def test_what_a_wipe_took_is_gone_once_a_page_of_the_newest_rows_shows_it(path: str, seed: int) -> None:
    rng = random.Random(seed)
    first = NOW - rng.randrange(200, 3_000) * MINUTE
    first -= first % MINUTE
    exchange = ToyExchange(path, list(range(first, NOW + 100 * MINUTE, MINUTE)))
    series = make_series(path)
    newest = KlineQuestion(series.key, KLINE_ENDPOINTS[path], None, None, 5)
    for _ in range(3):
        ask(series, exchange, NOW, random_question(rng, path, NOW, first))
    ask(series, exchange, NOW, newest)
    wiped = NOW - rng.randrange(1, 90) * MINUTE  # a row is left, else the page shows nothing
    exchange.opens = [open_ms for open_ms in exchange.opens if open_ms >= wiped]
    now = NOW + 5_000
    ask(series, exchange, now, newest)
    for _ in range(6):
        question = random_question(rng, path, now, first)
        answer, as_of, _ = ask(series, exchange, now, question)
        assert answer == body(exchange.answer(question.start_ms, question.end_ms, question.limit, as_of)), question
        now += rng.choice([0, 2_000, MINUTE])
        assert ask(series, exchange, now, newest)[2] <= 1, "a second call at each refresh"


@pytest.mark.parametrize("path", PATHS)
@given(seed=st.integers(0, 2**32))
@examples(20)
def test_the_same_question_again_reads_no_more_than_the_tail(path: str, seed: int) -> None:
    rng = random.Random(seed)
    first = NOW - rng.randrange(10, 6_000) * MINUTE
    first -= first % MINUTE
    exchange = ToyExchange(path, random_opens(rng, first, NOW + 60 * MINUTE))
    series = make_series(path)
    for _ in range(6):
        question = random_question(rng, path, NOW, first)
        _, _, reads = ask(series, exchange, NOW, question)
        assert reads <= 8
        assert ask(series, exchange, NOW, question)[2] == 0
        exchange.calls.clear()
        witnesses = int(series.tail is None)  # an end that is news needs one, docs/design.md#tail-replacement
        ask(series, exchange, NOW + 3_000, question)
        tails = [call for call in exchange.calls if call.kind is WindowKind.TAIL]
        assert len(tails) <= 1
        assert len(exchange.calls) - len(tails) <= witnesses
