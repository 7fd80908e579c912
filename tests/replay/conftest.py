"""The command line in this process, as in the tests of the other commands."""

from tests.cli.conftest import folder, run

__all__ = ["folder", "run"]
