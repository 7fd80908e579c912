"""What listeners say, and how they are answered: as the simulated exchange does, and as Binance documents it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.markets import Market
from mdcache.serving.streams.listener_messages import TOO_MANY_TOPICS
from mdcache.serving.streams.paths import parse_stream_path
from mdcache.serving.streams.session import MOST_TOPICS, ListenerSession
from mdcache.sim.control.stream_faults import StreamSettings
from mdcache.sim.streams.session import Closing, StreamSession

PATHS = {Market.SPOT: "/stream", Market.USDM: "/usdm/stream", Market.COINM: "/coinm/stream"}
BTC, ETH = "btcusdt@kline_1m", "ethusdt@trade"


def session(market: Market = Market.SPOT, target: str | None = None) -> ListenerSession:
    path = parse_stream_path(target or PATHS[market])
    assert path is not None
    return ListenerSession(path)


def answer(listener: ListenerSession, **message: object) -> object:
    return json.loads(listener.receive(json.dumps(message)).reply)


def test_the_life_of_subscriptions() -> None:
    listener = session()
    outcome = listener.receive('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","ethusdt@trade"],"id":1}')
    assert (outcome.reply, outcome.added) == ('{"result":null,"id":1}', (BTC, ETH))
    again = listener.receive('{"method":"SUBSCRIBE","params":["ethusdt@trade","ETHUSDT@trade"],"id":"x"}')
    assert (again.reply, again.added) == ('{"result":null,"id":"x"}', ("ETHUSDT@trade",))
    assert answer(listener, method="LIST_SUBSCRIPTIONS", id=3) == {"result": [BTC, ETH, "ETHUSDT@trade"], "id": 3}
    gone = listener.receive('{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m","never"],"id":4}')
    assert (gone.reply, gone.removed) == ('{"result":null,"id":4}', (BTC,))
    assert answer(listener, method="LIST_SUBSCRIPTIONS") == {"result": [ETH, "ETHUSDT@trade"], "id": None}


def test_frames_name_their_topic_or_not() -> None:
    listener = session(target="/ws")
    assert answer(listener, method="GET_PROPERTY", params=["combined"], id=1) == {"result": False, "id": 1}
    assert answer(listener, method="SET_PROPERTY", params=["combined", True], id=2) == {"result": None, "id": 2}
    assert listener.combined
    assert answer(listener, method="GET_PROPERTY", params=["combined"], id=3) == {"result": True, "id": 3}


def test_routes_of_usdm() -> None:
    topics = (BTC, "btcusdt@depth@100ms", "!bookTicker", "btcusdt@aggTrade")
    books = topics[1:3]
    for target, added in (
        ("/usdm/ws", topics),
        ("/usdm/market/ws", (BTC, "btcusdt@aggTrade")),
        ("/public/ws", books),
        ("/usdm/private/ws", ()),
    ):
        listener = session(target=target)
        assert listener.subscribe(topics).added == added
        assert answer(listener, method="LIST_SUBSCRIPTIONS", id=1) == {"result": list(topics), "id": 1}


def test_too_many_topics() -> None:
    listener = session()
    assert len(listener.subscribe(f"a{n}@trade" for n in range(MOST_TOPICS)).added) == MOST_TOPICS
    assert listener.subscribe(["a0@trade"]).added == ()
    outcome = listener.receive('{"method":"SUBSCRIBE","params":["one@trade"],"id":1}')
    assert outcome.too_many
    assert outcome.reply == TOO_MANY_TOPICS == '{"error":{"code":4,"msg":"Too many subscriptions"}}'


@pytest.mark.parametrize(("market", "most"), [(Market.SPOT, 10), (Market.USDM, 15), (Market.COINM, 15)])
def test_messages_a_second(market: Market, most: int) -> None:
    listener = session(market)
    assert [listener.allows_message(1.0 + n / 100) for n in range(most + 1)] == [True] * most + [False]
    assert listener.allows_message(2.5)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("garbage", 3, "Invalid JSON: expected value at line 1 column 1"),
        ("", 3, "Invalid JSON: expected value at line 1 column 1"),
        ('{"method":"SUBSCRIBE","params":[NaN],"id":1}', 3, "Invalid JSON"),
        ("[" * 60_000, 3, "Invalid JSON: recursion limit exceeded"),
        ("[]", 2, "Invalid request"),
        ('{"id":1}', 2, "Invalid request: missing field `method` at line 1 column 8"),
        ('{"method":"LIST","id":1}', 2, "Invalid request: unknown variant `LIST`, expected one of `SUBSCRIBE`, `UNSU"),
        ('{"method":["SUBSCRIBE"],"id":1}', 2, "Invalid request: unknown variant"),
        ('{"method":"SUBSCRIBE","id":1}', 2, "Invalid request: params must be a list"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "Invalid request"),
        ('{"method":"SUBSCRIBE","params":["not a topic"],"id":1}', 2, "Invalid request: invalid stream"),
        ('{"method":"SUBSCRIBE","params":["%s"],"id":1}' % ("x" * 129), 2, "Invalid request: invalid stream"),
        (
            '{"method":"SUBSCRIBE","params":["%s"],"id":1}' % ("k7" * 32),
            2,
            "Invalid request: mdcache relays no account",
        ),
        ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', 2, "Invalid request: request ID must be an unsigned integer"),
        ('{"method":"LIST_SUBSCRIPTIONS","id":true}', 2, "Invalid request: request ID must be an unsigned integer"),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "Invalid value type: expected Boolean"),
        ('{"method":"GET_PROPERTY","params":[7],"id":1}', 2, "Invalid request: property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["speed"],"id":1}', 0, "Unknown property"),
    ],
)
@pytest.mark.parametrize("market", list(Market))
def test_errors(market: Market, message: str, code: int, text: str) -> None:
    outcome = session(market).receive(message)
    body = json.loads(outcome.reply)
    assert body["code"] == code
    assert body["msg"].startswith(text)
    assert (outcome.added, outcome.removed, outcome.too_many) == ((), (), False)


def test_the_place_of_an_unknown_method_as_documented() -> None:
    body = session().receive('{"method":"SUBSCRIPTIONSSS","params":["btcusdt@trade"],"id":1}').reply
    assert "at line 1 column 27" in body


@pytest.mark.parametrize(("number", "futures"), [(7, True), (0, True), ("u" * 36, True), (None, False), (-3, False)])
def test_ids_by_market(number: object, futures: bool) -> None:
    message = json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number})
    assert json.loads(session(Market.SPOT).receive(message).reply) == {"result": [], "id": number}
    for market in (Market.USDM, Market.COINM):
        assert ("result" in json.loads(session(market).receive(message).reply)) is futures
    for bad in ("u" * 37, 2**64, [1]):
        assert "request ID" in session().receive(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": bad})).reply


# ---------------------------------------------------------------- against the simulated exchange

_TOPICS = st.sampled_from([BTC, ETH, "BTCUSDT@trade", "!miniTicker@arr", "btcusdt@depth"])
_IDS = st.one_of(st.integers(-3, 2**63 - 1), st.none(), st.text("abc-123", max_size=36), st.booleans(), st.just(1.5))
_METHODS = st.sampled_from(
    ["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY", "subscribe", "REQUEST"]
)
_PARAMS: st.SearchStrategy[object] = st.one_of(
    st.lists(_TOPICS, max_size=4),
    st.tuples(st.just("combined"), st.one_of(st.booleans(), st.just("true"), st.none())).map(list),
    st.sampled_from([["combined"], ["speed"], ["speed", True], "btcusdt@trade", None, {}, [1, 2]]),
)
_MESSAGES = st.one_of(
    st.fixed_dictionaries({"method": _METHODS, "params": _PARAMS, "id": _IDS}).map(json.dumps),
    st.fixed_dictionaries({"method": _METHODS, "params": _PARAMS}).map(json.dumps),
    st.sampled_from(["", "x", "[]", "null", "17", '{"method":', '"SUBSCRIBE"', "\x00"]),
)


def _comparable(market: Market, text: str) -> object:
    """Return an answer without what the simulated exchange tells in other words than the documents.

    It states one column for every error, takes a property's name for unknown where it is no text, and says
    "unknown variant" where there is no method.
    """
    body = json.loads(text)
    if body.get("code") in {2, 3}:
        return market, body["code"], str(body["msg"]).partition(" at line")[0].partition(":")[0]
    return market, body


@given(market=st.sampled_from(list(Market)), messages=st.lists(_MESSAGES, max_size=9))
def test_answers_are_those_of_the_simulated_exchange(market: Market, messages: list[str]) -> None:
    listener = session(market)
    faults = StreamSettings()
    exchange = StreamSession(market.value, PATHS[market], "", faults, lambda _name, _now: None, 0, combined=True)
    for n, message in enumerate(messages):
        if '"params": [1, 2]' in message and "PROPERTY" in message:
            continue  # the document: "property name must be a string"
        replies = exchange.receive(message, n * 1_000)
        assert not any(isinstance(one, Closing) for one in replies)
        ours = listener.receive(message)
        assert [_comparable(market, str(one)) for one in replies] == [_comparable(market, ours.reply)]
        assert exchange.topics == tuple(listener.topics)
