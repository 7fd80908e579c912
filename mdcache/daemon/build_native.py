"""What answers the native API, for `build.py`."""

from mdcache.clock import Clock
from mdcache.daemon.build_cache import CacheParts
from mdcache.daemon.build_upstream import origins
from mdcache.relay.kept_seconds import KeptSeconds
from mdcache.serving.client_limits import ClientLimits
from mdcache.serving.native.candles_app import CandlesApp
from mdcache.serving.native.event_streams import EventStreams
from mdcache.serving.native.messages import Answer
from mdcache.serving.native.prices import PriceApp
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.udf import UdfApp
from mdcache.serving.native.waits import Waits
from mdcache.serving.routes import CANDLES_ARROW_PATH, CANDLES_CSV_PATH, CANDLES_PATH, PRICE_PATH, STREAM_PATH
from mdcache.settings import Settings
from mdcache.upstream.exchange_clock import ExchangeClocks


def native_answers(
    settings: Settings,
    reads: RowReads,
    waits: Waits,
    event_streams: EventStreams,
    cache: CacheParts,
    clocks: ExchangeClocks,
    clock: Clock,
    limits: ClientLimits,
) -> dict[str, tuple[str, Answer]]:
    """Return what answers each path of the native API, with its endpoint in the metrics."""
    candles = CandlesApp(reads, clock, clocks, origins(settings), waits, limits)
    udf = UdfApp(reads, clock, clocks, cache.exchange_info.table.symbols, cache.exchange_info)
    seconds = KeptSeconds() if cache.relay is None else cache.relay.seconds
    return {
        **dict.fromkeys((CANDLES_PATH, CANDLES_CSV_PATH, CANDLES_ARROW_PATH), ("candles", candles.answer)),
        STREAM_PATH: ("stream", event_streams.answer),
        PRICE_PATH: ("price", PriceApp(reads, clocks, seconds).answer),
        **{path: ("udf", answer) for path, answer in udf.answers().items()},
    }
