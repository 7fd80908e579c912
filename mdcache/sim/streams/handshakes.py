"""Answer the handshakes of streams: open a session, or refuse it as Binance does."""

import re
from collections import OrderedDict, deque
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qs

from mdcache.sim.api.edge_replies import edge_reply, status_refusal
from mdcache.sim.api.refusals import ApiRefusal, banned, too_many
from mdcache.sim.api.replies import JSON_TYPE, ExchangeReply, date_header
from mdcache.sim.config import Market, SimConfig, family_of
from mdcache.sim.control.actions import Control
from mdcache.sim.control.faults import EDGE_FAULTS, STATUS_FAULTS, TRANSPORT_FAULTS
from mdcache.sim.control.meter import Meter
from mdcache.sim.listings import Listings
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.streams.frames import KlineFrames, TimedFrames
from mdcache.sim.streams.market_events import MarketEvents
from mdcache.sim.streams.market_topics import market_topic, on_route
from mdcache.sim.streams.session import StreamSession, TopicFrames
from mdcache.sim.streams.topics import SeriesDirectory, kline_topic

_PATH = re.compile(
    r"(?P<base>/usdm|/coinm)?(?P<route>/market|/public|/private)?/(?P<form>ws|stream/ws|stream)(?:/(?P<topics>.*))?"
)  # `/stream/ws` is no path of Binance's: docs/sim.md#streams
_CONNECTS, _CONNECTS_MS = 300, 300_000  # an address, on spot: web-socket-streams.md; assumed of the others
_MOST_CLIENTS = 20_000  # clients choose their addresses


class StreamHandshakes:
    """Opens the streams of all three markets.

    At one address, spot has Binance's own paths (`/ws`, `/stream`), usdm `/usdm/market/…` and `/usdm/public/…`, coinm
    `/coinm/…`. As at Binance, all accept every topic and send only those of their route; `/usdm/ws` has only books.
    """

    def __init__(
        self, config: SimConfig, control: Control, meter: Meter, listings: Listings, instruments: Instruments
    ) -> None:
        self._config = config
        self._control = control
        self._meter = meter
        self._directory = SeriesDirectory(instruments, listings, config.facts)
        self._events = MarketEvents(instruments, listings, config.facts)
        self._connects: OrderedDict[tuple[Market, str], deque[int]] = OrderedDict()

    def market_of(self, path: str) -> Market | None:
        """Return the market whose streams a path opens, or nothing."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        if match["base"] is None:
            return "usdm" if match["route"] else "spot"
        return "usdm" if match["base"] == "/usdm" else "coinm"

    def open(self, path: str, query: str, client: str, now_ms: int) -> StreamSession | ExchangeReply:
        """Answer a handshake: with a session, or with the reply that refuses it.

        The caller applies `ExchangeReply.fault`: "timeout" is a handshake without an answer, "drop" a closed
        connection.
        """
        match, market = _PATH.fullmatch(path), self.market_of(path)
        date = date_header(now_ms, self._control.date_skew_s)
        if match is None or market is None:
            return ExchangeReply(404, (date,), b"")
        refused = self._refusal(market, path, query, client, now_ms)
        if refused is not None:
            return refused
        sent = parse_qs(query)
        micros = market == "spot" and sent.get("timeUnit", [""])[0].upper() == "MICROSECOND"
        combined = match["form"] == "stream"
        make_frames = partial(self._frames_of, market, match["route"], micros=micros)
        session = StreamSession(market, path, client, self._control.streams, make_frames, now_ms, combined=combined)
        listed = sent.get("streams", [""])[0] if combined else (match["topics"] or "")
        session.subscribe([name for name in listed.split("/") if name], now_ms)
        return session

    def _refusal(self, market: Market, path: str, query: str, client: str, now_ms: int) -> ExchangeReply | None:
        family, date = family_of(market), date_header(now_ms, self._control.date_skew_s)
        fault = self._control.next_fault(path, query)
        if fault is not None and fault.kind in EDGE_FAULTS:
            return edge_reply(fault, date)
        if fault is not None and fault.kind in TRANSPORT_FAULTS:
            return ExchangeReply(503, (date,), b"", fault="timeout" if fault.kind == "timeout" else "drop")
        refusal: ApiRefusal | None = None
        wait_s: int | None = None
        decision = self._meter.charge(family, client, 0, now_ms)  # connecting weighs nothing, but bans count
        if decision.until_ms is not None:
            refusal, wait_s = banned(family, client, decision.until_ms), decision.retry_after_s
        elif fault is not None and fault.kind in STATUS_FAULTS:
            refusal, wait_s = status_refusal(fault, family, client, self._config, now_ms)
        elif self._too_often(market, client, now_ms):
            refusal = too_many(family, client, _CONNECTS, "5 minutes")
        if refusal is None:
            return None
        more = () if wait_s is None else (("Retry-After", str(wait_s)),)
        return ExchangeReply(refusal.status, (("Content-Type", JSON_TYPE[market]), date, *more), refusal.body())

    def _too_often(self, market: Market, client: str, now_ms: int) -> bool:
        connects = self._connects.setdefault((market, client), deque(maxlen=_CONNECTS))
        if len(self._connects) > _MOST_CLIENTS:
            self._connects.popitem(last=False)
        if len(connects) == _CONNECTS and now_ms - connects[0] < _CONNECTS_MS:
            return True
        connects.append(now_ms)
        return False

    def _frames_of(
        self, market: Market, route: str | None, name: str, now_ms: int, *, micros: bool
    ) -> TopicFrames | None:
        facts, settings = self._config.facts, self._control.streams
        if not on_route(market, route, name, facts):
            return None
        candles = kline_topic(market, name)
        silent = facts.text(market, "quiet_topics", "silent") == "silent"
        if candles is not None:
            return KlineFrames(
                name, candles, self._directory, now_ms, facts, micros=micros, quiet=lambda: silent and settings.quiet
            )
        topic = market_topic(market, name)
        if topic is None:
            return None
        if topic.kind == "miniTicker" and topic.subject == "all":
            topic = replace(topic, step_ms=facts.number(market, "mini_tickers_cadence_ms", topic.step_ms))
        texts = partial(self._events.texts, topic, micros=micros)
        return TimedFrames(name, topic.step_ms, texts, now_ms)
