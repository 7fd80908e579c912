"""HAProxy and nginx with the shipped files, raw requests through them, and servers to put behind them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.deploy.conftest import DEPLOY, call
from tests.support.processes import free_port, running
from tests.support.programs import find

HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"
NGINX = DEPLOY / "nginx" / "mdcache.conf"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
_END = b"\r\n\r\n"
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it came: status, fields in lower case, body."""

    status: int
    fields: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; with `tls`, what to trust there."""

    port: int
    tls: ssl.SSLContext | None = None

    def ask(self, target: str, method: str = "GET", *fields: str) -> Reply:
        """Send the target as it is spelled: a library would tidy it up."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
        with contextlib.ExitStack() as stack:
            link = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), _TIMEOUT_S))
            if self.tls is not None:
                link = stack.enter_context(self.tls.wrap_socket(link, server_hostname="127.0.0.1"))
            link.sendall("\r\n".join(lines).encode("latin-1") + _END)
            with link.makefile("rb") as file:
                return _parsed(file.read())


@dataclass
class Upstream:
    """A server that keeps the request lines it gets, and answers each connection with `answer` (nothing: it hangs)."""

    answer: bytes = OK
    seen: list[str] = field(default_factory=list)
    port: int = 0
    _closed: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def serve(self) -> Iterator["Upstream"]:
        """Listen for the block."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            try:
                yield self
            finally:
                self._closed.set()
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                link, _ = server.accept()
                threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            head = b""
            while _END not in head:
                if not (chunk := link.recv(65_536)):
                    return
                head += chunk
            line = head.split(b"\r\n", 1)[0].decode("latin-1")
            if "/readyz" in line:
                link.sendall(OK)  # the balancer's check
                return
            self.seen.append(line)
            if not self.answer:
                self._closed.wait(_TIMEOUT_S)
            link.sendall(self.answer)


@contextlib.contextmanager
def haproxy(*replicas: str, folder: Path | None = None, timeout: str = "60s") -> Iterator[Address]:
    """HAProxy in front of these three; with a `folder`, a copy in it with this timeout of servers."""
    port, config = free_port(), HAPROXY
    if folder is not None:
        config = folder / "haproxy.cfg"
        text = HAPROXY.read_text()
        assert "timeout server 60s" in text
        config.write_text(text.replace("timeout server 60s", f"timeout server {timeout}"))
    env = {f"REPLICA_{n}": replica for n, replica in enumerate(replicas, 1)} | {"BIND": f"127.0.0.1:{port}"}
    with running([find("haproxy"), "-db", "-f", str(config)], f"http://127.0.0.1:{port}/healthz", env=env):
        yield Address(port)


def certificate(folder: Path) -> Path:
    """Write a certificate of our own into the folder."""
    subject = ("-subj", "/CN=mdcache.example", "-addext", "subjectAltName=DNS:mdcache.example,IP:127.0.0.1")
    files = ("-keyout", folder / "mdcache.key", "-out", folder / "mdcache.crt")
    done = call(find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files)
    assert done.returncode == 0, done.stderr
    return folder


def nginx_configured(folder: Path, tls: Path, port: int, upstream: str, change: Callable[[str], str] = str) -> Path:
    """The shipped file with this test's ports and folders, inside a whole configuration."""
    site = NGINX.read_text().replace("listen [::]:443 ssl http2;", "").replace("listen 443", f"listen 127.0.0.1:{port}")
    site = site.replace("127.0.0.1:8700", upstream).replace("/etc/nginx/tls", str(tls))
    assert "443" not in site.replace(str(port), "").replace(upstream, "")
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ {paths}\n{change(site)}\n}}\n"
    )
    return file


@contextlib.contextmanager
def nginx(upstream: str, folder: Path, change: Callable[[str], str] = str) -> Iterator[Address]:
    """nginx in front of the upstream, with a certificate in the folder; `change` edits the site's file."""
    port = free_port()
    file = nginx_configured(folder, certificate(folder), port, upstream, change)
    trusted = ssl.create_default_context(cafile=str(folder / "mdcache.crt"))
    # nothing but TLS is spoken there: to plain HTTP it answers 400, which says that it is up
    with running([find("nginx"), "-c", str(file)], f"http://127.0.0.1:{port}/"):
        yield Address(port, trusted)


def client_of(address: Address) -> httpx.Client:
    """An ordinary client of it."""
    scheme = "http" if address.tls is None else "https"
    verify = address.tls or ssl.create_default_context()
    return httpx.Client(
        base_url=f"{scheme}://127.0.0.1:{address.port}", trust_env=False, timeout=_TIMEOUT_S, verify=verify
    )


def _parsed(raw: bytes) -> Reply:
    head, _, body = raw.partition(_END)
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    fields = {name.lower(): value for name, value in fields.items()}
    return Reply(int(status.split()[1]), fields, body)
