"""What is replayed without options is what a daemon with default settings does: its figures are told in public."""

import typer.main

from mdcache.cli.app import application
from mdcache.settings import Settings


def test_the_share_is_that_of_the_settings() -> None:
    options = {option.name: option.default for option in typer.main.get_group(application()).commands["replay"].params}
    assert options["share"] == Settings.model_fields["weight_share"].default
