"""What can go wrong with the exchange's streams while its REST API works."""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.faults.bench import FaultBench
from tests.faults.case import Case, Fault
from tests.faults.status_faults import BLOCKED, WAIT_S, reply
from tests.faults.stream_wire import FrameBreak, Link, StreamWire
from tests.faults.upstream_faults import LOGIN_PAGE, broken, certified, page, plugged, refused, reset, said, silence
from tests.faults.wire import Break

LATE_S = 6.0
_EACH_S = 3.0  # a connection's life
_GARBAGE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":17',
    b"\x00\x00",
    b"[]",
    b"null",
    LOGIN_PAGE,
    b'{"e":"x"}',
)


def of_streams(fault: Fault) -> Fault:
    """The fault is on the way to the streams, and falls upon what is open."""

    @contextmanager
    def fallen(bench: FaultBench) -> Iterator[None]:
        assert bench.streams is not None
        theirs = copy.copy(bench)
        theirs.wire = bench.streams
        with fault(theirs):
            bench.streams.drop()
            yield

    return fallen


def shaken(how: Break) -> Fault:
    """Handshakes are answered so."""
    return of_streams(broken(how))


def framed(how: FrameBreak, *, anew: bool = False) -> Fault:
    """This becomes of each frame, until the connections end; `anew`: of new connections'."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        assert bench.streams is not None
        bench.streams.frames_by = how
        if anew:
            bench.streams.drop()
        yield
        bench.streams.frames_by = None
        bench.streams.drop()

    return fault


@contextmanager
def pulled(bench: FaultBench) -> Iterator[None]:
    """Nothing passes, and nobody is told."""
    assert bench.streams is not None
    bench.streams.broken_by, bench.streams.frames_by = silence, nothing
    yield
    bench.streams.broken_by = bench.streams.frames_by = None
    bench.streams.drop()


def again_and_again(what: Callable[[StreamWire], None]) -> Fault:
    """This happens every few seconds."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        assert bench.streams is not None
        wire, over = bench.streams, threading.Event()

        def run() -> None:
            while not over.wait(_EACH_S):
                what(wire)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        over.set()
        thread.join()

    return fault


def _expire(wire: StreamWire) -> None:
    wire.end(1000)


@contextmanager
def announced(bench: FaultBench) -> Iterator[None]:
    """The end of what is open."""
    assert bench.streams is not None
    bench.streams.say(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":%d}}' % (time.time() * 1000))
    time.sleep(_EACH_S)
    bench.streams.end(1001)
    yield


# ------------------------------------------------------------------------------- breaks of a frame


def nothing(link: Link, text: bytes) -> None:
    """It does not come."""


def late(link: Link, text: bytes) -> None:
    asyncio.get_running_loop().call_later(LATE_S, link.send, text)


def garbage(link: Link, text: bytes) -> None:
    """What was asked is answered; frames are replaced."""
    link.send(_GARBAGE[link.sent % len(_GARBAGE)] if text.startswith(b'{"stream"') else text)


def of_another(link: Link, text: bytes) -> None:
    """Before each comes one of a topic that nobody asked for, and of a candle the same with another symbol in it."""
    if text.startswith(b'{"stream"'):
        link.send(text.replace(b"btcusdt", b"xrpusdt", 1))
        if b"@kline" in text:
            link.send(text.replace(b"BTCUSDT", b"XRPUSDT"))
    link.send(text)


def of_another_kind(link: Link, text: bytes) -> None:
    """Trades come under the name of candles, too."""
    link.send(text)
    if text.startswith(b'{"stream":"btcusdt@trade"'):
        link.send(text.replace(b"@trade", b"@kline_1m", 1))


def gaps(link: Link, text: bytes) -> None:
    """Each third frame is left out."""
    if int(time.time() * 1000) % 3 or not text.startswith(b'{"stream"'):
        link.send(text)


def refusing(link: Link, text: bytes) -> None:
    """What is asked for is refused, and so does not come."""
    if text.startswith(b'{"result"'):
        link.send(b'{"code":2,"msg":"Invalid request: invalid stream"}')


STREAMS = (
    Case("Streams: connections refused", of_streams(refused), unnoticed=True, long=True),
    Case("Streams: connections without an answer", of_streams(plugged), unnoticed=True, long=True),
    Case("Streams: expired certificate", of_streams(certified("expired")), unnoticed=True, long=True),
    Case("Streams: handshakes reset", shaken(reset), unnoticed=True, long=True),
    Case("Streams: handshakes without an answer", shaken(silence), unnoticed=True, long=True),
    Case("Streams: a log-in page for a handshake", shaken(said(page(LOGIN_PAGE))), unnoticed=True, long=True),
    Case("Streams: 403 for a handshake", shaken(said(reply(403, BLOCKED))), long=True),
    Case("Streams: 418 for a handshake", shaken(said(reply(418, Retry_After=str(WAIT_S)))), stated_s=WAIT_S, long=True),
    Case("Streams: 429 for a handshake", shaken(said(reply(429, Retry_After=str(WAIT_S)))), stated_s=WAIT_S, long=True),
    Case("Streams: 500 for a handshake", shaken(said(reply(500, b""))), unnoticed=True, long=True),
    Case("Streams: 503 for a handshake", shaken(said(reply(503, b""))), unnoticed=True, long=True),
    Case("Streams: the cable pulled", pulled, unnoticed=True, lossy=True),
    Case("Streams: silent from the start", framed(nothing, anew=True), unnoticed=True, lossy=True, long=True),
    Case("Streams: dropped every 3 s", again_and_again(StreamWire.drop), unnoticed=True, long=True),
    Case(
        "Streams: ended after 3 s, as after 24 h",
        again_and_again(lambda wire: wire.end(1000)),
        unnoticed=True,
        long=True,
    ),
    Case("Streams: `serverShutdown`, then the end", announced, unnoticed=True, long=True),
    Case("Streams: frames 6 s late", framed(late), unnoticed=True),
    Case("Streams: frames that can't be decoded", framed(garbage), unnoticed=True, lossy=True, long=True),
    Case("Streams: frames of other topics", framed(of_another), unnoticed=True, long=True),
    Case("Streams: frames of another kind", framed(of_another_kind), unnoticed=True, long=True),
    Case("Streams: a third of the frames lost", framed(gaps), unnoticed=True, lossy=True, long=True),
    Case("Streams: every subscription refused", framed(refusing, anew=True), unnoticed=True, lossy=True, long=True),
)
