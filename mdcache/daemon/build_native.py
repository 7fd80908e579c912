"""Build what answers the native API, for `build.py`."""

from mdcache.clock import Clock
from mdcache.daemon.build_upstream import origins
from mdcache.events import Events
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.native.candles_app import CandlesApp
from mdcache.serving.native.native_app import NativeApp
from mdcache.serving.native.prices import PriceApp
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.waits import Waits
from mdcache.serving.ports import Recorder
from mdcache.serving.routes import CANDLES_CSV_PATH, CANDLES_PATH, PRICE_PATH
from mdcache.settings import Settings
from mdcache.upstream.exchange_clock import ExchangeClocks


def build_native(
    settings: Settings,
    reads: RowReads,
    waits: Waits,
    clocks: ExchangeClocks,
    parser: RequestParser,
    clock: Clock,
    events: Events,
    recorder: Recorder,
) -> NativeApp:
    """Build the native API's answers."""
    candles_app = CandlesApp(reads, clock, clocks, origins(settings), waits)
    answers = dict.fromkeys((CANDLES_PATH, CANDLES_CSV_PATH), ("candles", candles_app.answer))
    answers[PRICE_PATH] = ("price", PriceApp(reads, clocks).answer)
    return NativeApp(answers, parser, clock, events, recorder)
