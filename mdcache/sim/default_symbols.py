"""The symbols that the simulated exchange lists by default, and their outages.

Facts in the shape of Binance's, round numbers otherwise. History of the majors goes back to 2017; "recent"
means relative to 2026-11-01.
"""

from dataclasses import replace
from datetime import UTC, datetime

from mdcache.sim.config import Outage, SymbolSpec

_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "USD", "BTC", "ETH", "BNB")
PERPETUAL_DELIVERY_MS = 4_133_404_800_000  # what fapi and dapi print for contracts that never expire


def _ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1000


# Real outages of the spot exchange (issues 14, 77, 365 of binance/binance-public-data), in milliseconds.
SPOT_OUTAGES = (
    Outage(1_504_713_600_001, 1_504_738_800_000),  # 2017-09-06 16:00: closes at its own open time
    Outage(1_518_049_694_789, 1_518_170_400_000),  # 2018-02-08 00:28:14 to 02-09 10:00
    Outage(1_530_663_745_552, 1_530_691_200_000),  # 2018-07-04 00:22:25 to 08:00
    Outage(1_542_160_800_000, 1_542_186_000_000),  # 2018-11-14 02:00 to 09:00
    Outage(1_552_356_000_000, 1_552_377_600_000),  # 2019-03-12 02:00 to 08:00
    Outage(1_582_112_133_000, 1_582_133_400_000),  # 2020-02-19 11:35:33 to 17:30
    Outage(1_606_716_000_000, 1_606_719_600_000),  # 2020-11-30 06:00 to 07:00
    Outage(1_679_661_581_647, 1_679_666_400_000),  # 2023-03-24 12:39:41 to 14:00
    # made up: rows came back nine days later
    Outage(_ms(2025, 8, 12, 3, 15), _ms(2025, 8, 12, 4, 40), _ms(2025, 8, 21, 6)),
)
# BNBUSDT 15m had such a gap on fapi (issue 230 of binance/binance-public-data).
USDM_OUTAGES = (Outage(1_650_152_700_000, 1_650_240_000_000),)

# symbol, listed, price at the chart's start, decimals of price and quantity, trades a day
_SPOT = (
    ("BTCUSDT", _ms(2017, 8, 17, 4), "20000", 2, 5, 1_500_000),
    ("ETHUSDT", _ms(2017, 8, 17, 4), "1500", 2, 4, 900_000),
    ("BNBUSDT", _ms(2017, 11, 6, 3), "300", 2, 3, 400_000),
    ("LTCUSDT", _ms(2017, 12, 13, 3), "80", 2, 3, 120_000),
    ("ADAUSDT", _ms(2018, 4, 17, 4), "0.5", 4, 1, 150_000),
    ("XRPUSDT", _ms(2018, 5, 4, 8), "0.6", 4, 1, 400_000),
    ("EOSUSDT", _ms(2018, 5, 28, 3), "3", 4, 1, 60_000),
    ("TRXUSDT", _ms(2018, 6, 11, 11), "0.1", 5, 1, 200_000),
    ("LINKUSDT", _ms(2019, 1, 16, 10), "12", 2, 2, 110_000),
    ("MATICUSDT", _ms(2019, 4, 26, 14), "0.8", 4, 1, 90_000),
    ("ATOMUSDT", _ms(2019, 4, 29, 4), "9", 3, 2, 50_000),
    ("DOGEUSDT", _ms(2019, 7, 5, 12), "0.12", 5, 0, 350_000),
    ("BCHUSDT", _ms(2019, 11, 28, 10), "350", 1, 3, 45_000),
    ("SOLUSDT", _ms(2020, 8, 11, 6), "120", 2, 3, 700_000),
    ("DOTUSDT", _ms(2020, 8, 18, 23), "6", 3, 2, 70_000),
    ("UNIUSDT", _ms(2020, 9, 17, 3), "8", 3, 2, 60_000),
    ("AVAXUSDT", _ms(2020, 9, 22, 6, 30), "25", 2, 2, 120_000),
    ("FILUSDT", _ms(2020, 10, 15, 8), "5", 3, 2, 50_000),
    ("NEARUSDT", _ms(2020, 10, 16, 6), "4", 3, 1, 60_000),
    ("AAVEUSDT", _ms(2020, 10, 16, 3), "150", 2, 3, 60_000),
    ("SHIBUSDT", _ms(2021, 5, 10, 11), "0.00002", 8, 0, 150_000),
    ("APTUSDT", _ms(2022, 10, 19, 1), "8", 2, 2, 60_000),
    ("ARBUSDT", _ms(2023, 3, 23, 17), "0.8", 4, 1, 60_000),
    ("SUIUSDT", _ms(2023, 5, 3, 12), "2", 4, 1, 150_000),
    ("PEPEUSDT", _ms(2023, 5, 5, 16), "0.00001", 8, 0, 200_000),
    ("BTCFDUSD", _ms(2023, 8, 4, 8), "20000", 2, 5, 300_000),
    ("BTCUSDC", _ms(2023, 3, 12, 4), "20000", 2, 5, 300_000),
    ("ETHBTC", _ms(2017, 7, 14, 4), "0.05", 5, 3, 90_000),
    ("BNBBTC", _ms(2017, 7, 14, 4), "0.01", 6, 2, 30_000),
    ("LTCBTC", _ms(2017, 7, 14, 4), "0.002", 6, 2, 8_000),
    ("USDCUSDT", _ms(2018, 12, 15, 3), "1", 4, 2, 100_000),
    ("QUIETUSDT", _ms(2021, 3, 1, 10), "2", 4, 2, 400),  # minutes without a trade
)
_USDM = (
    ("BTCUSDT", _ms(2019, 9, 8, 17, 57), "20000", 1, 2, 3, 3_500_000),
    ("ETHUSDT", _ms(2019, 11, 27, 7, 45), "1500", 2, 2, 3, 3_000_000),
    ("BNBUSDT", _ms(2020, 2, 10, 8), "300", 2, 2, 2, 500_000),
    ("SOLUSDT", _ms(2020, 9, 14, 7), "120", 2, 2, 2, 1_500_000),
    ("XRPUSDT", _ms(2020, 1, 6, 8), "0.6", 4, 4, 1, 900_000),
    ("ADAUSDT", _ms(2020, 1, 31, 8), "0.5", 4, 4, 0, 400_000),
    ("DOGEUSDT", _ms(2020, 7, 10, 9), "0.12", 5, 5, 0, 800_000),
    ("LINKUSDT", _ms(2020, 1, 17, 8), "12", 3, 3, 2, 300_000),
)


def base_and_quote(spec: SymbolSpec) -> tuple[str, str]:
    """Return the assets of a symbol, read from the pair's or symbol's ending."""
    name = spec.pair or spec.symbol
    quote = next((one for one in _QUOTES if name.endswith(one) and name != one), "")
    return name.removesuffix(quote), quote


def default_symbols() -> tuple[SymbolSpec, ...]:
    """Return every symbol of the default exchange."""
    return (*_spot(), *_usdm(), *_coinm())


def _spot() -> list[SymbolSpec]:
    majors = [
        SymbolSpec(
            "spot", symbol, listed, price=price, price_decimals=places, quantity_decimals=quantity,
            trades_per_day=trades, outages=SPOT_OUTAGES,
        )
        for symbol, listed, price, places, quantity, trades in _SPOT
    ]  # fmt: skip
    halted = SymbolSpec("spot", "BCCUSDT", _ms(2017, 11, 20, 2), halted_ms=_ms(2018, 11, 16, 2), status="BREAK",
                        price="600", trades_per_day=30_000, outages=SPOT_OUTAGES)  # fmt: skip
    delisted = SymbolSpec("spot", "BTTUSDT", _ms(2019, 1, 31, 10), halted_ms=_ms(2022, 1, 12, 2), status="BREAK",
                          delisted_ms=_ms(2022, 2, 1), price="0.0008", price_decimals=7, quantity_decimals=0,
                          trades_per_day=40_000, outages=SPOT_OUTAGES)  # fmt: skip
    recent = SymbolSpec("spot", "NEWUSDT", _ms(2026, 10, 29, 13), announced_ms=_ms(2026, 10, 27), price="1.5",
                        price_decimals=4, quantity_decimals=1, trades_per_day=80_000)  # fmt: skip
    pending = SymbolSpec("spot", "SOONUSDT", _ms(2100, 1, 1), announced_ms=_ms(2026, 10, 1), status="BREAK")
    chinese = SymbolSpec("spot", "币安人生USDT", _ms(2025, 10, 7, 8), price="0.2", price_decimals=4,
                         quantity_decimals=1, trades_per_day=60_000)  # fmt: skip
    return [*majors, halted, delisted, recent, pending, chinese]


def _usdm() -> list[SymbolSpec]:
    perpetuals = [
        SymbolSpec(
            "usdm", symbol, listed, pair=symbol, contract_type="PERPETUAL", price=price, price_decimals=places,
            printed_decimals=printed, quantity_decimals=quantity, trades_per_day=trades, outages=USDM_OUTAGES,
        )
        for symbol, listed, price, places, printed, quantity, trades in _USDM
    ]  # fmt: skip
    bitcoin, ether, binance, solana = perpetuals[:4]
    return [
        *perpetuals,
        *_quarterlies(bitcoin),
        *_quarterlies(ether),
        replace(solana, symbol="FTMUSDT", pair="FTMUSDT", listed_ms=_ms(2020, 8, 20, 7), price="0.7",
                halted_ms=_ms(2025, 1, 3, 15), status="SETTLING"),
        replace(binance, symbol="SOONUSDT", pair="SOONUSDT", listed_ms=_ms(2100, 1, 1),
                announced_ms=_ms(2026, 10, 1), status="PENDING_TRADING"),
        replace(binance, symbol="币安人生USDT", pair="币安人生USDT", listed_ms=_ms(2025, 10, 7, 10), price="0.2",
                price_decimals=5, printed_decimals=5, quantity_decimals=0, trades_per_day=100_000),
    ]  # fmt: skip


def _coinm() -> list[SymbolSpec]:
    bitcoin = SymbolSpec(
        "coinm", "BTCUSD_PERP", _ms(2020, 8, 10, 7), pair="BTCUSD", contract_type="PERPETUAL", price="20000",
        price_decimals=1, quantity_decimals=0, contract_size=100, trades_per_day=300_000,
    )  # fmt: skip
    ether = replace(bitcoin, symbol="ETHUSD_PERP", pair="ETHUSD", listed_ms=_ms(2020, 8, 19, 3), price="1500",
                    price_decimals=2, contract_size=10)  # fmt: skip
    dot = replace(ether, symbol="DOTUSD_PERP", pair="DOTUSD", listed_ms=_ms(2020, 8, 20, 8), price="6",
                  price_decimals=3, trades_per_day=20_000)  # fmt: skip
    return [bitcoin, ether, dot, *_quarterlies(bitcoin), *_quarterlies(ether)]


def _quarterlies(perpetual: SymbolSpec) -> list[SymbolSpec]:
    """Return the quarter that ended last, the one that runs in November 2026, and the next."""
    pair = perpetual.pair or perpetual.symbol
    terms = (
        ("260925", "CURRENT_QUARTER", _ms(2026, 3, 27, 8), _ms(2026, 9, 25, 8)),
        ("261225", "CURRENT_QUARTER", _ms(2026, 6, 26, 8), _ms(2026, 12, 25, 8)),
        ("270326", "NEXT_QUARTER", _ms(2026, 9, 25, 8), _ms(2027, 3, 26, 8)),
    )
    return [
        replace(
            perpetual, symbol=f"{pair}_{term}", contract_type=contract, listed_ms=listed, halted_ms=delivery,
            delivery_ms=delivery, delisted_ms=delivery, trades_per_day=perpetual.trades_per_day // 20,
        )
        for term, contract, listed, delivery in terms
    ]  # fmt: skip
