"""What can go wrong between the daemon and the exchange, below HTTP and in what HTTP carries."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.faults.bench import FaultBench
from tests.faults.case import Case, Fault
from tests.faults.wire import Break, Call

_LONG_S = 3_600.0
LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Log in to our Wi-Fi</title></head><body>Welcome!</body></html>"


def broken(how: Break) -> Fault:
    """Requests are answered so."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        for each in bench.all:
            each.wire.broken_by = how
        yield
        for each in bench.all:
            each.wire.broken_by = None
            each.wire.drop()  # what hung, too

    return fault


@contextmanager
def refused(bench: FaultBench) -> Iterator[None]:
    bench.wire.refuse()
    yield
    bench.wire.listen()


@contextmanager
def plugged(bench: FaultBench) -> Iterator[None]:
    bench.wire.refuse()
    bench.wire.plug()
    yield
    bench.wire.unplug()
    bench.wire.listen()


@contextmanager
def hanging_ipv6(bench: FaultBench) -> Iterator[None]:
    bench.levers.resolve(("::1", "127.0.0.1"))
    bench.wire.plug("::1")
    bench.wire.drop()
    yield
    bench.wire.unplug()
    bench.levers.resolve()


@contextmanager
def unresolved(bench: FaultBench) -> Iterator[None]:
    bench.levers.resolve(())
    bench.wire.drop()
    yield
    bench.levers.resolve()


def certified(name: str) -> Fault:
    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        bench.wire.listen(getattr(bench.certificates, name))
        yield
        bench.wire.listen()

    return fault


async def _plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nTLS is not spoken here")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def without_tls(bench: FaultBench) -> Iterator[None]:
    bench.wire.listen(serve=_plain)
    yield
    bench.wire.listen()


# ------------------------------------------------------------------------------- breaks of an answer


async def reset(call: Call) -> None:
    call.reset()


async def silence(_: Call) -> None:
    await asyncio.sleep(_LONG_S)


async def slow_first_byte(call: Call) -> None:
    honest = await call.honest()
    await asyncio.sleep(0.3)  # less than the time-out
    call.send(honest)


async def too_slow_first_byte(call: Call) -> None:
    honest = await call.honest()
    await asyncio.sleep(1.5)
    call.send(honest)


async def slow_body(call: Call) -> None:
    head, _, body = (await call.honest()).partition(b"\r\n\r\n")
    call.send(head + b"\r\n\r\n")
    for n in range(len(body)):
        call.send(body[n : n + 1])
        await asyncio.sleep(0.1)


async def half_body(call: Call) -> None:
    honest = await call.honest()
    call.send(honest[: -(len(honest.partition(b"\r\n\r\n")[2]) // 2)])
    call.writer.close()


async def half_body_that_hangs(call: Call) -> None:
    honest = await call.honest()
    call.send(honest[: -(len(honest.partition(b"\r\n\r\n")[2]) // 2)])
    await asyncio.sleep(_LONG_S)


def length(change: int) -> Break:
    """`Content-Length` is off by so much."""

    async def answer(call: Call) -> None:
        head, _, body = (await call.honest()).partition(b"\r\n\r\n")
        stated = max(0, len(body) + change)
        call.send(head.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % stated) + b"\r\n\r\n" + body)
        if change > 0:
            call.writer.close()

    return answer


def said(data: bytes) -> Break:
    """This comes, whatever was asked."""

    async def answer(call: Call) -> None:
        call.send(data)

    return answer


def page(body: bytes, kind: bytes = b"text/html") -> bytes:
    """A 200."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


UPSTREAM = (
    Case("connections refused", refused),
    Case("connections without an answer", plugged, long=True),
    Case("IPv6 that hangs, IPv4 that works", hanging_ipv6, unnoticed=True),
    Case("names that can't be resolved", unresolved),
    Case("expired certificate", certified("expired")),
    Case("certificate of another host", certified("of_another"), long=True),
    Case("untrusted certificate", certified("untrusted"), long=True),
    Case("no TLS", without_tls),
    Case("connections reset", broken(reset)),
    Case("no answer", broken(silence)),
    Case("first byte slow, in time", broken(slow_first_byte), unnoticed=True),
    Case("first byte too late", broken(too_slow_first_byte), long=True),
    Case("body in single bytes", broken(slow_body)),
    Case("half of the body, then the end", broken(half_body)),
    Case("half of the body, then nothing", broken(half_body_that_hangs), long=True),
    Case("`Content-Length` too large", broken(length(7)), long=True),
    Case("`Content-Length` too small", broken(length(-7))),
    Case("bytes that are no HTTP", broken(said(b"SSH-2.0-OpenSSH_9.9\r\n\x00\xff\xfe"))),
    Case("an endless header", broken(said(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000))),
    Case("a log-in page for every question", broken(said(page(LOGIN_PAGE)))),
)
