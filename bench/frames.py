"""What frames of streams cost: CPU from a frame's text to the tail it changes, and memory for each topic.

    python -m bench.frames

5,000 topics of spot send 2,500 frames a second (one in two seconds each). The share of one core is the point; it holds
for the machine that it is measured on. `bench/frame_sockets.py` measures the same from sockets on.
"""

import gc
import time
import tracemalloc

from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.candles.tail import Tail
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.rows import ExpectedRows, read_page
from mdcache.exchange.streams import cadence_ms, read_frame

TOPICS = 5_000
FRAMES_A_SECOND = 2_500
CADENCE_MS = 2_000
ROUNDS = 40  # frames a topic: more than two minutes, so that candles end
MINUTE = 60_000
T0 = 1_790_771_340_000
AIM = 0.25  # of a core
RULE = KLINE_ENDPOINTS["/api/v3/klines"]


def keys() -> list[SeriesKey]:
    return [SeriesKey(Market.SPOT, "klines", f"COIN{number}USDT", "", "1m") for number in range(TOPICS)]


def values(trades: int) -> tuple[str, ...]:
    """Open, high, low, close, volume, quote volume, and the takers' parts, at the lengths that spot prints."""
    close = f"8{trades % 10_000:04}.20000000"
    return "83896.40000000", "89999.00000000", "80000.10000000", close, f"{trades}.60200000", f"{trades}615538.66780000"


def candle(opened: int, trades: int, symbol: str, event_ms: int, interval: str = "1m", length: int = MINUTE) -> bytes:
    """A frame as spot sends it."""
    first, high, low, close, volume, quote = values(trades)
    final = "true" if event_ms > opened + length else "false"
    return (
        f'{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{opened},"T":{opened + length - 1},"s":"{symbol}",'
        f'"i":"{interval}","f":8132503391,"L":{8132503390 + trades},'
        f'"o":"{first}","c":"{close}","h":"{high}","l":"{low}",'
        f'"v":"{volume}","n":{trades},"x":{final},"q":"{quote}","V":"{volume}","Q":"{quote}","B":"0"}}}}'
    ).encode()


def frames(symbol: str) -> list[bytes]:
    """What one topic sends: a candle's frames every two seconds, its final one, and so on."""
    sent: list[bytes] = []
    opened = T0
    for number in range(ROUNDS):
        event_ms = T0 + number * CADENCE_MS + 1_000
        if event_ms > opened + MINUTE:
            sent.append(candle(opened, 60_000, symbol, opened + MINUTE + 200))
            opened += MINUTE
        sent.append(candle(opened, event_ms - opened, symbol, event_ms))
    return sent[:ROUNDS]


def held(key: SeriesKey) -> Series:
    """A series whose tail was read when its candle began."""
    series = Series(key, RULE, SettlePolicy(3_000, 60_000))
    first, high, low, close, volume, quote = values(1)
    lines = [
        f'[{opened},"{first}","{high}","{low}","{close}","{volume}",{opened + MINUTE - 1},"{quote}",1,"1","1","0"]'
        for opened in (T0 - MINUTE, T0)
    ]
    page = read_page(f"[{','.join(lines)}]".encode(), ExpectedRows(series.interval, 0, T0, 2))
    series.replace_tail(Tail(T0 - MINUTE, tuple(page.rows), T0 + 500, {T0 - MINUTE: T0 + 500}))
    return series


def memory() -> tuple[float, float]:
    """Bytes of a series with a short tail, and those that its stream adds."""
    known = keys()[:500]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    all_held = [held(key) for key in known]
    unfed = tracemalloc.get_traced_memory()[0]
    for series in all_held:
        for data in frames(series.key.subject):
            series.apply_frame(read_frame(data, series.key), CADENCE_MS)
        assert series.live_tail is not None
    fed = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (unfed - before) / len(known), (fed - unfed) / len(known)


def microseconds(*, shown: bool) -> tuple[float, float]:
    """CPU for each frame: of reading it, and in all. `shown`: whether the tail is made after each frame."""
    all_held = [held(key) for key in keys()]
    sent = [frames(series.key.subject) for series in all_held]
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 4, 500)  # as the daemon sets it
    began = time.process_time()
    for number in range(ROUNDS):
        for series, texts in zip(all_held, sent, strict=True):
            read_frame(texts[number], series.key)
    reading = time.process_time() - began
    began = time.process_time()
    for number in range(ROUNDS):
        for series, texts in zip(all_held, sent, strict=True):
            news = series.apply_frame(read_frame(texts[number], series.key), cadence_ms(series.key))
            if not news or (shown and series.live_tail is None):
                raise AssertionError("a frame changed nothing")
    took = time.process_time() - began
    each = 1e6 / (TOPICS * ROUNDS)
    return reading * each, took * each


def report() -> None:
    """Print the figures."""
    for shown in (False, True):
        reading, took = microseconds(shown=shown)
        share = took * FRAMES_A_SECOND / 1e6
        print(
            f"frames, tail {'shown' if shown else 'not shown'}".ljust(24)
            + f"{took:>6.1f} us each, {reading:.1f} of them to read it; {TOPICS} topics at {FRAMES_A_SECOND}/s: "
            f"{share:.3f} of a core (aim {AIM})"
        )
    unfed, fed = memory()
    print(f"memory of a topic       {unfed:.0f} bytes for the series and a tail of two rows, {fed:.0f} more when fed")


if __name__ == "__main__":
    report()
