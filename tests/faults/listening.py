"""A client of the daemon's own streams, which connects again whenever it is closed, and what it was sent."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from tests.faults.bench import FaultBench

TOPICS = ("btcusdt@kline_1m", "btcusdt@trade")
_EACH_COUNTS = {"btcusdt@trade"}
_AGAIN_S = 0.5
_PATIENCE_S = 5.0
_ROW = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")  # of a candle, as in a row


@dataclass(slots=True)
class Heard:
    """One connection: its messages, and the code it was closed with, if it was."""

    texts: list[bytes] = field(default_factory=list)
    code: int | None = None


class Listener:
    """Listens from `start` to `stop`; `heard`: its connections; `last_s`: when its last message came."""

    def __init__(self, bench: FaultBench) -> None:
        self.heard: list[Heard] = []
        self.last_s = 0.0
        self._bench = bench
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        self._thread.join(2 * _PATIENCE_S)

    def _run(self) -> None:
        url = f"{self._bench.daemon.url.replace('http:', 'ws:')}/stream?streams={'/'.join(TOPICS)}"
        while not self._ends.is_set():
            try:
                with connect(url, open_timeout=_PATIENCE_S, close_timeout=1.0, proxy=None, max_queue=None) as open_:
                    self.heard.append(Heard())
                    self._listen(open_, self.heard[-1])
            except (OSError, InvalidHandshake):
                pass  # as the daemon says: later
            self._ends.wait(_AGAIN_S)

    def _listen(self, connection: Any, heard: Heard) -> None:
        while not self._ends.is_set():
            try:
                text = connection.recv(timeout=0.2, decode=False)
            except TimeoutError:
                continue
            except ConnectionClosed as closed:
                heard.code = None if closed.rcvd is None else closed.rcvd.code
                return
            heard.texts.append(text)
            self.last_s = time.time()


def wrongs(bench: FaultBench, heard: Heard, *, lossy: bool) -> Iterator[str]:
    """Yield what one connection should not have been sent, and of trades what is missing, unless `lossy`."""
    assert bench.streams is not None
    honest = {topic: dict.fromkeys(texts) for topic, texts in bench.streams.frames.items()}
    places: dict[str, list[int]] = {}
    for text in heard.texts:
        message = json.loads(text)
        if not message.keys() & {"stream", "code", "error"}:  # errors of a topic come so, too: docs/streams.md
            yield f"no frame: {text[:200]!r}"
        if "stream" not in message:
            continue
        topic, data = message["stream"], message["data"]
        final = data.get("e") == "kline" and data["k"]["x"]
        if text not in honest.get(topic, ()) and not (final and _is_row(bench, data)):
            yield f"not the exchange's: {text[:300]!r}"
        elif not final:
            places.setdefault(topic, []).append(_place(topic, data))
            if places[topic][-2:] != sorted(places[topic][-2:]):
                yield f"after {places[topic][-2]}: {text[:200]!r}"
    yield from (f"twice: {text[:200]!r}" for text, times in Counter(heard.texts).items() if times > 1)
    for topic in set() if lossy else places.keys() & _EACH_COUNTS:
        should = {place for text in honest[topic] if (place := _place(topic, json.loads(text)["data"]))}
        missing = {place for place in should if places[topic][0] < place < places[topic][-1]} - set(places[topic])
        if missing:
            yield f"{len(missing)} of {topic} are missing, such as {min(missing)}"


def _place(topic: str, data: dict[str, Any]) -> int:
    """Return the number or time of an event, which grows."""
    return int(data["t" if topic in _EACH_COUNTS else "E"])


def _is_row(bench: FaultBench, data: dict[str, Any]) -> bool:
    """Whether a final frame was made of its row, the exchange's own having been lost."""
    candle, symbol = data["k"], data["s"]
    query = f"symbol={symbol}&interval={candle['i']}&startTime={candle['t']}&limit=1"
    (row,) = json.loads(bench.exchange.truth("/api/v3/klines", query))
    return bool([candle[name] for name in _ROW] == row[:-1])
