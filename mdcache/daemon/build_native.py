"""Build what answers the native API, for `build.py`."""

from mdcache.cache.candles import Candles
from mdcache.clock import Clock
from mdcache.daemon.build_upstream import origins
from mdcache.events import Events
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.native.candles_app import CandlesApp
from mdcache.serving.native.native_app import NativeApp
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.ports import Recorder
from mdcache.serving.routes import CANDLES_CSV_PATH, CANDLES_PATH
from mdcache.settings import Settings
from mdcache.upstream.exchange_clock import ExchangeClocks


def build_native(
    settings: Settings,
    candles: Candles,
    ready_answers: ReadyAnswers,
    clocks: ExchangeClocks,
    parser: RequestParser,
    clock: Clock,
    events: Events,
    recorder: Recorder,
) -> NativeApp:
    """Build the native API's answers."""
    reads = RowReads(candles, ready_answers, clock, clocks, settings.request_deadline_s)
    candles_app = CandlesApp(reads, clock, clocks, origins(settings))
    answers = dict.fromkeys((CANDLES_PATH, CANDLES_CSV_PATH), ("candles", candles_app.answer))
    return NativeApp(answers, parser, clock, events, recorder)
