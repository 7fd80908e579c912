"""What was found by `make fuzz`, and changes of it drawn anew each time: every target holds."""

import random
import re
from pathlib import Path

import pytest

from tests.fuzz.__main__ import CORPUS
from tests.fuzz.targets import TARGETS

_TOKENS = re.compile(rb"\w+|.", re.DOTALL)
_SOME = [
    b"",
    b"\0",
    b"\xff",
    b"0",
    b"-1",
    b"99999999999999999999",
    b'"',
    b"[",
    b"]",
    b"{",
    b",",
    b"1e999",
    b"null",
    b"&",
]
_DRAWN = 400


def corpus(target: str) -> list[bytes]:
    return [each.read_bytes() for each in sorted((CORPUS / target).iterdir())]


def test_each_target_has_a_small_corpus() -> None:
    assert sorted(each.name for each in CORPUS.iterdir()) == sorted(TARGETS)
    for target in TARGETS:
        files: list[Path] = list((CORPUS / target).iterdir())
        assert files
        assert sum(each.stat().st_size for each in files) < 100_000


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_it_holds(target: str) -> None:
    known = corpus(target)
    for each in known:
        TARGETS[target](each)
    rng = random.Random(len(known))
    for _ in range(_DRAWN):
        tokens = _TOKENS.findall(rng.choice(known))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(tokens) + 1)
            tokens[at : at + rng.randrange(3)] = [rng.choice([*_SOME, *tokens])] * rng.randrange(3)
        data = b"".join(tokens)
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(data) from error
