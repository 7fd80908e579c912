"""Templates of all events but candles, trades and books, with Binance's fields in their order.

Sources: web-socket-streams.md of spot; for futures the stream models of binance-sdk-derivatives-trading-usds-futures
18.0.1 and -coin-futures 14.0.0, which are made from Binance's pages. `$name` is a key of `api/placeholders.py`.
"""

from collections.abc import Mapping
from string import Template

from mdcache.sim.config import Market

_DAY = (
    '"p":"$change","P":"$percent","w":"$mean",{before}"c":"$last","Q":"$last_size",{top}"o":"$open","h":"$high",'
    '"l":"$low","v":"$volume","q":"$turnover","O":$open_time,"C":$close_time,"F":$first_trade,"L":$last_trade,'
    '"n":$count'
)
_SPOT_DAY = _DAY.format(before='"x":"$open",', top='"b":"$bid","B":"$bid_size","a":"$ask","A":"$ask_size",')
_FUTURES_DAY = _DAY.format(before="", top="")
_WINDOW = (
    '"p":"$change","P":"$percent","o":"$open","h":"$high","l":"$low","c":"$last","w":"$mean","v":"$volume",'
    '"q":"$turnover","O":$open_time,"C":$close_time,"F":$first_trade,"L":$last_trade,"n":$count}'
)
_FORCED = (
    '"S":"$side","o":"LIMIT","f":"IOC","q":"$size","p":"$limit","ap":"$price","X":"FILLED","l":"$size","z":"$size",'
    '"T":$tick}'
)


def _event(name: str, rest: str) -> Template:
    return Template(f'{{"e":"{name}","E":$event,"s":"$symbol",{rest}')


_SPOT = {
    "ticker": _event("24hrTicker", _SPOT_DAY + "}"),
    "ticker_1h": _event("1hTicker", _WINDOW),
    "ticker_4h": _event("4hTicker", _WINDOW),
    "ticker_1d": _event("1dTicker", _WINDOW),
    "avgPrice": _event("avgPrice", '"i":"5m","w":"$mean_or_last","T":$last_time}'),
    "bookTicker": Template('{"u":$update_id,"s":"$symbol","b":"$bid","B":"$bid_size","a":"$ask","A":"$ask_size"}'),
}
_FUTURES = {"ticker": _event("24hrTicker", _FUTURES_DAY + ',"ps":"$pair","st":$product}')}
_USDM = {
    "markPrice": _event(
        "markPriceUpdate",
        '"p":"$mark","ap":"$mark","P":"$index","i":"$index","r":"$funding_rate","T":$next_funding,"st":1}',
    ),
    "bookTicker": Template(
        '{"e":"bookTicker","u":$update_id,"E":$event,"T":$tick,"s":"$symbol","ps":"$pair","b":"$bid","B":"$bid_size",'
        '"a":"$ask","A":"$ask_size","st":1}'
    ),
    "forceOrder": Template(
        '{"e":"forceOrder","E":$event,"o":{"s":"$symbol",' + _FORCED + ',"ps":"$pair","st":1}'
    ),
}  # fmt: skip
_COINM = {
    "markPrice": _event(
        "markPriceUpdate", '"p":"$mark","P":"$index","i":"$index","r":"$funding_rate","T":$next_funding,"st":2}'
    ),
    "indexPrice": Template('{"e":"indexPriceUpdate","E":$event,"i":"$pair","p":"$index"}'),
    "bookTicker": Template(
        '{"e":"bookTicker","u":$update_id,"s":"$symbol","b":"$bid","B":"$bid_size","a":"$ask","A":"$ask_size",'
        '"T":$tick,"E":$event,"ps":"$pair","st":2}'
    ),
    "forceOrder": Template('{"e":"forceOrder","E":$event,"o":{"s":"$symbol","ps":"$pair",' + _FORCED + ',"st":2}'),
}
EVENTS: Mapping[Market, Mapping[str, Template]] = {
    "spot": _SPOT,
    "usdm": _FUTURES | _USDM,
    "coinm": _FUTURES | _COINM,
}
