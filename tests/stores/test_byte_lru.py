from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from mdcache.stores.byte_lru import ByteLru


def memory(max_bytes: int = 100) -> tuple[ByteLru, list[Hashable]]:
    gone: list[Hashable] = []

    def give_up(key: Hashable) -> bool:
        gone.append(key)
        return True

    return ByteLru(max_bytes, give_up), gone


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    account, gone = memory()
    for n in range(4):
        account.set_size(n, 30)
        account.touch(n, 0.0)
        account.touch(n, 10.0)
    account.touch(0, 11.0)
    account.evict()
    assert gone == [1]
    assert account.held_bytes == 90


def test_a_scan_holds_no_more_than_a_quarter_and_pushes_nothing_out() -> None:
    account, gone = memory()
    for n in range(3):
        account.set_size(f"polled {n}", 20)
        account.touch(f"polled {n}", 0.0)
        account.touch(f"polled {n}", 5.0)
    for n in range(50):
        account.set_size(n, 10)
        account.touch(n, 6.0 + n)
        account.touch(n, 6.1 + n)  # pages straddle blocks: that is one asking
        account.evict()
    assert account.held_bytes <= 60 + 25
    assert all(isinstance(key, int) for key in gone)


def test_what_is_in_use_stays() -> None:
    account = ByteLru(10, lambda key: key != "busy")
    account.set_size("busy", 20)
    account.set_size("idle", 20)
    assert account.evict() == 1
    assert account.held_bytes == 20


@given(st.lists(st.tuples(st.sampled_from("hafx"), st.integers(0, 9), st.integers(0, 60)), max_size=80))
def test_the_account_adds_up(steps: list[tuple[str, int, int]]) -> None:
    held: dict[Hashable, int] = {}

    def give_up(key: Hashable) -> bool:
        del held[key]
        return True

    account = ByteLru(100, give_up)
    for now, (what, key, nbytes) in enumerate(steps):
        if what == "h":
            account.set_size(key, nbytes)
            held[key] = nbytes
        elif what == "a":
            account.touch(key, float(now))
        elif what == "f":
            account.remove(key)
            held.pop(key, None)
        else:
            account.evict()
            assert account.held_bytes <= 100
        assert account.held_bytes == sum(held.values())
