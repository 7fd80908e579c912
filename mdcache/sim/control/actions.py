"""The control API's actions, which change the exchange while it runs (docs/sim.md).

State that `exchange.py` reads at each request. Durations end in `_s` (seconds) or `_ms`; moments in `_ms` are
exchange time since the Unix epoch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from random import Random
from typing import Literal

from mdcache.sim.api.routes import ROUTES
from mdcache.sim.config import Family, Market, SymbolSpec
from mdcache.sim.control.dump_faults import DumpFault
from mdcache.sim.control.faults import InjectedFault
from mdcache.sim.control.meter import Meter
from mdcache.sim.control.stream_faults import StreamFault, StreamSettings
from mdcache.sim.listings import Listings


@dataclass(frozen=True, slots=True)
class Latency:
    """Delays before and after processing, in seconds, for paths that start with `path`."""

    before_s: float = 0.0
    after_s: float = 0.0
    jitter_s: float = 0.0
    path: str = ""


@dataclass(frozen=True, slots=True)
class RowRevision:
    """A closed row that changes at `from_ms`: volume (a decimal string) and trades are added."""

    from_ms: int
    volume: Decimal
    trades: int

    def apply(self, row: bytes) -> bytes:
        """Return the row after the revision."""
        fields = row[1:-1].split(b",")
        volume = fields[5].decode().strip('"')
        fields[5] = f'"{Decimal(volume) + self.volume:f}"'.encode()
        fields[8] = str(int(fields[8]) + self.trades).encode()
        return b"[" + b",".join(fields) + b"]"


class Control:
    """The current settings. Each action changes some of them; `reset` undoes all."""

    def __init__(
        self,
        meter: Meter,
        listings: Listings,
        *,
        seed: int,
        now_ms: Callable[[], int],
        on_reset: Callable[[], None],
    ) -> None:
        self._meter = meter
        self._listings = listings
        self._seed = seed
        self._now_ms = now_ms
        self._on_reset = on_reset
        self.streams = StreamSettings()
        self._restore()

    def _restore(self) -> None:
        self._random = Random(self._seed)
        self._latencies: list[Latency] = []
        self._faults: list[InjectedFault] = []
        self._revisions: dict[tuple[str, str, str], dict[int, RowRevision]] = {}
        self._late: dict[str | None, tuple[int, int]] = {}
        self._lags_ms: tuple[int, ...] = (0,)
        self._lag_mode: Literal["alternate", "random"] = "alternate"
        self._reads = 0
        self._weight_headers: dict[Family, tuple[int, bool]] = {}  # offset, absent
        self._dump_faults: list[DumpFault] = []
        self.date_skew_s = 0.0
        self.time_offset_ms = 0
        self.clock_step_ms = 0
        self.streams.restore()

    # ------------------------------------------------------------------------------------- actions

    def latency(self, *, before_s: float = 0.0, after_s: float = 0.0, jitter_s: float = 0.0, path: str = "") -> None:
        """Wait before and after processing; `jitter_s` adds up to that much to each wait that is set.

        Replaces the latency of the same path prefix; the longest matching prefix counts.
        """
        self._latencies = [one for one in self._latencies if one.path != path]
        self._latencies.append(Latency(before_s, after_s, jitter_s, path))
        self._latencies.sort(key=lambda one: -len(one.path))

    def fault(
        self,
        kind: str,
        *,
        count: int | None = None,
        probability: float = 1.0,
        path: str = "",
        contains: str = "",
        retry_after_s: int | None = None,
        size: int = 200_000_000,
    ) -> InjectedFault:
        """Add a fault (kinds: `faults.FAULT_KINDS`); of several that match, the first one added counts."""
        armed = InjectedFault(kind, count, probability, path, contains, retry_after_s, size)
        self._faults.append(armed)
        return armed

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def ban(self, family: Family, seconds: float, *, client: str | None = None, retry_after: bool = True) -> None:
        """Answer 418 for some seconds from now, to one address or to all; `retry_after`: send that header."""
        self._meter.ban(family, client, seconds, self._now_ms(), retry_after=retry_after)

    def unban(self) -> None:
        """Lift all bans."""
        self._meter.unban()

    def spend(self, family: Family, weight: int, *, client: str = "127.0.0.1") -> None:
        """Use weight now, as another client behind the same address would."""
        self._meter.spend(family, client, weight, self._now_ms())

    def revise(
        self,
        path: str,
        name: str,
        interval: str,
        open_ms: int,
        *,
        from_ms: int | None = None,
        volume: str = "0",
        trades: int = 0,
    ) -> None:
        """Add to the volume and trades of one row of a series from a moment on (default: now)."""
        if path not in ROUTES or not ROUTES[path].is_klines:
            raise ValueError(f"not a kline path: {path!r}")
        since = self._now_ms() if from_ms is None else from_ms
        key = (_plain(path), name, interval)
        self._revisions.setdefault(key, {})[open_ms] = RowRevision(since, Decimal(volume), trades)

    def late_rows(self, delay_s: float, *, short_s: float = 2.0, symbol: str | None = None) -> None:
        """Show a row's final state only `delay_s` after its close; until then, as it was `short_s` before it.

        For one symbol or pair, or for all; 0 ends it.
        """
        if delay_s:
            self._late[symbol] = (round(delay_s * 1000), round(short_s * 1000))
        else:
            self._late.pop(symbol, None)

    def set_replicas(self, lags_ms: Sequence[int], *, mode: Literal["alternate", "random"] = "alternate") -> None:
        """Answer market data from lagging replicas, in turn or at random; `[0]` ends it."""
        if not lags_ms or min(lags_ms) < 0:
            raise ValueError("lags are milliseconds, none negative, one at least")
        self._lags_ms, self._lag_mode, self._reads = tuple(lags_ms), mode, 0

    def weight_header(self, *, offset: int = 0, absent: bool = False, family: Family | None = None) -> None:
        """Falsify the usage headers of one family or both; without arguments, stop that."""
        families: tuple[Family, ...] = ("spot", "futures") if family is None else (family,)
        self._weight_headers |= dict.fromkeys(families, (offset, absent))

    def skew_date(self, seconds: float) -> None:
        """Set the `Date` header ahead."""
        self.date_skew_s = seconds

    def offset_time(self, milliseconds: int) -> None:
        """Set `/time` (and `serverTime` of `exchangeInfo`) ahead."""
        self.time_offset_ms = milliseconds

    def step_clock(self, seconds: float) -> None:
        """Set the exchange's clock ahead of its machine's: minutes, candles and dates follow it."""
        self.clock_step_ms = round(seconds * 1000)

    def list_symbol(
        self,
        market: Market,
        symbol: str,
        *,
        listed_ms: int | None = None,
        contract_type: str = "PERPETUAL",
        price: str = "1",
        price_decimals: int = 4,
        trades_per_day: int = 50_000,
    ) -> None:
        """List a new symbol from now on; it trades from `listed_ms` on (default: now; earlier: it has a past)."""
        now_ms = self._now_ms()
        futures = market != "spot"
        spec = SymbolSpec(
            market,
            symbol,
            now_ms if listed_ms is None else listed_ms,
            announced_ms=now_ms,
            pair=symbol.partition("_")[0] if futures else None,
            contract_type=contract_type if futures else None,
            price=price,
            price_decimals=price_decimals,
            quantity_decimals=0 if market == "coinm" else 1,
            trades_per_day=trades_per_day,
        )
        self._listings.add(spec, now_ms)

    def halt(self, market: Market, symbol: str, *, status: str | None = None) -> None:
        """Stop trading in a symbol, which then shows `status` (default: BREAK on spot, SETTLING on futures)."""
        shown = status or ("BREAK" if market == "spot" else "SETTLING")
        self._listings.halt(market, symbol, self._now_ms(), status=shown)

    def delist(self, market: Market, symbol: str) -> None:
        """Delist a symbol."""
        self._listings.delist(market, symbol, self._now_ms())

    def relist(self, market: Market, symbol: str) -> None:
        """Let a halted or delisted symbol trade again."""
        self._listings.relist(market, symbol, self._now_ms())

    def stream_fault(
        self,
        kind: str,
        *,
        market: Market | None = None,
        path: str = "",
        topic: str = "",
        seconds: float | None = None,
        delay_s: float = 8.0,
        life_s: float = 1.0,
    ) -> None:
        """Let streams misbehave (kinds: `stream_faults.STREAM_FAULT_KINDS`), for some seconds or until cleared.

        On connections to `path` and below, for topics that contain `topic`.
        """
        until_ms = None if seconds is None else self._now_ms() + round(seconds * 1000)
        self.streams.faults.append(StreamFault(kind, market, path, topic, until_ms, delay_s, life_s))

    def clear_stream_faults(self) -> None:
        """Let streams behave again; connections that were closed stay closed."""
        self.streams.faults.clear()

    def close_streams(self, *, market: Market | None = None, notice_s: float = 0.0) -> None:
        """End all connections to streams: at once, without a closing handshake, or after a `serverShutdown`."""
        self.streams.close_all(market, self._now_ms(), round(notice_s * 1000))

    def quiet_topics(self, *, silent: bool = True) -> None:
        """Send nothing for a candle in which nothing is traded; `silent` false: send it like the others."""
        self.streams.quiet = silent

    def dump_fault(
        self, kind: str, *, contains: str = "", open_ms: int | None = None, rows: int = 60, bytes_s: int = 10_000
    ) -> None:
        """Let dump files whose path contains a text be wrong (kinds: `dump_faults.DUMP_FAULT_KINDS`) until cleared."""
        self._dump_faults.append(DumpFault(kind, contains, open_ms, rows, bytes_s))

    def clear_dump_faults(self) -> None:
        """Let dump files be right again."""
        self._dump_faults.clear()

    def reset(self) -> None:
        """Undo everything above and forget weights, bans and the log."""
        self._restore()
        self._listings.reset()
        self._meter.reset()
        self._on_reset()

    # ----------------------------------------------------------------- read by the exchange

    def delays(self, path: str) -> tuple[float, float]:
        """Return the delays before and after processing a request, with new random jitter."""
        for one in self._latencies:
            if path.startswith(one.path):
                return self._jittered(one.before_s, one), self._jittered(one.after_s, one)
        return 0.0, 0.0

    def _jittered(self, seconds: float, latency: Latency) -> float:
        return seconds + self._random.uniform(0, latency.jitter_s) if seconds else 0.0

    def next_fault(self, path: str, query: str) -> InjectedFault | None:
        """Return the fault of a request, if it has one, and count its use."""
        for index, armed in enumerate(self._faults):
            if not armed.matches(path, query) or self._random.random() >= armed.probability:
                continue
            if armed.count is not None:
                if armed.count <= 1:
                    del self._faults[index]
                else:
                    self._faults[index] = replace(armed, count=armed.count - 1)
            return armed
        return None

    def next_lag_ms(self) -> int:
        """Return the lag of the replica that answers the next query about market data."""
        self._reads += 1
        if self._lag_mode == "random":
            return self._random.choice(self._lags_ms)
        return self._lags_ms[(self._reads - 1) % len(self._lags_ms)]

    def revisions(self, path: str, name: str, interval: str) -> Mapping[int, RowRevision]:
        """Return a series' revisions by open time."""
        return self._revisions.get((_plain(path), name, interval), {})

    def dump_faults(self, path: str) -> list[DumpFault]:
        """Return the faults of a dump file, in the order in which they were set."""
        return [fault for fault in self._dump_faults if fault.contains in path]

    def late(self, name: str) -> tuple[int, int]:
        """Return (delay, how much is missing until then) of a symbol's final rows, in ms."""
        return self._late.get(name) or self._late.get(None) or (0, 0)

    def shown_weight(self, family: Family, used: int) -> int | None:
        """Return the used weight as the header states it."""
        offset, absent = self._weight_headers.get(family, (0, False))
        return None if absent else used + offset

    def status(self) -> dict[str, object]:
        """Return all settings, as JSON types."""
        return {
            "latencies": [asdict(one) for one in self._latencies],
            "faults": [asdict(one) for one in self._faults],
            "replicas_ms": list(self._lags_ms),
            "late_rows": {symbol or "*": list(late) for symbol, late in self._late.items()},
            "changed": [
                {"market": one.market, "symbol": one.symbol, "status": one.status_at(self._now_ms()),
                 "listed": one.visible(self._now_ms())}
                for one in self._listings.changed()
            ],
            "revisions": sum(map(len, self._revisions.values())),
            "stream_faults": [asdict(one) for one in self.streams.faults],
            "dump_faults": [asdict(one) for one in self._dump_faults],
            "quiet_topics": self.streams.quiet,
            "date_skew_s": self.date_skew_s,
            "time_offset_ms": self.time_offset_ms,
            **self._meter.status(self._now_ms()),
        }  # fmt: skip


def _plain(path: str) -> str:
    """Return the canonical path of rows: both spot kline paths print the same ones."""
    return path.replace("/uiKlines", "/klines")
