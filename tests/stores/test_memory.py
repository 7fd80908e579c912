from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from mdcache.stores.memory import Memory


def memory(max_bytes: int = 100) -> tuple[Memory, list[Hashable]]:
    gone: list[Hashable] = []

    def give_up(key: Hashable) -> bool:
        gone.append(key)
        return True

    return Memory(max_bytes, give_up), gone


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    account, gone = memory()
    for n in range(4):
        account.hold(n, 30)
        account.ask(n, 0.0)
        account.ask(n, 10.0)
    account.ask(0, 11.0)
    account.fit()
    assert gone == [1]
    assert account.held_bytes == 90


def test_a_scan_holds_no_more_than_a_quarter_and_pushes_nothing_out() -> None:
    account, gone = memory()
    for n in range(3):
        account.hold(f"polled {n}", 20)
        account.ask(f"polled {n}", 0.0)
        account.ask(f"polled {n}", 5.0)
    for n in range(50):
        account.hold(n, 10)
        account.ask(n, 6.0 + n)
        account.ask(n, 6.1 + n)  # pages straddle blocks: that is one asking
        account.fit()
    assert account.held_bytes <= 60 + 25
    assert all(isinstance(key, int) for key in gone)


def test_what_is_in_use_stays() -> None:
    account = Memory(10, lambda key: key != "busy")
    account.hold("busy", 20)
    account.hold("idle", 20)
    assert account.fit() == 1
    assert account.held_bytes == 20


@given(st.lists(st.tuples(st.sampled_from("hafx"), st.integers(0, 9), st.integers(0, 60)), max_size=80))
def test_the_account_adds_up(steps: list[tuple[str, int, int]]) -> None:
    held: dict[Hashable, int] = {}

    def give_up(key: Hashable) -> bool:
        del held[key]
        return True

    account = Memory(100, give_up)
    for now, (what, key, nbytes) in enumerate(steps):
        if what == "h":
            account.hold(key, nbytes)
            held[key] = nbytes
        elif what == "a":
            account.ask(key, float(now))
        elif what == "f":
            account.forget(key)
            held.pop(key, None)
        else:
            account.fit()
            assert account.held_bytes <= 100
        assert account.held_bytes == sum(held.values())
