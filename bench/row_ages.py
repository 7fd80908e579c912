"""How old answers are, judged by the rows in them: since when the exchange had a newer row than the answer's last.

Prices of the simulated exchange are a function of its seed and the time, so another one, started afterwards, says how
each row stood at any moment of the run. That costs the run nothing.
"""

import json
import random
from urllib.parse import quote

import httpx

from bench.figures import spread
from bench.processes import sim
from mdcache.replay.consumers import ConsumerAnswer

SAMPLE = 400
_STEP_MS = 20  # ages are exact to this
_LONGEST_MS = 60_000
_TOLERANCE_MS = 50  # between our clock and the exchange's, which run on one machine

Row = tuple[int, int]  # open time and number of trades: either grows with time, in this order


def newest_row(body: bytes) -> Row:
    row = json.loads(body)[-1]
    return int(row[0]), int(row[8])


class RowAges:
    """A random sample of a run's answers."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        self._taken = 0
        self._sample: list[ConsumerAnswer] = []

    def take(self, answer: ConsumerAnswer) -> None:
        """Take an answer into the sample, each with the same probability."""
        self._taken += 1
        if len(self._sample) < SAMPLE:
            self._sample.append(answer)
        elif (place := self._random.randrange(self._taken)) < SAMPLE:
            self._sample[place] = answer

    def report(self) -> str:
        """Return how old the sampled answers were when they came, and how many were older than they said."""
        with sim() as exchange, httpx.Client(base_url=exchange, timeout=60.0, trust_env=False) as client:
            ages = [_age_ms(client, answer) for answer in self._sample]
            lies = sum(_older_than_said(client, answer) for answer in self._sample)
        return f"{spread(ages, 'ms')}; {lies} of {len(ages)} older than their as-of says"


def _row_at(client: httpx.Client, answer: ConsumerAnswer, at_ms: int) -> Row:
    query = quote(f"symbol={answer.symbol}&interval={answer.interval}&limit=1")
    found = client.get(f"/_sim/truth?path=/api/v3/klines&query={query}&at_ms={at_ms}").raise_for_status()
    return newest_row(found.content)


def _age_ms(client: httpx.Client, answer: ConsumerAnswer) -> float:
    """Return how long before its arrival the answer's newest row was last the exchange's."""
    shown, until_ms = newest_row(answer.body), answer.answered_ms
    if _row_at(client, answer, until_ms) <= shown:
        return 0.0
    since_ms = until_ms - _LONGEST_MS
    while until_ms - since_ms > _STEP_MS:
        middle_ms = (since_ms + until_ms) // 2
        if _row_at(client, answer, middle_ms) <= shown:
            since_ms = middle_ms
        else:
            until_ms = middle_ms
    return float(answer.answered_ms - since_ms)


def _older_than_said(client: httpx.Client, answer: ConsumerAnswer) -> bool:
    """Return whether the exchange had a newer row at the answer's as-of already."""
    if answer.as_of_ms is None:
        return False
    return _row_at(client, answer, answer.as_of_ms - _TOLERANCE_MS) > newest_row(answer.body)
