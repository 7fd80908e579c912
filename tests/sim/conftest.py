"""A new exchange for each test of the simulator."""

import pytest

from tests.sim.helpers import Sim


@pytest.fixture
def sim() -> Sim:
    return Sim()
