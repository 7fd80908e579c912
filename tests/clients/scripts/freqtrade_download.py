"""`freqtrade download-data`: the program is run as it is, with a configuration; what it stored is read back."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ccxt
from ccxt_questions import urls
from document import Document

document = Document()
URLS = urls(ccxt.binance(), document.base)
CONFIG = {
    "dry_run": True,
    "stake_currency": "USDT",
    "stake_amount": 100,
    "max_open_trades": 1,
    "margin_mode": "isolated",
    "exchange": {
        "name": "binance",
        "pair_whitelist": [],
        "enable_ws": False,  # candles come from REST, not from streams
        "only_from_ccxt": True,  # and not from the archives of past days
        "ccxt_config": {"urls": {"api": URLS}},
    },
    "pairlists": [{"method": "StaticPairList"}],
}
Path("config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
subprocess.run(
    [sys.executable, "-m", "freqtrade", "create-userdir", "--userdir", "user"], check=True, stdout=sys.stderr
)


def downloaded(folder, pair, timeframe, timerange, mode="spot"):
    """The rows of each file, by its name."""
    command = ["download-data", "--config", "config.json", "--userdir", "user", "--datadir", folder, "--pairs", pair]
    command += ["--timeframes", timeframe, "--timerange", timerange, "--trading-mode", mode]
    command += ["--data-format-ohlcv", "json", "--no-color"]
    done = subprocess.run([sys.executable, "-m", "freqtrade", *command], capture_output=True, text=True, check=False)
    found = {file.name: json.loads(file.read_text()) for file in sorted(Path(folder).rglob("*.json"))}
    if done.returncode or not found or not all(found.values()):
        raise RuntimeError(f"{sorted(found)}: {done.stderr[-1500:]}")
    return found


def day(moment_ms):
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y%m%d}"


PAIRS = {"BTCUSDT": "BTC/USDT", "ETHUSDT": "ETH/USDT", "BNBUSDT": "BNB/USDT:USDT"}
for name, wanted in document.ranges.items():
    if wanted["symbol"] in PAIRS:  # it knows no COIN-M
        mode = "futures" if wanted["market"] == "usdm" else "spot"
        span = f"{day(wanted['start'])}-{day(wanted['end'])}"
        asked = name, PAIRS[wanted["symbol"]], wanted["interval"], span, mode
        document.ask("settled", name, lambda: downloaded(*asked))
since = f"{datetime.now(UTC) - timedelta(days=20):%Y%m%d}-"
document.ask("open", "up to now", lambda: downloaded("now", "BTC/USDT", "1h", since)["BTC_USDT-1h.json"])
document.print()
