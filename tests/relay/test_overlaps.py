"""Any order of frames from two connections, and any end of either: each frame once, in order, and no unnoticed gap."""

import random
from dataclasses import dataclass, field

import pytest

from mdcache.upstream.streams.listened import ListenedTopics

TRADES, KLINES, BOOKS, EVENTS = "btcusdt@trade", "btcusdt@kline_1m", "btcusdt@bookTicker", "!forceOrder@arr"
FORMS = {
    TRADES: '{{"e":"trade","t":{}}}',
    KLINES: '{{"e":"kline","E":{}}}',
    BOOKS: '{{"u":{}}}',
    EVENTS: '{{"e":"forceOrder","E":1,"o":{{"n":{}}}}}',
}


@dataclass
class _Exchange:
    """Sends frames 0, 1, 2 … of a topic to up to two connections, each with a delay of its own.

    `first` and `second`: the number of the frame that the connection brings next. A connection brings all from the one
    with which its subscription began.
    """

    topic: str
    sent: int = 0
    first: int = 0
    second: int | None = None
    out: list[int] = field(default_factory=list)
    restarts: list[int] = field(default_factory=lambda: [0])  # the places in `out` before which frames may be missing
    listened: ListenedTopics = field(default_factory=ListenedTopics)

    def __post_init__(self) -> None:
        self.listened.add(self.topic)

    def frame(self, number: int) -> bytes:
        return FORMS[self.topic].format(number).encode()

    def bring_first(self) -> None:
        if self.first < self.sent:
            if self.listened.take_first(self.topic, self.frame(self.first), overlap=self.second is not None):
                self.out.append(self.first)
            self.first += 1

    def bring_second(self) -> None:
        if self.second is not None and self.second < self.sent:
            self.listened.take_second(self.topic, self.frame(self.second))
            self.second += 1

    def open_second(self) -> None:
        if self.second is None:
            self.second = self.sent
            self.listened.forget_second()

    def end_second(self) -> None:
        self.listened.forget_second()
        self.second = None

    def replace(self) -> None:
        """As planned: the first one has brought all that was sent before the second one was subscribed, and more."""
        if self.second is not None and self.second == self.sent == self.first:
            self._lead(self.listened.gapped(planned=True))

    def end_first(self) -> None:
        if self.second is None:
            self.listened.lose(self.listened.lossless())
            self.listened.hand_over()
            self.first = self.sent
            self.restarts.append(len(self.out))
        else:
            self._lead(self.listened.gapped(planned=False))

    def _lead(self, gapped: list[str]) -> None:
        if gapped:
            self.restarts.append(len(self.out))
        for _, data in self.listened.hand_over():
            self.out.append(next(number for number in range(self.sent) if self.frame(number) == data))
        assert self.second is not None
        self.first, self.second = self.second, None

    def send(self) -> None:
        self.sent += 1


ACTIONS = (
    *("send", "bring_first", "bring_second") * 3,
    "open_second", "end_second", "replace", "end_first",
)  # fmt: skip


@pytest.mark.parametrize("topic", [TRADES, KLINES, BOOKS, EVENTS])
@pytest.mark.parametrize("seeds", [300, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def test_frames_of_two_connections_come_once_and_in_order(topic: str, seeds: int) -> None:
    for seed in range(seeds):
        exchange, actions = _Exchange(topic), random.Random(seed).choices(ACTIONS, k=40)
        for action in actions:
            getattr(exchange, action)()
        assert exchange.out == sorted(set(exchange.out)), actions
        if topic in {TRADES, EVENTS}:
            for place in range(1, len(exchange.out)):
                assert place in exchange.restarts or exchange.out[place] == exchange.out[place - 1] + 1, actions


def test_a_connection_that_runs_far_ahead_costs_no_memory_and_is_told() -> None:
    for topic in (TRADES, EVENTS):
        exchange = _Exchange(topic)
        exchange.open_second()
        exchange.sent = 10_050
        for _ in range(exchange.sent):
            exchange.bring_second()
        assert exchange.listened.gapped(planned=True) == [topic]
        assert len(exchange.listened.hand_over()) == 10_000


def test_two_frames_with_one_event_time_are_both_relayed_and_neither_twice() -> None:
    listened = ListenedTopics()
    listened.add(KLINES)
    final, next_one = b'{"E":5,"k":{"t":1,"x":true}}', b'{"E":5,"k":{"t":2,"x":false}}'
    assert [listened.take_first(KLINES, one, overlap=False) for one in (final, next_one, final, next_one)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_what_one_connection_sends_is_relayed_as_it_comes_whatever_its_event_times() -> None:
    topic, listened = "!miniTicker@arr", ListenedTopics()  # of two markets, on futures: each in its own time
    listened.add(topic)
    frames = [b'[{"E":5,"s":"A"}]', b'[{"E":4,"s":"B"}]', b'[{"E":7,"s":"A"}]', b'[{"E":6,"s":"B"}]']
    assert all(listened.take_first(topic, one, overlap=False) for one in frames[:2])
    listened.hand_over()
    assert [listened.take_first(topic, one, overlap=False) for one in frames] == [False, False, True, True]


def test_an_unchanged_book_may_be_sent_again_and_a_trade_may_not() -> None:
    for topic, data, again in (
        ("btcusdt@depth5", b'{"lastUpdateId":7,"bids":[],"asks":[]}', True),
        (TRADES, b'{"e":"trade","t":7}', False),
        (KLINES, b'{"e":"kline","E":7}', False),
    ):
        listened = ListenedTopics()
        listened.add(topic)
        assert [listened.take_first(topic, data, overlap=False) for _ in range(3)] == [True, again, again]
