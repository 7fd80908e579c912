"""docs/paths.md, made from the tables that serve."""

from mdcache.cache.ttls import SnapshotTtls, ttl_table
from mdcache.exchange.endpoints import Endpoint
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS, Family

SHARE = 0.5
HEAD = """\
# Paths, weights and ages

Every public path that is served, what one call weighs at Binance, and how long an answer is fresh at the
default settings (`WEIGHT_SHARE` 0.5, limits of 6,000 and 2,400 a minute). `mdcache check` prints the ages under your
settings; `SNAPSHOT_TTLS` sets them by path tail. Keyed and signed paths are refused with 403.

A range of ages goes from the cheapest question of the path to the dearest. If a path can answer with a list of all
symbols, the answer for one symbol is cut out of a list that is fresh enough. When so many single symbols are asked for
within their age that the list costs no more, the list is read instead, and serves them for the list's age.

| Path | Market | Parameters | Weight | Fresh for |
|---|---|---|---|---|
"""


def text() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for path, rule in KLINE_ENDPOINTS.items():
        subject = f"`{rule.subject.value}`" + (", `contractType`" if rule.contract_types else "")
        zone = ", `timeZone`" if rule.market.family is Family.SPOT else ""
        weight = "2" if rule.market.family is Family.SPOT else "1, 2, 5, 10 by rows"
        parameters = f"{subject}, `interval`, `startTime`, `endTime`, `limit`{zone}"
        ages = "settled rows for ever, the open candle `OPEN_CANDLE_TTLS`"
        lines.append(f"| `{path}` | {rule.market.value} | {parameters} | {weight} | {ages} |\n")
    for endpoint in EXCHANGE_INFO_ENDPOINTS:
        row = f"| `{endpoint.path}` | {endpoint.market.value} | {_parameters(endpoint)} | {endpoint.weight} "
        lines.append(f"{row}| `EXCHANGE_INFO_TTL_S` |\n")
    for line in ttl_table(SnapshotTtls(1.0, {}), SHARE):
        ages = " to ".join(dict.fromkeys(f"{ttl:g}" for ttl in (line.min_s, line.max_s)))
        row = f"| `{line.endpoint.path}` | {line.endpoint.market.value} | {_parameters(line.endpoint)} "
        lines.append(f"{row}| {line.weight} | {ages} s |\n")
    lines.append("| `time`, `ping` | all | | none: answered here | |\n")
    return "".join(lines)


def _parameters(endpoint: Endpoint) -> str:
    return ", ".join(f"**`{each.name}`**" if each.required else f"`{each.name}`" for each in endpoint.parameters)
