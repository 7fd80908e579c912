"""One daemon, its wire to the exchange and its levers: what a row of the matrix is tried on."""

import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from tests.faults.certificates import HOSTS, Certificates
from tests.faults.doctored import Levers
from tests.faults.wire import Wire
from tests.support.daemon_process import DaemonProcess
from tests.support.sim_client import SimClient
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
TOKEN = "a-very-secret-token"
TIMEOUT_S, DEADLINE_S = 0.8, 1.5  # of a read, and of an answer
SETTINGS = {"admin_token": TOKEN, "upstream_timeout_s": str(TIMEOUT_S), "request_deadline_s": str(DEADLINE_S)}
WARM = (
    "/api/v3/klines?symbol=BNBUSDT&interval=1d&limit=2",
    "/fapi/v1/klines?symbol=BNBUSDT&interval=1d&limit=2",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d&limit=2",
)


class DoctoredDaemon(DaemonProcess):
    """The daemon, started with `doctored`, by names and certificates of the tests."""

    def __init__(self, folder: Path, port: int, certificates: Certificates, **settings: str) -> None:
        urls = {f"{host.removesuffix('.test')}_url": f"https://{host}:{port}" for host in HOSTS}
        super().__init__("", **urls, **settings)
        self._command = [sys.executable, "-m", "tests.faults.doctored", str(folder), "serve"]
        self._env |= {"PYTHONPATH": str(ROOT), "SSL_CERT_FILE": str(certificates.trusted)}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def resident_mb(self) -> float:
        """Memory that it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def descriptors(self) -> int:
        """How many it has open; 0 if it does not run."""
        if self._process is None:
            return 0
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def close(self) -> None:
        """At once: nothing that it has to say at its end matters."""
        if self._process is not None:
            self.kill()
        super().close()


class FaultBench:
    """What a fault takes hold of."""

    def __init__(
        self, exchange: SimClient, wire: Wire, levers: Levers, daemon: DoctoredDaemon, certificates: Certificates
    ) -> None:
        self.exchange = exchange
        self.wire = wire
        self.levers = levers
        self.daemon = daemon
        self.certificates = certificates
        self.woke_s = 0.0  # by this machine's clock
        self._ahead_s = 0.0
        self._wall_s = 0.0

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


@contextmanager
def benches(exchange: SimClient, number: int) -> Iterator[Sequence[FaultBench]]:
    """Run so many, each an address of its own to the exchange."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mdcache-faults-")))
        certificates = Certificates(folder)
        made = []
        for n in range(number):
            own = folder / str(n)
            own.mkdir()
            levers = Levers(own)
            wire = stack.enter_context(closing(Wire(exchange.url, f"10.9.8.{n + 1}", certificates.good)))
            daemon = stack.enter_context(closing(DoctoredDaemon(own, wire.port, certificates, **SETTINGS)))
            daemon.start(wait=False)
            made.append(FaultBench(exchange, wire, levers, daemon, certificates))
        for each in made:
            each.daemon.wait_until_ready()
            for target in WARM:  # clocks measured, symbols known
                eventually(partial(each.answers, target))
        yield made
