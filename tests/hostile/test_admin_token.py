"""The admin token is not told by how long an answer takes, nor taken from anywhere but its header."""

import hmac

import pytest

from mdcache.serving.ops import operations
from tests.support.serving_harness import TOKEN, ServingHarness

WRONG = ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN[:-1] + "x", "x" + TOKEN[1:], TOKEN.upper(), "\xff" * len(TOKEN)]


async def test_every_guess_is_compared_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hmac.compare_digest` takes as long for a guess whose first letters are right as for any other."""
    compared: list[tuple[bytes, bytes]] = []

    class Watched:
        @staticmethod
        def compare_digest(guess: bytes, token: bytes) -> bool:
            compared.append((guess, token))
            return hmac.compare_digest(guess, token)

    monkeypatch.setattr(operations, "hmac", Watched)
    house = ServingHarness()
    replies = set()
    for guess in WRONG:
        for path in ("/v1/admin/purge", "/v1/admin/gate", "/v1/admin/warm"):
            for scheme in ("Bearer", "Basic"):
                reply = await house.ask(path, b"", method="POST", headers={"authorization": f"{scheme} {guess}"})
                replies.add((reply.status, reply.body, tuple(reply.headers.items())))
    assert len(replies) == 1
    assert next(iter(replies))[0] == 401
    assert len(compared) == len(WRONG) * 6
    assert {token for _, token in compared} == {TOKEN.encode()}
    assert {guess for guess, _ in compared} == {guess.encode("latin-1") for guess in WRONG}


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"authorization=Bearer {TOKEN}", f"access_token={TOKEN}"])
@pytest.mark.parametrize("headers", [{}, {"cookie": f"token={TOKEN}"}, {"proxy-authorization": f"Bearer {TOKEN}"}])
async def test_it_counts_nowhere_else(query: str, headers: dict[str, str]) -> None:
    """A page of another site can send these, but no `Authorization`."""
    reply = await ServingHarness().ask("/v1/admin/purge", query.encode(), method="POST", headers=headers, body=b"{}")
    assert reply.status == 401
