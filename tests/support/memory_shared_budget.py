"""The ledger's script once more, in Python: for tests in virtual time, and to be compared with the script itself."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mdcache.upstream.replicas.protocol import Answer, Ask, LedgerDown, Told, Verdict

QUIET = 1_100
WHOLE, PARTS, RATION, MINUTE = 1_000_000, 990_000, 0.3, 60_000
FROZEN, FORGOT, ABSENT, GAP, FLOOR = 3_000, 10_000, 600_000, 10_000, 0.1
MINUTES, MOST_MINUTES, SURE = 4, 12, 10_000

State = dict[str, Any]


def fresh(run: str, now: int, server_ms: int = 0) -> State:
    counts = {"born": now, "beat": now, "since": now, "expect": 0, "version": now, "ahead": 0, "error": -1}
    return {"quiet": server_ms + QUIET, "run": run, **counts, "gate": "", "limit": 0, "peers": {}, "minutes": {}}


def ration(part: int, allowed: int, minute: int, at: int) -> float:
    left = min(MINUTE, max(0, (minute + 1) * MINUTE - at))
    return part * allowed * RATION * left / MINUTE / WHOLE


def part_in(peer: State, minute: int) -> int:
    return int(peer["part"] if minute < peer["changes"] else peer["next"])


def bound(pick: Callable[[int, int], int], peer: State, start: int, upto: int | None = None) -> int:
    if peer["changes"] <= start:
        return int(peer["next"])
    if upto is not None and upto < peer["changes"]:
        return int(peer["part"])
    return pick(peer["part"], peer["next"])


def accounted(state: State, peer: State) -> bool:
    return bool(peer["known"] and (not peer.get("gone") or peer["gone"] >= state["born"]))


def _forget(state: State, me: str, now: int, error: int) -> None:
    if now - state["beat"] > GAP:
        state["since"] = now
    state["beat"] = max(state["beat"], now)
    for name, peer in list(state["peers"].items()):
        last = max(peer["heard"], state["since"]) + ABSENT
        if peer.get("gone"):
            young = state["born"] + ABSENT if accounted(state, peer) else 0
            last = max(peer["changes"] * MINUTE + MINUTE, young)
        if name != me and now - last > error:
            del state["peers"][name]
    while len(state["minutes"]) > (MINUTES if error <= SURE else MOST_MINUTES):
        del state["minutes"][max(state["minutes"], key=lambda n: abs(int(n) - now / MINUTE))]


def goodbye(state: State, me: str, now: int) -> None:
    _forget(state, me, now, MINUTE)
    _leave(state, me, now, now)


def _leave(state: State, name: str, now: int, at: int) -> None:
    peer = state["peers"].get(name)
    if peer is None and now < state["born"] + ABSENT:
        peer = {"heard": now, "part": PARTS, "next": 0, "changes": 0, "known": True}
        for other in state["peers"].values():
            if other["known"]:
                peer["part"] = max(0, peer["part"] - bound(min, other, now // MINUTE, at // MINUTE))
        state["peers"][name] = peer
    if peer is not None and peer.get("gone"):
        peer["changes"] = min(peer["changes"], at // MINUTE + 1)
    elif peer is not None:
        peer["part"] = max(peer["part"], peer["next"])
        peer |= {"next": 0, "gone": now, "changes": max(peer["changes"], at // MINUTE + 1)}


def _put_right(state: State, now: int, error: int, server_ms: int | None) -> int:
    if error > SURE:
        return 0 if server_ms is None or state["error"] < 0 else server_ms + int(state["ahead"])
    if server_ms is not None:
        state |= {"ahead": now - server_ms, "error": error}
    if state["born"] > now + SURE:
        state["born"] = now
    if state["beat"] > now + SURE:
        state |= {"beat": now, "since": now}
    for peer in state["peers"].values():
        peer["heard"] = min(peer["heard"], now + SURE)
    return 0


def step(  # noqa: C901, PLR0912, PLR0915 - as the script
    state: State | None, run: str, me: str, ask: Ask, server_ms: int | None = None
) -> tuple[State, Answer]:
    """`server_ms`: the server's own clock, where it has one."""
    now, tallies = ask.now_ms, [asdict(tally) for tally in ask.tallies]
    if state is None:
        state = fresh(run, now, server_ms or 0)
    elif state["run"] != run:
        state |= {"run": run, "born": now, "error": -1}
    time_ms = _put_right(state, now, ask.error_ms, server_ms)
    _forget(state, me, now, ask.error_ms)
    state["limit"] = ask.limit or state["limit"]
    for name in ask.instead:
        _leave(state, name, now, now + ask.error_ms)
    rows = []
    for tally in tallies:
        minute = state["minutes"].setdefault(str(tally["minute"]), {"extra": 0, "rows": {}})
        row = minute["rows"].setdefault(me, {"lanes": [0, 0, 0], "done": 0, "heard": 0, "base": 0, "modest": False})
        if sum(row["lanes"]) < tally["confirmed"]:
            state["born"] = now
        row["lanes"] = [max(pair) for pair in zip(row["lanes"], tally["lanes"], strict=True)]
        row["done"] = max(row["done"], tally["done"])
        minute["extra"] = max(minute["extra"], tally["extra"])
        rows.append(row)

    peers = state["peers"]
    peer = peers.get(me)
    others = {name: other for name, other in peers.items() if name != me}
    young = now < state["born"] + ABSENT
    if not young:
        state["expect"] = 0
    elif me not in peers:
        state["expect"] = max(state["expect"], ask.peers)
    if peer is None or peer.get("gone"):
        peer = {"heard": 0, "part": 0, "next": 0, "changes": 0, "known": ask.peers > 0 or not young}
    if now >= peer["heard"]:
        peer |= {"part": ask.part, "next": ask.next_part, "changes": ask.changes, "heard": now}
    living = [peer, *(other for other in others.values() if not other.get("gone"))]
    phantoms = max(0, state["expect"] - sum(accounted(state, other) for other in (peer, *others.values())))
    replicas = seen = len(living) + phantoms
    first = state["born"] // MINUTE
    if state["expect"] == 0 and (now < state["born"] + FORGOT or now // MINUTE <= first):
        replicas = max(replicas, ask.assumed)
    even = PARTS // replicas

    def unclaimed(start: int, upto: int | None = None) -> int:
        knowing = [other for other in (peer, *others.values()) if other["known"]]
        return max(0, PARTS - sum(bound(min, other, start, upto) for other in knowing)) if phantoms else 0

    def free(start: int, upto: int | None = None) -> int:
        return PARTS - unclaimed(start, upto) - sum(bound(max, other, start, upto) for other in others.values())

    changes = peer["changes"]
    part = peer["part"] = max(peer["part"], min(even, free(min(tallies[0]["minute"], changes - 1), changes - 1)))
    following = max(0, min(even, free(changes)))
    peer["next"] = max(peer["next"], following)
    peers[me] = peer

    newest = ask.version == state["version"]
    sharing = ask.commits and not _forgot(state, ask)
    sums = []
    for tally in tallies:
        number, minute = tally["minute"], state["minutes"][str(tally["minute"])]
        lanes = [sum(column) for column in zip(*(each["lanes"] for each in minute["rows"].values()), strict=True)]
        mine = 0
        kept = unclaimed(number, number) * ask.allowed // WHOLE
        for name, other in peers.items():
            its = minute["rows"].get(name, {"lanes": [0], "heard": 0, "modest": False})
            share, had = part_in(other, number), sum(its["lanes"])
            if name == me and sharing:
                may = had + math.ceil(ration(share, ask.allowed, number, now))
            elif its["heard"] > 0 and its["modest"]:
                may = its["base"]
            elif its["heard"] > 0:
                may = its["base"] + math.ceil(ration(share, ask.allowed, number, min(now, its["heard"] + FROZEN)))
            else:
                may = share * ask.allowed // WHOLE
            kept += max(0, may - had)
            if name == me:
                mine = max(0, may - had)
        done = sum(each["done"] for each in minute["rows"].values())
        sums.append(
            {"minute": number, "lanes": lanes, "done": done, "kept": kept, "mine": mine, "extra": minute["extra"]}
        )

    crowded = sharing and any(sum(found["lanes"]) + found["kept"] > ask.allowed for found in sums)
    if crowded:
        sharing = ask.modest or any(row["modest"] for row in rows)
        for found in sums:
            found["kept"] -= found["mine"]
            sharing = sharing and sum(found["lanes"]) + found["kept"] <= ask.allowed
    verdicts = []
    for weight, rank in ask.claims:
        said = _verdict(sums, ask, weight, rank) if sharing and newest else Verdict.SOON
        if said is Verdict.GRANTED:
            for row, found in zip(rows, sums, strict=True):
                row["lanes"][rank] += weight
                found["lanes"][rank] += weight
        verdicts.append(said)
    granted = all(said is Verdict.GRANTED for said in verdicts)
    quiet = server_ms is not None and 0 < state.get("quiet", 0) - server_ms <= QUIET
    written = (
        newest and ask.gate is not None and (granted or not sharing) and not (quiet and ask.patient and ask.claims)
    )
    if written:
        state["gate"], state["version"] = ask.gate, state["version"] + 1
    if sharing:
        for row in rows:
            row |= {"heard": max(row["heard"], now), "base": sum(row["lanes"]), "modest": crowded}
    told = tuple(
        Told(
            found["minute"],
            sum(found["lanes"]),
            found["done"],
            sum(row["lanes"]),
            row["heard"],
            _before(state, found["minute"], ask.instead),
        )
        for found, row in zip(sums, rows, strict=True)
    )
    gate = None if newest else state["gate"]
    return state, Answer(
        sharing=sharing,
        verdicts=tuple(verdicts),
        part=part,
        next_part=following,
        peers=seen,
        told=told,
        version=state["version"],
        gate=gate,
        written=written,
        crowded=crowded,
        limit=state["limit"],
        time_ms=time_ms,
        error_ms=max(0, state["error"]),
        quiet=quiet,
    )


def _forgot(state: State, ask: Ask) -> bool:
    born = state["born"]
    return ask.now_ms < born + FORGOT or any(tally.minute <= born // MINUTE for tally in ask.tallies)


def _before(state: State, minute: int, instead: tuple[str, ...]) -> tuple[int, ...]:
    rows = state["minutes"][str(minute)]["rows"]
    return tuple(sum(rows[name]["lanes"][lane] for name in instead if name in rows) for lane in range(3))


def _verdict(sums: list[State], ask: Ask, weight: int, rank: int) -> Verdict:
    worst, floor = Verdict.GRANTED, int(ask.allowed * FLOOR)
    newcomers = (WHOLE - PARTS) * ask.allowed // WHOLE if len(ask.tallies) < 3 else 0
    for found in sums:
        after = sum(found["lanes"]) + weight
        left = min(MINUTE, max(0, (found["minute"] + 1) * MINUTE - ask.now_ms))
        due = math.ceil(floor * left / MINUTE)
        lanes = sum(max(0, min(due, floor - had)) for at, had in enumerate(found["lanes"]) if at != rank)
        if after > ask.allowed or after + found["extra"] > ask.address_cap:
            worst = Verdict.NEXT_MINUTE
        elif after + newcomers + max(found["kept"], lanes) > ask.allowed:
            worst = max(worst, Verdict.SOON)
    return worst


class BudgetServer:
    """Where ledgers rest: one server's memory, which can be lost; `run` names the server's life."""

    def __init__(self) -> None:
        self.run = "1"
        self.states: dict[str, str] = {}
        self.asks = 0
        self.clock: Callable[[], int] | None = None

    def now_ms(self) -> int | None:
        return None if self.clock is None else self.clock()

    def restart(self, *, empty: bool) -> None:
        self.run = str(int(self.run) + 1)
        if empty:
            self.states.clear()


class MemorySharedBudget:
    """A replica's view of a shelf. `trouble` may raise, and may let the message through first (`after`)."""

    def __init__(self, shelf: BudgetServer, family: str, replica: str) -> None:
        self.shelf = shelf
        self.replica = replica
        self.up = True
        self.wait: Callable[[], Any] | None = None
        self.lose_answers = False
        self._family = family

    async def ask(self, ask: Ask) -> Answer:
        if self.wait is not None:
            await self.wait()
        if not self.up:
            raise LedgerDown("made up")
        answer = self.ask_now(ask)
        if self.lose_answers:
            raise LedgerDown("the answer was lost")
        return answer

    def ask_now(self, ask: Ask) -> Answer:
        self.shelf.asks += 1
        raw = self.shelf.states.get(self._family)
        state, answer = step(json.loads(raw) if raw else None, self.shelf.run, self.replica, ask, self.shelf.now_ms())
        self.shelf.states[self._family] = json.dumps(state)
        return answer

    async def goodbye(self, now_ms: int) -> None:
        raw = self.shelf.states.get(self._family)
        if self.up and raw:
            state = json.loads(raw)
            goodbye(state, self.replica, now_ms)
            self.shelf.states[self._family] = json.dumps(state)
