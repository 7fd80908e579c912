"""The daemon as a process whose resolver, clocks and disk a test has in its hands."""

import resource
import sys
from pathlib import Path

from tests.faults.certificates import HOSTS, Certificates
from tests.support.daemon_process import DaemonProcess
from tests.support.programs import find

ROOT = Path(__file__).parents[2]


class DoctoredDaemon(DaemonProcess):
    """The daemon, started with `doctored`, by names and certificates of the tests."""

    def __init__(self, folder: Path, port: int, certificates: Certificates, **settings: str) -> None:
        urls = {f"{host.removesuffix('.test')}_url": f"https://{host}:{port}" for host in HOSTS}
        super().__init__("", **urls, **settings)
        self._plain = [sys.executable, "-m", "tests.faults.doctored", str(folder), "serve"]
        self._env |= {"PYTHONPATH": str(ROOT), "SSL_CERT_FILE": str(certificates.trusted)}

    def start(self, *, wait: bool = True, mount: str = "") -> None:
        """It runs; `mount`: once this shell command was run, whose mounts it alone sees; `{state}` is its folder."""
        script = f'{mount.format(state=self.state)} && exec "$0" "$@"'
        self._command = [find("unshare"), "-rm", "sh", "-ec", script, *self._plain] if mount else self._plain
        super().start(wait=wait)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def state(self) -> Path:
        """What it keeps on disk."""
        return Path(self.folder) / "state"

    def seen(self, path: Path) -> Path:
        """Return a path as the daemon sees it."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

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
