"""In which units an instrument counts and with how many decimals its numbers are printed."""

from mdcache.sim.config import SPOT_DECIMALS, SymbolSpec
from mdcache.sim.prices.node import Node
from mdcache.sim.prices.printing import decimals

COIN_DECIMALS = 8  # coinm prints turnover in the base asset with 8: Kline page of dapi
SAMPLE_DECIMALS = 8  # live fapi index rows, 2026-09-15, and the premium page's sample


class Units:
    """A symbol's places (what integers count) and its printers of prices, quantities and turnovers."""

    def __init__(self, spec: SymbolSpec) -> None:
        self.price_places, self.quantity_places = spec.price_decimals, spec.quantity_decimals
        self.contract_size: int | None = None
        quantity_printed = spec.quantity_decimals
        if spec.market == "spot":
            self.price_printed = quantity_printed = self.turnover_places = SPOT_DECIMALS
        elif spec.market == "usdm":
            self.price_printed = spec.printed_decimals or spec.price_decimals
            self.turnover_places = self.price_printed + quantity_printed
        else:
            self.price_printed = spec.printed_decimals or spec.price_decimals
            self.turnover_places = COIN_DECIMALS
            self.contract_size = spec.contract_size
        self.price = decimals(self.price_places, self.price_printed)
        self.quantity = decimals(self.quantity_places, quantity_printed)
        self.turnover = decimals(self.turnover_places, self.turnover_places)
        self._mean = decimals(self.price_printed, self.price_printed)

    def mean(self, node: Node) -> str:
        """The average price of a stretch, turnover over volume; zero where nothing was traded."""
        volume, turnover = node.taker + node.maker, node.taker_quote + node.maker_quote
        if not volume or not turnover:
            return self._mean(0)
        if self.contract_size is not None:
            dollars = volume * self.contract_size
            return self._mean(dollars * 10 ** (self.turnover_places + self.price_printed) // turnover)
        shift = self.price_printed + self.quantity_places - self.turnover_places
        return self._mean(turnover * 10**shift // volume)

    def sample(self, value: int) -> str:
        """An index or mark price."""
        return _SAMPLE(value)


_SAMPLE = decimals(SAMPLE_DECIMALS, SAMPLE_DECIMALS)
