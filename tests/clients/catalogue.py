"""The clients of `make test-clients`: what is installed, which script speaks for each, what it is asked."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Client:
    """One way to use one package. `package` names its pins, `script` the file in `scripts/`."""

    name: str
    package: str
    script: str
    kind: Literal["python", "node"] = "python"


CLIENTS = (
    Client("python-binance", "python-binance", "python_binance_sync.py"),
    Client("python-binance async", "python-binance", "python_binance_async.py"),
    Client("ccxt", "ccxt", "ccxt_sync.py"),
    Client("ccxt async", "ccxt", "ccxt_async.py"),
    Client("binance-connector", "binance-connector", "spot_connector.py"),
    Client("binance-futures-connector", "binance-futures-connector", "futures_connector.py"),
    Client("binance-sdk-spot", "binance-sdk-spot", "spot_sdk.py"),
    Client(
        "binance-sdk-derivatives-trading-usds-futures",
        "binance-sdk-derivatives-trading-usds-futures",
        "usds_futures_sdk.py",
    ),
    Client(
        "binance-sdk-derivatives-trading-coin-futures",
        "binance-sdk-derivatives-trading-coin-futures",
        "coin_futures_sdk.py",
    ),
    Client("freqtrade download-data", "freqtrade", "freqtrade_download.py"),
    Client("unicorn-binance-rest-api", "unicorn-binance-rest-api", "unicorn_binance.py"),
    Client("nautilus_trader", "nautilus_trader", "nautilus.py"),
    Client("npm binance", "binance", "npm_binance.mjs", "node"),
    Client("npm binance-api-node", "binance-api-node", "npm_binance_api_node.mjs", "node"),
    Client("npm ccxt", "ccxt", "npm_ccxt.mjs", "node"),
    Client("npm @binance/connector", "@binance/connector", "npm_connector.mjs", "node"),
)


@dataclass(frozen=True, slots=True)
class StreamClient(Client):
    """One way to use the streams of a package. `longer_s`: what it needs to start, over half a minute."""

    longer_s: float = 0.0


STREAM_CLIENTS = (
    StreamClient("ccxt streams", "ccxt", "ccxt_streams.py"),
    StreamClient("python-binance streams", "python-binance", "python_binance_streams.py"),
    StreamClient("binance-sdk-spot streams", "binance-sdk-spot", "spot_sdk_streams.py"),
    StreamClient(
        "binance-sdk-derivatives-trading-usds-futures streams",
        "binance-sdk-derivatives-trading-usds-futures",
        "usds_futures_sdk_streams.py",
    ),
    StreamClient(
        "binance-sdk-derivatives-trading-coin-futures streams",
        "binance-sdk-derivatives-trading-coin-futures",
        "coin_futures_sdk_streams.py",
    ),
    StreamClient("unicorn-binance-websocket-api", "unicorn-binance-websocket-api", "unicorn_streams.py", longer_s=30.0),
    StreamClient("nautilus_trader streams", "nautilus_trader", "nautilus_streams.py"),
    StreamClient("npm binance streams", "binance", "npm_binance_streams.mjs", "node"),
    StreamClient("npm binance-api-node streams", "binance-api-node", "npm_binance_api_node_streams.mjs", "node"),
    StreamClient("npm ccxt streams", "ccxt", "npm_ccxt_streams.mjs", "node"),
    StreamClient("freqtrade trade", "freqtrade", "freqtrade_streams.py", longer_s=100.0),
)


def _ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() * 1000)


# Long past, several pages each; around an outage, a listing, and with ends inside a candle.
RANGES: dict[str, dict[str, str | int]] = {
    "spot_hours": {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1h",
        "start": _ms(2023, 3, 1), "end": _ms(2023, 5, 14, 23),
    },
    "spot_minutes": {
        "market": "spot", "symbol": "ETHUSDT", "interval": "1m",
        "start": _ms(2024, 5, 1), "end": _ms(2024, 5, 2, 12, 34, 56) + 789,
    },
    "spot_days": {
        "market": "spot", "symbol": "BTCUSDT", "interval": "1d",
        "start": _ms(2017, 1, 1), "end": _ms(2018, 3, 1),
    },
    "usdm_quarter_hours": {
        "market": "usdm", "symbol": "BNBUSDT", "interval": "15m",
        "start": _ms(2022, 4, 10), "end": _ms(2022, 4, 28, 0, 7),
    },
    "coinm_hours": {
        "market": "coinm", "symbol": "BTCUSD_PERP", "interval": "1h",
        "start": _ms(2021, 1, 1), "end": _ms(2021, 3, 15),
    },
}  # fmt: skip
