"""One daemon, its wires to the exchange and its levers: what a fault of the matrix is tried on."""

import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.certificates import Certificates
from tests.faults.doctored import Levers
from tests.faults.doctored_daemon import DoctoredDaemon
from tests.faults.stream_wire import StreamWire
from tests.faults.wire import Asked, Wire, passing
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.sim_client import SimClient
from tests.support.waiting import eventually

TOKEN = "a-very-secret-token"
TIMEOUT_S, DEADLINE_S = 0.8, 1.5  # of a read, and of an answer
SETTINGS = {"admin_token": TOKEN, "upstream_timeout_s": str(TIMEOUT_S), "request_deadline_s": str(DEADLINE_S)}
SHARE = 0.5  # of the limits, the default
REDIS_TIMEOUT_S = 0.5  # more than the default, for the machine has other work
SHARED = {"weight_share": str(SHARE), "replicas": "2", "redis_timeout_s": str(REDIS_TIMEOUT_S)}
USER = "mdcache"  # of Redis
WARM = (
    "/api/v3/klines?symbol=BNBUSDT&interval=1d&limit=2",
    "/fapi/v1/klines?symbol=BNBUSDT&interval=1d&limit=2",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d&limit=2",
)


@dataclass
class FaultBench:
    """What a fault takes hold of.

    `streams`: its way to the exchange's streams, if it has them. `redis`, `to_redis`: the server that it shares with
    `others`, and the way of all of them to it. `woke_s`: when it was woken, by this machine's clock.
    """

    exchange: SimClient
    wire: Wire
    levers: Levers
    daemon: DoctoredDaemon
    certificates: Certificates
    streams: StreamWire | None = None
    redis: RedisServer | None = None
    to_redis: Wire | None = None
    others: "tuple[FaultBench, ...]" = ()
    woke_s: float = 0.0
    _ahead_s: float = field(init=False, default=0.0)
    _wall_s: float = field(init=False, default=0.0)

    @property
    def all(self) -> "tuple[FaultBench, ...]":
        """This one, and those that it shares with."""
        return (self, *self.others)

    def asked(self) -> list[Asked]:
        """What came to the exchange's side, by both ways."""
        return self.wire.asked + ([] if self.streams is None else self.streams.asked)

    def forget(self) -> None:
        """Forget what came, and let the gates forget what was."""
        self.forgive()
        self.wire.asked.clear()
        self.wire.slowest_s = 0.0
        if self.streams is not None:
            self.streams.asked.clear()

    def exchange_s(self) -> float:
        """Return the exchange's time."""
        return time.time() + self._ahead_s

    def step(self, wall_s: float) -> None:
        """Let the daemon's wall clock jump."""
        self._wall_s += wall_s
        self.levers.step(self._wall_s + self._ahead_s, self._ahead_s)

    def suspend(self, seconds: float) -> None:
        """Let that time pass for the exchange and for all of the daemon's clocks but the one its timers go by."""
        self.daemon.signal(signal.SIGSTOP)
        time.sleep(0.1)  # what it has just told is known to who asked
        self._ahead_s += seconds
        self.exchange.act("step_clock", seconds=self._ahead_s)
        self.step(0.0)
        self.woke_s = time.time()
        self.daemon.signal(signal.SIGCONT)

    def answers(self, target: str) -> bool:
        """Whether it does, with a 200."""
        return self.daemon.get(target).status_code == 200

    def forgive(self) -> None:
        """Let the gates forget what was, as an operator would after a change of address."""
        for family in ("spot", "futures"):
            headers = {"authorization": f"Bearer {TOKEN}"}
            reply = self.daemon.post("/v1/admin/gate", {"family": family, "action": "open"}, headers)
            assert reply.status_code == 200, reply.text


class Workshop:
    """Makes benches, each an address of its own to the exchange, in a folder."""

    def __init__(self, exchange: SimClient, folder: Path, stack: ExitStack) -> None:
        self._exchange = exchange
        self._folder = folder
        self._stack = stack
        self._certificates = Certificates(folder)
        self._made = 0

    def alone(self) -> FaultBench:
        """Make one without streams."""
        return self._make(self._address())

    def streamed(self) -> FaultBench:
        """Make one with streams."""
        address = self._address()
        wire = StreamWire(self._exchange.url, address, self._certificates.good)
        self._stack.enter_context(closing(wire))
        urls = {"spot": "", "usdm": "/usdm", "coinm": "/coinm"}
        settings = {f"{market}_ws_url": f"wss://127.0.0.1:{wire.port}{base}" for market, base in urls.items()}
        made = self._make(address, **settings)
        made.streams = wire
        return made

    def pair(self) -> FaultBench:
        """Make two that share a Redis, and one address."""
        address = self._address()
        redis = self._stack.enter_context(running_redis("--user", USER, "on", ">hidden-word", "~*", "&*", "+@all"))
        wire = Wire(self._exchange.url, address, self._certificates.good)
        self._stack.enter_context(closing(wire)).listen(serve=passing(redis.port))
        url = f"redis://{USER}:hidden-word@127.0.0.1:{wire.port}"
        one, other = (self._make(address, redis_url=url, **SHARED) for _ in range(2))
        one.redis, one.to_redis, one.others = redis, wire, (other,)
        return one

    def _address(self) -> str:
        self._made += 1
        return f"10.9.8.{self._made}"

    def _make(self, address: str, **settings: str) -> FaultBench:
        own = Path(tempfile.mkdtemp(dir=self._folder))
        levers = Levers(own)
        wire = self._stack.enter_context(closing(Wire(self._exchange.url, address, self._certificates.good)))
        daemon = DoctoredDaemon(own, wire.port, self._certificates, **SETTINGS, **settings)
        self._stack.enter_context(closing(daemon)).start(wait=False)
        return FaultBench(self._exchange, wire, levers, daemon, self._certificates)


@contextmanager
def benches(exchange: SimClient, *kinds: str) -> Iterator[Sequence[FaultBench]]:
    """Run one of each kind: "alone", "streamed" or "pair"."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mdcache-faults-")))
        workshop = Workshop(exchange, folder, stack)
        made = [getattr(workshop, kind)() for kind in kinds]
        for each in [one for bench in made for one in bench.all]:
            each.daemon.wait_until_ready()
            for target in WARM:  # clocks measured, symbols known
                eventually(partial(each.answers, target))
        yield made
