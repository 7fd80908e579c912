"""What daemons may send to the exchange: nothing into a closed gate, and in no UTC minute more than the share."""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from tests.system.lives import Life
from tests.system.network import HANDSHAKE, Trip

_MINUTE_MS = 60_000
_UNWRITTEN_MS = 1_100  # docs/design.md#gate-persistence: what was spent is written within a second
_CONNECTS_A_MINUTE = 20  # docs/design.md#stream-connections
_HEAR_S, _HEAR_LATER_S = 30.0, 75.0
_WAF_MS = 500  # half of BACKOFF_INITIAL_S
_BAN_MS = 120_000
_REGION_MS = 3_600_000
_MOST_PAGES = 50  # five questions with their retries, what is in flight then, and the probes of a minute
_FIRST_STEP_S = 1.0  # BACKOFF_INITIAL_S
_ADDED_S = 10.0  # a restart adds the error of clocks, and 2 s


@dataclass
class WireChecks:
    """`allowed`: by family, the weight of a minute."""

    allowed: dict[str, float]
    spent: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _sent: deque[tuple[str, int, int]] = field(default_factory=lambda: deque(maxlen=3_000))
    _forgotten: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _connects: dict[Life, list[int]] = field(default_factory=lambda: defaultdict(list))
    _open: list[Trip] = field(default_factory=list)  # not answered yet
    _shut: dict[tuple[Life, str], tuple[int, int, str]] = field(default_factory=dict)  # from, until, why
    _portal: dict[tuple[Life, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    _pages: Counter[str] = field(default_factory=Counter)  # 403s that anybody was sent, by family

    def count(self, family: str, at_ms: int, weight: int) -> None:
        """Count a request that reached the exchange."""
        self.spent[family, at_ms // _MINUTE_MS] += weight
        self._sent.append((family, at_ms, weight))
        spent, forgotten = self.spent[family, at_ms // _MINUTE_MS], self._forgotten[family, at_ms // _MINUTE_MS]
        assert spent <= self.allowed[family] + forgotten, ("over the share", family, at_ms, spent, forgotten)

    def forget(self, now_ms: int, *, all_of_it: bool) -> None:
        """A process was killed: it is not known what it spent in its last second, or in this minute at all."""
        since_ms = 0 if all_of_it else now_ms - _UNWRITTEN_MS
        for family, at_ms, weight in self._sent:
            if at_ms >= since_ms:
                self._forgotten[family, at_ms // _MINUTE_MS] += weight

    def stated_until_ms(self, family: str) -> int:
        """Return until when the exchange told any process to send nothing."""
        return max((until for (_, of), (_, until, _) in self._shut.items() if of == family), default=0)

    def _check_portal(self, trip: Trip) -> None:
        """Check that who answers with nothing but web pages is asked less and less."""
        assert trip.received_ms is not None
        pages = self._portal[trip.life, trip.family]
        if not trip.page:
            pages.clear()
        pages += [trip.received_ms] * trip.page
        del pages[: bisect_left(pages, trip.received_ms - _MINUTE_MS)]
        assert len(pages) <= _MOST_PAGES, ("a portal is asked on and on", trip)

    def check_pause(self, family: str, pause_s: float) -> None:
        """Check a pause after a 403 that states none: each may cost twice what the one before did, and no more."""
        most_s = _FIRST_STEP_S * 2.0 ** max(0, self._pages[family] - 1) + _ADDED_S
        assert pause_s <= most_s, ("too long a pause after a 403", family, pause_s, most_s)

    def take(self, trips: list[Trip]) -> list[Trip]:
        """Check what was sent, in its order, against what had come back by then; return what was answered."""
        trips = [*self._open, *trips]
        waiting = (trip for trip in trips if trip.received_ms is None and not trip.life.ended)
        self._open = [trip for trip in waiting if trip.path != HANDSHAKE]
        happened = [(trip.sent_ms, 0, trip) for trip in trips if not trip.checked]
        happened += [(trip.received_ms, 1, trip) for trip in trips if trip.received_ms is not None]
        for _, received, trip in sorted(happened, key=lambda each: each[:2]):
            if received:
                self._learn(trip)
            else:
                self._check_sent(trip)
        return [trip for trip in trips if trip.received_ms is not None]

    def _check_sent(self, trip: Trip) -> None:
        trip.checked = True
        if trip.path == HANDSHAKE:
            self._check_pace(trip)
        from_ms, until_ms, why = self._shut.get((trip.life, trip.family), (0, 0, ""))
        assert not from_ms < trip.sent_ms < until_ms, ("sent into a closed gate", why, from_ms, until_ms, trip)

    def _check_pace(self, trip: Trip) -> None:
        connects = self._connects[trip.life]
        connects.append(trip.sent_ms)
        del connects[: bisect_left(connects, trip.sent_ms - _MINUTE_MS + 1)]
        assert len(connects) <= _CONNECTS_A_MINUTE, ("too many connects", trip)

    def hear_within_s(self, now_ms: int) -> float:
        """Return when streams must flow again: later where a connect may have to wait for its turn."""
        made = [len(connects) - bisect_left(connects, now_ms - _MINUTE_MS) for connects in self._connects.values()]
        return _HEAR_LATER_S if max(made, default=0) >= _CONNECTS_A_MINUTE / 2 else _HEAR_S

    def _learn(self, trip: Trip) -> None:
        assert trip.received_ms is not None
        now_ms, key = trip.received_ms, (trip.life, trip.family)
        self._pages[trip.family] += trip.status == 403
        if trip.status == 200:
            self._check_portal(trip)
        until_ms = _shut_until_ms(trip, now_ms)
        _, known_ms, _ = self._shut.get(key, (0, 0, ""))
        if until_ms > known_ms and not (trip.status == 403 and trip.sent_ms < known_ms):
            self._shut[key] = (now_ms, until_ms, f"{trip.status} at {now_ms}")


def _shut_until_ms(trip: Trip, now_ms: int) -> int:
    match trip.status:
        case 418 | 429 | 503 if trip.stated_until_ms is not None:
            return trip.stated_until_ms
        case 418:
            return now_ms + _BAN_MS
        case 429:
            return (now_ms // _MINUTE_MS + 1) * _MINUTE_MS
        case 403:
            return now_ms + _WAF_MS
        case 451:
            return now_ms + _REGION_MS
        case _:
            return 0
