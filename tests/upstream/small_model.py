"""Three replicas and their store, and all that may happen to them. Pure, no loop, no clock.

What is looked at is all that replicas could spend if the store were lost now. A state that was met before is not gone
into again.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mdcache.stores.redis.budget import reply_from, request_args
from mdcache.upstream.replicas.protocol import (
    Allotment,
    DrawKind,
    DrawReply,
    DrawRequest,
    after_reply,
    at_minute,
    minute_requests,
    stated_part,
    while_unanswered,
)
from tests.support.redis_scripts import FakeRedis, sealed, source

BUDGET, GATE = b"budget", b"gate"
ALLOWED = 90


FIRST = 29_900_000  # a minute


START_MS = FIRST * 60_000


SERVER_AHEAD_MS = 7_200_000


NAMES = ("a", "b", "c")


TICKS_MS = (1_000, 20_000, 50_000, 59_990, 60_010, 63_000, 75_000)


SKEW_MS = {"a": 0, "b": -1_500, "c": 900}


Spent = tuple[tuple[int, int], ...]


Hash = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class One:
    """A replica: what it may spend, what it counts as spent in each minute, and whether the store answered it last.

    `heard`: the life of the store that answered it last. `spent` is what its checkpoint saves. `base`: the part of it
    that was drawn under its id and never spent. `past`: what it spent without saving it, before it was killed, or
    before it left and was started again elsewhere.
    """

    name: str
    allotment: Allotment
    spent: Spent = ()
    past: Spent = ()
    base: Spent = ()
    met: bool = True
    again: bool = False
    trusts: bool = False
    heard: int = 1
    seq: int = 0
    late: DrawRequest | None = None  # a message that has not reached the store yet

    def own(self, minute: int) -> int:
        return dict(self.spent).get(minute, 0)

    def truly_spent(self) -> Spent:
        base = dict(self.base)
        return tuple((minute, weight - base.get(minute, 0)) for minute, weight in self.spent)

    def spend(self, minutes: range, weight: int) -> "One":
        spent = dict(self.spent)
        for minute in minutes:
            spent[minute] = self.own(minute) + weight
        return replace(self, spent=tuple(sorted(spent.items())))

    @property
    def told(self) -> bool:
        """Whether the store, or its checkpoint, has all that it spent before it was started."""
        return self.met or not self.again or not self.past

    def count_earlier_draws(self, request: DrawRequest, reply: DrawReply) -> "One":
        spent, base = dict(self.spent), dict(self.base)
        for told, found in zip(request.minutes, reply.minutes, strict=True):
            more = found.drawn - told.drawn
            spent[found.minute] = self.own(found.minute) + more
            base[found.minute] = base.get(found.minute, 0) + more
        return replace(self, spent=tuple(sorted(spent.items())), base=tuple(sorted(base.items())))


@dataclass(frozen=True)
class World:
    """`store` is the budget's hash; `older`: as a server that takes over late would have it."""

    at: int
    store: Hash
    older: Hash
    run: int
    replicas: tuple[One, ...]

    def key(self) -> object:
        ones = [
            (one.allotment.part, one.allotment.next_part, one.allotment.changes, tuple(one.allotment.drawn.items()))
            for one in self.replicas
        ]
        more = [
            (one.spent, one.past, one.base, one.met, one.again, one.trusts, one.heard == self.run, one.late)
            for one in self.replicas
        ]
        return self.at, _unnumbered(self.store), _unnumbered(self.older), self.run, repr((ones, more))


def _unnumbered(store: Hash) -> Hash:
    """Without the numbers of messages: states that differ by them only are the same."""
    return tuple((name, value.partition(b" ")[2] if name.startswith(b"r:") else value) for name, value in store)


SERVER_MS = [0]


SERVER = FakeRedis(lambda: SERVER_MS[0])


def minutes_of(world: World, index: int) -> range:
    """As `Moment.minutes`, with an error of 2 s: the clocks are wrong by less."""
    now = START_MS + TICKS_MS[world.at] + SKEW_MS[NAMES[index]]
    return range((now - 2_000) // 60_000, (now + 2_000) // 60_000 + 1)


def message(world: World, index: int, one: One, weight: int, *, enters: bool) -> tuple[One, DrawRequest]:
    minutes = minutes_of(world, index)
    allotment = at_minute(one.allotment, minutes[0])
    request = DrawRequest(
        kind=DrawKind.REPORT if one.met else DrawKind.REGISTER,
        seq=one.seq + 1,
        now_ms=START_MS + TICKS_MS[world.at] + SKEW_MS[NAMES[index]],
        allowed=ALLOWED,
        limit=1_200,
        part=stated_part(allotment, minutes[0]),
        replicas=allotment.replicas,
        born=allotment.born,
        assumed=len(NAMES),
        returning=one.again,
        process=1,
        error_ms=2_000,
        enters=enters,
        gate_version=1,
        rank=1,
        minutes=minute_requests(allotment, minutes, one.own, ALLOWED, weight),
    )
    return replace(one, allotment=allotment, seq=one.seq + 1), request


def executed(world: World, name: str, request: DrawRequest) -> tuple[World, DrawReply]:
    SERVER.run = world.run
    SERVER_MS[0] = START_MS + SERVER_AHEAD_MS + TICKS_MS[world.at]
    SERVER.hashes = {GATE: {b"version": b"1", b"text": b""}}
    if world.store:
        SERVER.hashes[BUDGET] = dict(world.store)
    reply = reply_from(SERVER.eval("draw", [BUDGET, GATE], request_args(name, request)))
    return replace(world, store=tuple(sorted(SERVER.hashes[BUDGET].items()))), reply


def put(world: World, index: int, one: One) -> World:
    return replace(world, replicas=(*world.replicas[:index], one, *world.replicas[index + 1 :]))


def draw(world: World, index: int, weight: int, *, answer_lost: bool = False, spends: bool = True) -> World:
    """Draw for a read and spend all there is; first only tell, where the last message had no answer."""
    one = world.replicas[index]
    for enters in (True,) if one.trusts else (False, True):
        one, request = message(world, index, one, weight if enters else 0, enters=enters)
        before, allotment = one.allotment, while_unanswered(one.allotment, request)
        world, reply = executed(world, one.name, request)
        if answer_lost:
            return put(world, index, replace(one, allotment=allotment, trusts=False))
        if not one.met:  # all that was drawn before is taken for spent
            one = one.count_earlier_draws(request, reply)
        one = replace(one, allotment=after_reply(before, request, reply), trusts=True, met=True, heard=world.run)
    return put(world, index, spend_all(one, minutes_of(world, index)) if spends else one)


def spend_all(one: One, minutes: range) -> One:
    room = min(one.allotment.cap(minute, ALLOWED) - one.own(minute) for minute in minutes)
    return one.spend(minutes, room) if room > 0 else one


def cut(world: World, index: int, *, silent: bool = False) -> World:
    """It sends nothing any more, or its message does not arrive yet; then it spends all that it may alone."""
    one = world.replicas[index]
    if not silent:
        one, request = message(world, index, one, 20, enters=one.trusts)
        one = replace(one, allotment=while_unanswered(one.allotment, request), late=request)
    minutes = minutes_of(world, index)
    one = replace(one, allotment=at_minute(one.allotment, minutes[0]), trusts=False)
    return put(world, index, spend_all(one, minutes))


def killed(world: World, index: int, *, saved: bool) -> World:
    """It spends all that it may, dies without a word, and is started again: only its checkpoint is left.

    What that names as drawn counts as spent.
    """
    before = world.replicas[index]
    one = spend_all(before, minutes_of(world, index))
    past = () if saved else tuple((minute, spent - before.own(minute)) for minute, spent in one.spent)
    kept = one if saved else before
    spent, base = dict(kept.spent), dict(kept.base)
    for minute, drawn in kept.allotment.drawn.items():
        spent[minute] = max(kept.own(minute), drawn)
        base[minute] = base.get(minute, 0) + spent[minute] - kept.own(minute)
    allotment = Allotment(drawn={minute: spent[minute] for minute in kept.allotment.drawn})
    again = One(
        one.name, allotment, tuple(sorted(spent.items())), past, tuple(sorted(base.items())), met=False, again=True
    )
    return put(world, index, again)


def left(world: World, index: int) -> World:
    """It spends all that it may, leaves in order, and is started again elsewhere, as it were another."""
    one = spend_all(world.replicas[index], minutes_of(world, index))
    one, request = message(world, index, one, 0, enters=False)
    world, _ = executed(world, one.name, replace(request, kind=DrawKind.LEAVE))
    return put(world, index, One(one.name, Allotment(), past=one.truly_spent(), met=False, heard=world.run))


def unknown(world: World, index: int) -> bool:
    """Whether it left in a minute that may be now, and the store that knew what it drew has lost its data since."""
    one = world.replicas[index]
    forgotten_since = one.past and not one.met and not one.again and one.heard != world.run
    return bool(forgotten_since) and not dict(one.past).keys().isdisjoint(minutes_of(world, index))


def moves(world: World, *, knowable: bool = False) -> Iterator[tuple[str, World]]:
    """All that may happen next. `knowable`: but what no replica and no store can know of (`unknown`)."""
    for index, one in enumerate(world.replicas):
        if one.trusts and not one.past and not one.again:
            yield f"{one.name} is killed and started again", killed(world, index, saved=True)
            if one.heard == world.run:  # a checkpoint is a second old at most: not in the second of a store's loss
                yield f"{one.name} is killed within a second and started again", killed(world, index, saved=False)
            yield f"{one.name} leaves and comes back", left(world, index)
        if knowable and unknown(world, index):
            continue
        yield f"{one.name} draws", draw(world, index, 20)
        yield f"{one.name} tells", draw(world, index, 0, spends=False)
        yield f"{one.name} draws, and hears nothing", draw(world, index, 20, answer_lost=True)
        yield f"{one.name} is cut off", cut(world, index, silent=True)
        yield f"{one.name} is cut off with a message on its way", cut(world, index)
        if one.late is not None:
            arrived, _ = executed(world, one.name, one.late)
            yield f"{one.name}'s message arrives late", put(arrived, index, replace(one, late=None))
    if world.at + 1 < len(TICKS_MS):
        yield "time passes", replace(world, at=world.at + 1, older=world.store)
    if not all(one.told for one in world.replicas):
        return  # nor is the store lost in the second of such a death
    yield "the store is empty", replace(world, store=(), older=(), run=world.run + 1)
    yield "an older store takes over", replace(world, store=world.older, run=world.run + 1)


def most(world: World, minute: int) -> int:
    """The most that may have been spent in a minute once all had lost the store."""
    found = 0
    for index, one in enumerate(world.replicas):
        ended = minute < minutes_of(world, index)[0]
        more = 0 if ended else at_minute(one.allotment, minutes_of(world, index)[0]).cap(minute, ALLOWED)
        found += max(one.own(minute), more) - dict(one.base).get(minute, 0) + dict(one.past).get(minute, 0)
    return found


def over(world: World) -> bool:
    return any(most(world, FIRST + ahead) > ALLOWED for ahead in (-1, 0, 1, 2))


def explored(start: World, depth: int, *, knowable: bool = False) -> tuple[int, int]:
    """(states, most spent in a minute); fails with the way to a state over the share."""
    seen: set[object] = {start.key()}
    edge: list[tuple[World, tuple[str, ...]]] = [(start, ())]
    highest = 0
    for _ in range(depth):
        further: list[tuple[World, tuple[str, ...]]] = []
        for world, way in edge:
            for name, after in moves(world, knowable=knowable):
                assert not over(after), [(*way, name), [(one.spent, one.allotment) for one in after.replicas]]
                if (key := after.key()) not in seen:
                    seen.add(key)
                    further.append((after, (*way, name)))
                    used = [sum(one.own(FIRST + ahead) for one in after.replicas if not one.past) for ahead in (0, 1)]
                    highest = max(highest, *used)
        edge = further
    return len(seen), highest


def empty(at: int = 0) -> World:
    return World(at, (), (), 1, tuple(One(name, Allotment(), met=False) for name in NAMES))


def shared(*, joined: str = "abc", young: bool = False) -> World:
    """Those of `joined` shared for long, each with its part, and spent nothing lately."""
    part, now_ms = PARTS[len(joined)], START_MS + SERVER_AHEAD_MS - 500
    born_ms = now_ms - (30_000 if young else 1_200_000)
    meta = {
        "born": born_ms,
        "minute": FIRST - 1 if young else FIRST - 20,
        "newest": FIRST - 1,
        "count": len(joined),
        "total": part * len(joined),
        "error": -1,
        **dict.fromkeys(("since", "beat"), now_ms),
    }
    store = {b"run": b"%040x" % 1, b"meta": sealed("meta", " ".join(str(meta.get(name, 0)) for name in META).encode())}
    one = f"0 {now_ms} {part} 0 0 1 {born_ms}".encode()
    store |= {f"r:{name}".encode(): sealed(f"r:{name}", one) for name in joined}
    allotment = Allotment(part, part, FIRST - 1, len(joined), born_ms)
    members = tuple(
        One(name, allotment, trusts=True) if name in joined else One(name, Allotment(), met=False) for name in NAMES
    )
    return World(0, tuple(sorted(store.items())), tuple(sorted(store.items())), 1, members)


META = re.findall(r"'(\w+)'", re.findall(r"local META = \{(.*?)\}", source("draw"), re.DOTALL)[0])


PARTS = {2: 495_000, 3: 330_000}


def after(world: World, *names: str) -> World:
    """`world`, once these drew in this order; those in capitals only told."""
    for name in names:
        world = draw(world, NAMES.index(name.lower()), 0 if name.isupper() else 20, spends=not name.isupper())
    return world


def at(world: World, tick: int) -> World:
    return replace(world, at=tick)


def forgotten(world: World) -> World:
    return replace(world, store=(), older=(), run=world.run + 1)


STARTS = {
    "nothing spent": at(shared(), 1),
    "one spent most": after(at(shared(), 1), *"BCaaa"),
    "all were heard": after(at(shared(), 1), *"abc"),
    "all were heard long ago": at(after(at(shared(), 0), *"abc"), 2),
    "before the edge": after(at(shared(), 2), *"abaa"),
    "at the edge": at(shared(), 3),
    "past the edge": after(at(shared(), 5), *"abc"),
    "a third joins two": at(shared(joined="ab"), 1),
    "a third joined two": after(at(shared(joined="ab"), 1), *"abc"),
    "a young store": at(shared(young=True), 1),
    "an empty one": at(empty(), 1),
    "an empty one that two met": after(at(empty(), 1), *"AB"),
    "forgotten, and one is missing": at(after(at(forgotten(after(at(shared(), 1), "a")), 2), *"BC"), 6),
    "forgotten, and one was not known": after(at(forgotten(after(at(shared(joined="ab"), 1), "c")), 2), *"AB"),
}
