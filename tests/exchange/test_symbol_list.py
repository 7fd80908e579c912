"""A long list of symbols is decoded in slices, to the same entries as at once, however odd the body is."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange import symbol_list
from mdcache.exchange.symbol_list import CutBody, cut_body, list_entries
from mdcache.exchange.undecodable import UNDECODABLE


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def entry(rng: random.Random, number: int) -> dict[str, Any]:
    odd: tuple[Any, ...] = [], {"symbol": 1}, [{"symbol": "A"}, {"symbol": "B"}], '},{"symbol":"X"', "币安", 7, None
    fields = {"symbol": f"S{number}", "filters": [{"filterType": "A"}] * rng.randrange(3), "odd": rng.choice(odd)}
    return fields if rng.random() < 0.9 else dict(reversed(fields.items()))


def document(rng: random.Random) -> dict[str, Any]:
    values = {"timezone": "UTC", "serverTime": 7, "assets": [{"symbols": [1]}], "sors": [{"symbols": ["A"]}]}
    values["symbols"] = [entry(rng, number) for number in range(rng.randrange(12))]
    names = [*values]
    rng.shuffle(names)
    return {name: values[name] for name in names if name == "symbols" or rng.random() < 0.7}


def cut(body: bytes) -> CutBody | None:
    try:
        return cut_body(body)
    except UNDECODABLE:
        return None


@given(seed=st.integers(0, 2**32))
def test_slices_are_as_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    body = compact(document(rng)) if rng.random() < 0.8 else json.dumps(document(rng)).encode()
    if rng.random() < 0.5:  # broken, in most cases
        at = rng.randrange(len(body))
        body = (
            body[:at] + rng.choice([b"", b"]", b"}", b",", b'"', b"NaN", b" ", b"\xff"]) + body[at + rng.randrange(2) :]
        )
    whole = cut(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbol_list, "_SLICE_BYTES", rng.choice([1, 30, 100]))
        sliced = cut(body)
        assert (sliced is None) == (whole is None)
        if whole is not None and sliced is not None:
            assert sliced.spans == whole.spans
            start, end = whole.spans["symbols"]
            expected = [bytes(raw) for raw in whole.entries]
            assert [bytes(raw) for raw in sliced.entries] == expected
            assert [bytes(raw) for raw in list_entries(body[start:end])] == expected


def test_no_call_decodes_more_than_a_slice_of_a_long_list(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    decoder = msgspec.json.Decoder(list[msgspec.Raw])

    class Noting:
        def decode(self, text: bytes) -> list[msgspec.Raw]:
            seen.append(len(text))
            return decoder.decode(text)

    monkeypatch.setattr(symbol_list, "_list_decoder", Noting())
    symbols = [{"symbol": f"S{n}", "status": "TRADING", "permissionSets": [["A" * 9] * 200]} for n in range(2_000)]
    body = compact({"timezone": "UTC", "symbols": symbols})
    assert len(cut_body(body).entries) == 2_000
    assert max(seen) < 70_000 < len(body) / 50
