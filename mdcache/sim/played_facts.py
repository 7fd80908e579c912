"""The facts of an exchange profile that the simulator plays, each in place of its own behaviour (docs/sim.md#profiles).

The keys stand here once more: the simulator shares no code with the daemon, and a test compares both tables.
"""

import json
from collections.abc import Mapping
from pathlib import Path

_ANSWERS = (
    "symbol", "interval", "missing_symbol", "empty_start", "doubled_limit", "limit_characters", "symbol_characters",
    "limit_zero", "over_cap", "start_after_end", "unknown_parameter",
)  # fmt: skip
_EVERYWHERE = (
    "date_ahead_ms", "final_row_lag_ms", "final_frame_lag_ms", "frames_equal_rows", "frame_cadence_ms",
    "mini_tickers_cadence_ms", "mini_tickers_list_traded", "mini_tickers_list_untraded", "quiet_topics",
    "zero_trade_rows", "klines_weights", "weight_limit", "weight_header", "refusals_weigh", "klines_cap",
    "start_inclusive", "end_inclusive", "start_only_rows", "end_only_rows", "both_ends_rows", "future_end",
    "future_range", "range_days_cap", "three_day_phases", "untraded_symbol_rows", "check_order", "gzip", "http2",
    *(f"answer_to_{name}" for name in _ANSWERS),
)  # fmt: skip
_FUTURES = (
    "stream_route", "continuousKlines_weights", "indexPriceKlines_weights", "markPriceKlines_weights",
    "premiumIndexKlines_weights", "answer_to_contract_type", "answer_to_pair",
)  # fmt: skip
_OF_ONE: Mapping[str, tuple[str, ...]] = {
    "spot": (
        "seconds_cadence_ms", "uiKlines_weights", "data_host_shares_weight", "time_zone_moves_opens",
        "micros_start_accepted", "micros_close", "answer_to_time_zone", "answer_to_time_unit",
    ),
    "usdm": (*_FUTURES, "coinm_shares_weight"),
    "coinm": (*_FUTURES, "answer_to_over_range"),
}  # fmt: skip
PLAYED = frozenset(f"{market}.{name}" for market, more in _OF_ONE.items() for name in (*_EVERYWHERE, *more))


class PlayedFacts:
    """Values of facts by key (`spot.klines_cap`). What is not given is the simulator's own.

    Raises:
        ValueError: there is no such fact.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        unknown = sorted(values.keys() - PLAYED)
        if unknown:
            raise ValueError(f"no such fact: {', '.join(unknown)}")
        self._values = dict(values)

    def number(self, market: str, name: str, usual: int) -> int:
        """Return a whole number; `usual` if the fact is not played."""
        value = self._values.get(f"{market}.{name}", usual)
        return value if isinstance(value, int) else usual

    def flag(self, market: str, name: str, *, usual: bool) -> bool:
        """Return whether something is so."""
        return bool(self._values.get(f"{market}.{name}", usual))

    def text(self, market: str, name: str, usual: str = "") -> str:
        """Return a text."""
        return str(self._values.get(f"{market}.{name}", usual))

    def numbers(self, market: str, name: str) -> Mapping[str, int]:
        """Return a map of names to numbers; an empty one if the fact is not played."""
        value = self._values.get(f"{market}.{name}")
        return value if isinstance(value, Mapping) else {}


def load_facts(file: Path) -> PlayedFacts:
    """Read the facts of a profile, as `mdcache verify` writes it, of whatever host.

    Raises:
        ValueError: the file is no profile, or has a fact that can't be played.
    """
    try:
        facts = json.loads(file.read_bytes())["facts"]
        return PlayedFacts(dict(facts))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no profile that can be played: {error}") from error
