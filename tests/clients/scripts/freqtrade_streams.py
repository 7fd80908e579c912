"""`freqtrade trade`, dry, with its web sockets on: its candles and the frames behind them, as its strategy saw them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import ccxt
from ccxt_questions import urls
from frames import Frames, topic_of

frames = Frames()
API = urls(ccxt.binance(), frames.base)
CONFIG = {
    "dry_run": True,
    "initial_state": "running",
    "stake_currency": "USDT",
    "stake_amount": 100,
    "max_open_trades": 1,
    "entry_pricing": {"price_side": "other", "use_order_book": False},
    "exit_pricing": {"price_side": "other", "use_order_book": False},
    "exchange": {
        "name": "binance",
        "pair_whitelist": ["BTC/USDT", "ETH/USDT"],
        "enable_ws": True,
        "ccxt_config": {"urls": {"api": API | {"ws": {"spot": frames.ws + "/stream/ws"}}}},
    },
    "pairlists": [{"method": "StaticPairList"}],
    "internals": {"process_throttle_secs": 1},
}
STRATEGY = """
import json
from pathlib import Path

import ccxt.pro
from freqtrade.strategy import IStrategy

HERE = Path(__file__).parent
heard = ccxt.pro.binance.handle_message


def handle_message(self, client, message):
    with (HERE / "frames.jsonl").open("a") as file:
        file.write(json.dumps(message) + "\\n")
    heard(self, client, message)


ccxt.pro.binance.handle_message = handle_message


class Watching(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    stoploss = -0.9
    minimal_roi = {"0": 9}

    def populate_indicators(self, dataframe, metadata):
        with (HERE / "candles.jsonl").open("a") as file:
            for row in dataframe.tail(5)[["date", "open", "high", "low", "close", "volume"]].values.tolist():
                file.write(json.dumps([metadata["pair"], *map(str, row)]) + "\\n")
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
"""


def lines(name):
    path = Path(name)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


Path("config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
Path("watching.py").write_text(STRATEGY, encoding="utf-8")
freqtrade = [sys.executable, "-m", "freqtrade"]
subprocess.run([*freqtrade, "create-userdir", "--userdir", "user"], check=True, stdout=sys.stderr)
options = ["--config", "config.json", "--userdir", "user", "--strategy", "Watching", "--strategy-path", ".", "-vvv"]
with Path("log").open("w") as log:
    bot = subprocess.Popen([*freqtrade, "trade", *options, "--no-color"], stdout=log, stderr=log)
    time.sleep(frames.left_s)
    bot.kill()  # what it was given is in files; an orderly end takes it a minute
    bot.wait()
for message in lines("frames.jsonl"):
    if "e" in message:
        frames.add("spot", topic_of(message), message)
for pair, *row in lines("candles.jsonl"):
    # Only the open: it takes a candle one second after its close, with the final frame or without it.
    frames.state(f"{pair} candle", row[0], row[1])
told = Path("log").read_text()
if "reuse watch result" not in told:
    raise RuntimeError(f"no candle came from its web socket: {told[-3000:]}")
frames.print()
