"""Certificates that are as they should be, and those that are not."""

import ssl
import subprocess
from pathlib import Path

from tests.support.programs import find

HOSTS = ("spot.test", "usdm.test", "coinm.test")


class Certificates:
    """Made in a folder; `trusted` is the file of those that the daemon trusts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.good = self._make("good", HOSTS)
        self.expired = self._make("expired", HOSTS, days=-1)
        self.of_another = self._make("of_another", ("another.test",))
        self.untrusted = self._make("untrusted", HOSTS)
        self.trusted = folder / "trusted"
        names = ("good", "expired", "of_another")
        self.trusted.write_text("".join((folder / f"{name}.pem").read_text() for name in names))

    def _make(self, name: str, hosts: tuple[str, ...], days: int = 2) -> ssl.SSLContext:
        key, request, made = (str(self._folder / f"{name}.{kind}") for kind in ("key", "request", "pem"))
        extensions = self._folder / f"{name}.extensions"
        names = [f"DNS:{host}" for host in hosts] + ["IP:127.0.0.1"] * (hosts is HOSTS)
        extensions.write_text("subjectAltName=" + ",".join(names))
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
        self._run("req", *new, "-keyout", key, "-out", request)
        signed = ["-signkey", key, "-days", str(days), "-extfile", str(extensions)]
        self._run("x509", "-req", "-in", request, *signed, "-out", made)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made, key)
        return context

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run([find("openssl"), *command], check=True, capture_output=True)
