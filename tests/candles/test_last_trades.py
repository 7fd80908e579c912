"""The newest trade of each symbol, as frames of all its topics tell it (docs/design.md#silence)."""

from mdcache.candles.last_trades import LastTrades


def test_frames_with_the_same_last_trade_say_until_when_it_was_the_newest() -> None:
    trades = LastTrades()
    trades.take("BTCUSDT", 7, 1_000)
    trades.take("BTCUSDT", 7, 1_900)
    trades.take("BTCUSDT", 7, 1_500)  # of a slower topic
    assert trades.newest_until_ms("BTCUSDT", 7) == 1_900


def test_a_newer_trade_ends_it_and_an_older_one_proves_nothing() -> None:
    trades = LastTrades()
    trades.take("BTCUSDT", 7, 1_000)
    trades.take("BTCUSDT", 8, 900)  # the clocks of topics need not agree; trades are numbered in order
    assert trades.newest_until_ms("BTCUSDT", 7) is None
    trades.take("BTCUSDT", 7, 2_000)
    assert trades.newest_until_ms("BTCUSDT", 7) is None
    assert trades.newest_until_ms("BTCUSDT", 8) == 900


def test_numbers_that_begin_anew_count_again_but_a_late_frame_does_not() -> None:
    """A test network was wiped, or a symbol listed again."""
    trades = LastTrades()
    trades.take("BTCUSDT", 1_000_000, 1_000)
    trades.take("BTCUSDT", 7, 601_000)
    assert trades.newest_until_ms("BTCUSDT", 7) is None
    trades.take("BTCUSDT", 8, 601_001)
    assert trades.newest_until_ms("BTCUSDT", 8) == 601_001


def test_no_trade_and_another_symbols_trade_prove_nothing() -> None:
    trades = LastTrades()
    trades.take("BTCUSDT", -1, 1_000)
    trades.take("ETHUSDT", 7, 1_000)
    assert trades.newest_until_ms("BTCUSDT", -1) is None
    assert trades.newest_until_ms("BTCUSDT", 7) is None
