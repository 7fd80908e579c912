"""The simulated exchange: takes a request and returns the reply, as of the moment its clock shows.

It decides and counts, but never sleeps, reads only the clock it was given, and opens no socket. Delays and transport
faults are fields of the reply, which the caller applies.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from weakref import WeakSet

from mdcache.sim.api.answers import PLAIN, Answers
from mdcache.sim.api.edge_replies import edge_reply, key_refusal, status_refusal, unknown
from mdcache.sim.api.query import parse
from mdcache.sim.api.refusals import ApiRefusal, banned, too_many
from mdcache.sim.api.replies import (
    JSON_TYPE,
    ExchangeReply,
    Headers,
    date_header,
    usage_headers,
    usual_headers,
)
from mdcache.sim.api.routes import ROUTES, ApiRoute, is_keyed, market_of
from mdcache.sim.api.weights import UNKNOWN_FUTURES_WEIGHT, weight
from mdcache.sim.config import Family, Market, SimConfig, family_of
from mdcache.sim.control.actions import Control
from mdcache.sim.control.faults import EDGE_FAULTS, STATUS_FAULTS, TRANSPORT_FAULTS, InjectedFault, spoil
from mdcache.sim.control.meter import BUCKET_MINUTES, LimitDecision, Meter
from mdcache.sim.default_symbols import default_symbols
from mdcache.sim.dumps.files import DumpFiles
from mdcache.sim.listings import Listings
from mdcache.sim.prices import recorded
from mdcache.sim.prices.instruments import shared_instruments
from mdcache.sim.streams.handshakes import StreamHandshakes
from mdcache.sim.streams.session import StreamSession


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One answered request. `weight`: what it was charged."""

    at_ms: int
    client: str
    method: str
    path: str
    query: str
    status: int
    weight: int
    family: Family


class Exchange:
    """Spot, usdm and coinm at one address; `control` changes their behaviour, `log` holds the requests."""

    def __init__(self, config: SimConfig | None = None, *, now_ms: Callable[[], int]) -> None:
        self.config = config or SimConfig()
        self._machine_ms = now_ms
        self._meter = Meter(self.config)
        self.log: deque[LogEntry] = deque(maxlen=self.config.log_size)
        self.counts: Counter[tuple[str, int]] = Counter()  # requests by path and status
        rows = recorded.load(self.config.rows_dir) if self.config.rows_dir else {}
        symbols = default_symbols() if self.config.symbols is None else self.config.symbols
        listings = Listings(recorded.with_recorded(symbols, rows.items()))
        seed = self.config.seed
        self.control = Control(self._meter, listings, seed=seed, now_ms=self.now_ms, on_reset=self._forget)
        self._answers = Answers(self.config, self.control, listings, rows)
        instruments = shared_instruments(seed, self.config.cached_splits, self.config.cached_rows)
        self._streams = StreamHandshakes(self.config, self.control, self._meter, listings, instruments)
        self.dumps = DumpFiles(self._answers, self.control, listings)
        self._sessions: WeakSet[StreamSession] = WeakSet()
        self._served = 0

    def now_ms(self) -> int:
        """Return the exchange's time."""
        return self._machine_ms() + self.control.clock_step_ms

    def delay_before(self, path: str) -> float:
        """Return how long (seconds) to wait before calling `respond` for this path; 0 unless latency is set."""
        return self.control.delays(path)[0]

    def used_weight(self, family: Family, client: str = "127.0.0.1") -> int:
        """Return the weight an address has used in this UTC minute."""
        return self._meter.used(family, client, self.now_ms())

    def respond(
        self, method: str, path: str, query: str, headers: Mapping[str, str], client: str = "127.0.0.1"
    ) -> ExchangeReply:
        """Answer one request at the current time.

        The caller waits `delay_before(path)` before and `ExchangeReply.delay_after_s` after, and applies
        `ExchangeReply.fault`.

        Args:
            method: The request's.
            path: The request's.
            query: The raw query string without its question mark.
            headers: The request's.
            client: The address that is charged.
        """
        now = self.now_ms()
        market = market_of(path)
        fault = self.control.next_fault(path, query)
        if fault is not None and fault.kind in EDGE_FAULTS:
            reply, cost = edge_reply(fault, date_header(now, self._date_ahead_s(market or "spot"))), 0
        elif market is None:
            reply, cost = ExchangeReply(404, (date_header(now, self.control.date_skew_s),), b""), 0
        else:
            charged = self._charged(market, client, headers)
            reply, cost = self._counted(market, method, path, query, headers, charged, fault)
        self.note(LogEntry(now, client, method, path, query, reply.status, cost, family_of(market or "spot")))
        _, after = self.control.delays(path)
        broken = fault.kind if fault is not None and fault.kind in TRANSPORT_FAULTS else None
        return replace(reply, delay_after_s=after, fault=broken)

    def open_stream(self, path: str, query: str, client: str = "127.0.0.1") -> StreamSession | ExchangeReply:
        """Answer a WebSocket handshake at the current time: with a session, or with a refusal."""
        now = self.now_ms()
        opened = self._streams.open(path, query, client, now)
        status = opened.status if isinstance(opened, ExchangeReply) else 101
        family = family_of(self._streams.market_of(path) or "spot")
        self.note(LogEntry(now, client, "GET", path, query, status, 0, family))
        if isinstance(opened, StreamSession):
            self._sessions.add(opened)
        return opened

    def note(self, entry: LogEntry) -> None:
        """Write an answered request to the log, and count it."""
        self.log.append(entry)
        self.counts[entry.path, entry.status] += 1

    def end_stream(self, session: StreamSession) -> None:
        """Forget a connection that its client has ended."""
        self._sessions.discard(session)

    def open_streams(self) -> list[StreamSession]:
        """Return the open connections to streams, the oldest first."""
        return sorted((one for one in self._sessions if not one.closed), key=lambda one: one.opened_ms)

    def truth(
        self, path: str, query: str, headers: Mapping[str, str] | None = None, *, at_ms: int, lag_ms: int = 0
    ) -> bytes:
        """Return the body for a query at a moment, from a replica `lag_ms` behind: no weight, fault or log."""
        route = ROUTES.get(path)
        if route is None:
            return unknown("GET", path, headers or {})[1]
        answer = self._answers.prepare(route, path, query, headers or {}, at_ms - lag_ms)
        return answer.body() if isinstance(answer, ApiRefusal) else answer()

    # ----------------------------------------------------------------------------------- replies

    def _counted(
        self,
        market: Market,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        client: str,
        fault: InjectedFault | None,
    ) -> tuple[ExchangeReply, int]:
        """Charge a request and answer it; return its weight, too."""
        now, family = self.now_ms(), family_of(market)
        route = ROUTES.get(path) if method in {"GET", "HEAD"} else None
        answer: ApiRefusal | Callable[[], bytes] | None = None
        if route is not None:
            lag = 0 if route.endpoint in PLAIN else self.control.next_lag_ms()
            answer = self._answers.prepare(route, path, query, headers, now - lag)
        cost = self._cost(market, route, query, refused=isinstance(answer, ApiRefusal))
        decision = self._meter.charge(family, client, cost, now, route.bucket if route else None)
        used = _shown_usage(route, decision.used, cost)
        if decision.outcome != "go":
            return self._stopped(market, client, decision, now, used), 0 if decision.outcome == "banned" else cost
        if fault is not None and fault.kind in STATUS_FAULTS:
            refusal, wait_s = status_refusal(fault, family, client, self.config, now)
            return self._refused(market, refusal, now, used, wait_s), cost
        if isinstance(answer, ApiRefusal):
            return self._refused(market, answer, now, used), cost
        if route is None or answer is None:
            if is_keyed(path):
                return self._refused(market, key_refusal(headers), now, used), cost
            status, body, kind = unknown(method, path, headers)
            return self._reply(market, status, body, now, used, kind=kind), cost
        if fault is None:
            return self._reply(market, 200, answer(), now, used), cost
        other = (lambda: self._other_interval(path, query, now)) if route.is_klines else None
        body, kind, more = spoil(fault, answer(), other)
        return self._reply(market, 200, body, now, used, kind=kind, more=more), cost

    def _charged(self, market: Market, client: str, headers: Mapping[str, str]) -> str:
        """Return the name of the counter that a request counts in: an address may have several, if that is played."""
        facts = self.config.facts
        if market == "coinm" and not facts.flag("usdm", "coinm_shares_weight", usual=True):
            return f"{client} on coinm"
        if market == "spot" and not facts.flag("spot", "data_host_shares_weight", usual=True):
            return f"{client} at {next((sent for name, sent in headers.items() if name.lower() == 'host'), '')}"
        return client

    def _date_ahead_s(self, market: Market) -> float:
        return self.control.date_skew_s + self.config.facts.number(market, "date_ahead_ms", 0) / 1000

    def _cost(self, market: Market, route: ApiRoute | None, query: str, *, refused: bool) -> int:
        if route is None:
            return 0 if market == "spot" else UNKNOWN_FUTURES_WEIGHT
        # spot: unverified; on futures, refusals cost weight, as measured
        free = refused and not self.config.facts.flag(market, "refusals_weigh", usual=market != "spot")
        return 0 if free else weight(route, query, self.config.facts.numbers(route.market, f"{route.endpoint}_weights"))

    def _reply(
        self, market: Market, status: int, body: bytes, now: int, used: int | None, *, kind: str | None = None,
        more: Headers = (),
    ) -> ExchangeReply:  # fmt: skip
        facts, shown = self.config.facts, None if used is None else self.control.shown_weight(family_of(market), used)
        if not facts.flag(market, "weight_header", usual=True):
            shown = None
        plain = () if facts.flag(market, "gzip", usual=True) else (("Content-Encoding", "identity"),)
        self._served += 1
        headers = (
            ("Content-Type", kind or JSON_TYPE[market]),
            date_header(now, self._date_ahead_s(market)),
            *usage_headers(market, shown),
            *more,
            *(() if more else plain),
            *usual_headers(market, f"{self.config.seed:08x}-0000-4000-8000-{self._served:012x}"),
        )
        return ExchangeReply(status, headers, body)

    def _refused(
        self, market: Market, refusal: ApiRefusal, now: int, used: int | None, wait_s: int | None = None
    ) -> ExchangeReply:
        more = () if wait_s is None else (("Retry-After", str(wait_s)),)
        return self._reply(market, refusal.status, refusal.body(), now, used, more=more)

    def _stopped(
        self, market: Market, client: str, decision: LimitDecision, now: int, used: int | None
    ) -> ExchangeReply:
        """Return the 429 or 418 of the limiter."""
        family = family_of(market)
        if decision.until_ms is not None:
            refusal, used = banned(family, client, decision.until_ms), None
        elif decision.bucket is None:
            refusal = too_many(family, client, self.config.limit(family))
        else:
            refusal = too_many(family, client, self.config.requests(decision.bucket), f"{BUCKET_MINUTES} minutes")
        return self._refused(market, refusal, now, used, decision.retry_after_s)

    def _other_interval(self, path: str, query: str, now: int) -> bytes:
        """Return the answer to the same query about another interval."""
        sent = dict(parse(query)).get("interval")
        other = "1m" if sent != "1m" else "5m"
        return self.truth(path, query.replace(f"interval={sent}", f"interval={other}"), at_ms=now)

    def _forget(self) -> None:
        self.log.clear()
        self.counts.clear()


def _shown_usage(route: ApiRoute | None, used: int, cost: int) -> int | None:
    """Return the usage as a path's header states it; on some paths it covers only this request."""
    match route.usage if route is not None else "shown":
        case "absent":
            return None
        case "minus_one":
            return -1
        case "own":
            return cost
        case _:
            return used
