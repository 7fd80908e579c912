"""The simulated exchange: one request in, one reply out, at the moment its clock shows.

Decides and counts; it never sleeps, reads no clock but the one it was given and opens no socket. Waits and
transport faults are told in the reply, for the caller to act out.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mdcache.sim.answers import Answers
from mdcache.sim.config import Family, Market, SimConfig, family_of
from mdcache.sim.control import Control
from mdcache.sim.faults import (
    EDGE_FAULTS,
    GARBAGE_GZIP,
    HTML_TYPE,
    NOT_A_REPLY,
    ROWS_FAULTS,
    STATUS_FAULTS,
    TRANSPORT_FAULTS,
    WAF_PAGE,
    Fault,
    gzip_bomb,
    huge,
    spoil_rows,
)
from mdcache.sim.meter import Meter, Verdict
from mdcache.sim.questions import parse
from mdcache.sim.refusals import RESTRICTED, Refusal, banned, too_many, unknown_path
from mdcache.sim.replies import (
    EDGE_HEADERS,
    JSON_TYPE,
    Headers,
    Reply,
    date_header,
    usage_headers,
    usual_headers,
)
from mdcache.sim.routes import ROUTES, Route, market_of, weight

_NOT_FOUND_PAGE = b"<html><body><h2>404 Not found</h2></body></html>"  # CHANGELOG.md 2023-12-04
_UNKNOWN_FUTURES_WEIGHT = 1
_BUSY = {
    "spot": Refusal(-1000, "An unknown error occurred while processing the request.", 500),
    "futures": Refusal(-1001, "Internal error; unable to process your request. Please try again.", 500),
}
_UNAVAILABLE = Refusal(
    -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.", 503
)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request as answered. `weight` is what it was charged."""

    at_ms: int
    client: str
    method: str
    path: str
    query: str
    status: int
    weight: int
    family: Family


class Exchange:
    """Spot, usdm and coinm on one door; `control` holds the levers, `log` what was asked."""

    def __init__(self, config: SimConfig | None = None, *, now_ms: Callable[[], int]) -> None:
        self.config = config or SimConfig()
        self._now_ms = now_ms
        self._meter = Meter(self.config)
        self.log: deque[LogEntry] = deque(maxlen=self.config.log_size)
        self.counts: Counter[tuple[str, int]] = Counter()  # requests by path and status
        self.control = Control(self._meter, seed=self.config.seed, now_ms=now_ms, on_reset=self._forget)
        self._answers = Answers(self.config, self.control)
        self._served = 0

    def now_ms(self) -> int:
        """The exchange's clock."""
        return self._now_ms()

    def delay_before(self, path: str) -> float:
        """How long (seconds) to wait before calling `respond` for this path; 0 unless latency is set."""
        return self.control.delays(path)[0]

    def used_weight(self, family: Family, client: str = "127.0.0.1") -> int:
        """The weight an address has used in this UTC minute."""
        return self._meter.used(family, client, self._now_ms())

    def respond(
        self, method: str, path: str, query: str, headers: Mapping[str, str], client: str = "127.0.0.1"
    ) -> Reply:
        """Answer one request as of now; `query` is the raw query string without its question mark.

        The caller waits `delay_before(path)` before and `Reply.delay_after_s` after, and acts out
        `Reply.fault`.
        """
        now = self._now_ms()
        market = market_of(path)
        fault = self.control.strike(path, query)
        if fault is not None and fault.kind in EDGE_FAULTS:
            reply, cost = self._edge(fault, now), 0
        elif market is None:
            reply, cost = Reply(404, (date_header(now, self.control.date_skew_s),), b""), 0
        else:
            reply, cost = self._counted(market, method, path, query, headers, client, fault)
        family = family_of(market or "spot")
        self.log.append(LogEntry(now, client, method, path, query, reply.status, cost, family))
        self.counts[path, reply.status] += 1
        before, after = self.control.delays(path)
        broken = fault.kind if fault is not None and fault.kind in TRANSPORT_FAULTS else None
        return Reply(reply.status, reply.headers, reply.body, before, after, broken)

    def truth(
        self, path: str, query: str, headers: Mapping[str, str] | None = None, *, at_ms: int, lag_ms: int = 0
    ) -> bytes:
        """The body for a question at a moment, from a replica `lag_ms` behind: no weight, fault or log."""
        route = ROUTES.get(path)
        if route is None:
            return self._unknown("GET", path, headers or {})[1]
        answer = self._answers.prepare(route, path, query, headers or {}, at_ms - lag_ms)
        return answer.body() if isinstance(answer, Refusal) else answer()

    # ----------------------------------------------------------------------------------- replies

    def _counted(
        self,
        market: Market,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        client: str,
        fault: Fault | None,
    ) -> tuple[Reply, int]:
        """Charge a request and answer it; returns the weight too."""
        now, family = self._now_ms(), family_of(market)
        route = ROUTES.get(path) if method in {"GET", "HEAD"} else None
        answer: Refusal | Callable[[], bytes] | None = None
        if route is not None:
            lag = self.control.next_lag_ms() if route.endpoint == "klines" else 0
            answer = self._answers.prepare(route, path, query, headers, now - lag)
        cost = self._cost(family, route, query, refused=isinstance(answer, Refusal))
        verdict = self._meter.charge(family, client, cost, now)
        if verdict.outcome != "go":
            return self._stopped(market, client, verdict, now), 0 if verdict.outcome == "banned" else cost
        if fault is not None and fault.kind in STATUS_FAULTS:
            return self._status_fault(market, client, fault, verdict, now), cost
        if route is None:
            status, body, kind = self._unknown(method, path, headers)
            return self._reply(market, status, body, now, verdict.used, kind=kind), cost
        if isinstance(answer, Refusal):
            return self._reply(market, answer.status, answer.body(), now, verdict.used), cost
        body = answer() if answer is not None else b""
        if fault is not None:
            return self._spoilt(fault, route, path, query, body, now, verdict.used), cost
        return self._reply(market, 200, body, now, verdict.used), cost

    def _cost(self, family: Family, route: Route | None, query: str, *, refused: bool) -> int:
        if route is None:
            return 0 if family == "spot" else _UNKNOWN_FUTURES_WEIGHT
        if refused and family == "spot" and not self.config.spot_refusals_cost:
            return 0
        limit = dict(parse(query)).get("limit") if route.endpoint == "klines" else None
        return weight(route, limit, self.config.futures_weights)

    def _reply(
        self, market: Market, status: int, body: bytes, now: int, used: int | None, *, kind: str | None = None,
        more: Headers = (),
    ) -> Reply:  # fmt: skip
        shown = None if used is None else self.control.shown_weight(family_of(market), used)
        self._served += 1
        headers = (
            ("Content-Type", kind or JSON_TYPE[market]),
            date_header(now, self.control.date_skew_s),
            *usage_headers(market, shown),
            *more,
            *usual_headers(market, f"{self.config.seed:08x}-0000-4000-8000-{self._served:012x}"),
        )
        return Reply(status, headers, body)

    def _stopped(self, market: Market, client: str, verdict: Verdict, now: int) -> Reply:
        """The 429 or 418 of the limiter."""
        family = family_of(market)
        if verdict.until_ms is None:
            refusal = too_many(family, client, self.config.limit(family))
        else:
            refusal = banned(family, client, verdict.until_ms)
        used = verdict.used if verdict.until_ms is None else None
        return self._reply(market, refusal.status, refusal.body(), now, used, more=_retry_after(verdict.retry_after_s))

    def _status_fault(self, market: Market, client: str, fault: Fault, verdict: Verdict, now: int) -> Reply:
        family = family_of(market)
        wait = fault.retry_after_s
        match fault.kind:
            case "429":
                refusal = too_many(family, client, self.config.limit(family))
            case "418":
                refusal = banned(family, client, now + 1000 * (self.config.first_ban_s if wait is None else wait))
            case "500":
                refusal, wait = _BUSY[family], None
            case _:
                refusal, wait = _UNAVAILABLE, None
        return self._reply(market, refusal.status, refusal.body(), now, verdict.used, more=_retry_after(wait))

    def _edge(self, fault: Fault, now: int) -> Reply:
        """What is answered in front of Binance: the firewall's page, or the region's refusal."""
        date = date_header(now, self.control.date_skew_s)
        if fault.kind == "451":
            return Reply(451, (("Content-Type", "application/json"), date, *EDGE_HEADERS), RESTRICTED.body())
        return Reply(403, (("Content-Type", HTML_TYPE), date, *EDGE_HEADERS), WAF_PAGE)

    def _spoilt(self, fault: Fault, route: Route, path: str, query: str, body: bytes, now: int, used: int) -> Reply:
        """A good reply, spoilt in its body; transport faults leave it whole."""
        more: Headers = ()
        kind = None
        if fault.kind in ROWS_FAULTS and route.endpoint == "klines":
            body = spoil_rows(fault.kind, body, lambda: self._other_interval(path, query, now))
        elif fault.kind == "html":
            body, kind = NOT_A_REPLY, HTML_TYPE
        elif fault.kind == "huge":
            body = huge(fault.size)
        elif fault.kind == "gzip_bomb":
            body, more = gzip_bomb(fault.size), (("Content-Encoding", "gzip"),)
        elif fault.kind == "garbage_gzip":
            body, more = GARBAGE_GZIP, (("Content-Encoding", "gzip"),)
        return self._reply(route.market, 200, body, now, used, kind=kind, more=more)

    def _other_interval(self, path: str, query: str, now: int) -> bytes:
        """The answer to the same question about another interval."""
        asked = dict(parse(query)).get("interval")
        other = "1m" if asked != "1m" else "5m"
        return self.truth(path, query.replace(f"interval={asked}", f"interval={other}"), at_ms=now)

    def _unknown(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, str | None]:
        """(status, body, content type) for a path that does not exist."""
        if path.startswith(("/fapi/", "/dapi/", "/futures/")):
            return 404, unknown_path(method, path).body(), None
        accepted = next((value for name, value in headers.items() if name.lower() == "accept"), "")
        return (404, _NOT_FOUND_PAGE, HTML_TYPE) if HTML_TYPE in accepted else (404, b"", None)

    def _forget(self) -> None:
        self.log.clear()
        self.counts.clear()


def _retry_after(seconds: int | None) -> Headers:
    return () if seconds is None else (("Retry-After", str(seconds)),)
