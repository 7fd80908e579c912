"""Autobahn's test suite of WebSocket servers against the connections of listeners, which echo here what they are sent.

    python -m tests.clients.autobahn [--python python2.7] [CASE …]

The suite needs Python 2.7. Its cases of long messages, speed and compression are left out: none of them is offered.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from websockets.frames import Frame, Opcode

from mdcache.serving.streams import handshakes
from mdcache.serving.streams.listener_connection import ListenerConnection
from mdcache.serving.streams.session import ListenerSession, MessageOutcome
from tests.clients.environments import PINS
from tests.serving.streams.test_handshakes import open_house

HOME = Path(__file__).parents[2] / ".clients" / "autobahntestsuite"
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
# A close within a message of several frames: `websockets` answers with 1002, the suite expects 1000 and no complaint.
KNOWN = {"7.1.5"}
_RUN = (
    "import site, sys; site.addsitedir(sys.argv[1]); sys.path.insert(0, sys.argv.pop(1) + '/autobahntestsuite'); "
    "from autobahntestsuite.wstest import run; run()"
)
_DEADLINE_S = 600.0
_ECHO = MessageOutcome(reply="echo")


class EchoSession(ListenerSession):
    """Answers each message, however many."""

    def allows_message(self, now_s: float) -> bool:
        del now_s
        return True

    def receive(self, text: str) -> MessageOutcome:
        del text
        return _ECHO


class EchoConnection(ListenerConnection):
    """Sends back what was sent."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.session = EchoSession(arguments[0])
        self._message = b""

    def _collect(self, frame: Frame) -> None:
        self._message = bytes(frame.data) if frame.opcode is not Opcode.CONT else self._message + bytes(frame.data)
        super()._collect(frame)

    def _apply(self, outcome: MessageOutcome) -> None:
        if outcome is _ECHO:
            (self._protocol.send_binary if self._binary else self._protocol.send_text)(self._message)
            self._flush()


def install(python: str) -> None:
    """Install the suite for Python 2.7, once."""
    if not (HOME / "packages" / "autobahntestsuite").exists():
        pins = PINS / "autobahntestsuite.txt"
        command = [python, "-m", "pip", "install", "-q", "--target", str(HOME / "packages"), "-r", str(pins)]
        subprocess.run(command, check=True)


async def behaviours(python: str, cases: list[str]) -> dict[str, str]:
    """Return how each case went, in the suite's words."""
    vars(handshakes)["ListenerConnection"] = EchoConnection
    async with open_house() as house:
        host, port = (await house.peer()).writer.get_extra_info("peername")[:2]
        servers = [{"agent": "mdcache", "url": f"ws://{host}:{port}/ws"}]
        spec = {"outdir": str(HOME / "reports"), "servers": servers, "cases": cases}
        (HOME / "spec.json").write_text(json.dumps(spec | {"exclude-cases": [], "exclude-agent-cases": {}}))
        command = [python, "-c", _RUN, str(HOME / "packages"), "-m", "fuzzingclient", "-s", str(HOME / "spec.json")]
        suite = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(_DEADLINE_S):
            if await suite.wait():
                raise SystemExit("the suite has failed")
    results = json.loads((HOME / "reports" / "index.json").read_text())["mdcache"]
    return {case: _worse(result["behavior"], result["behaviorClose"]) for case, result in results.items()}


def _worse(behaviour: str, close: str) -> str:
    return behaviour if close in GOOD else close


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.autobahn", description=__doc__)
    parser.add_argument("--python", default="python2.7")
    parser.add_argument("cases", nargs="*", default=list(CASES))
    options = parser.parse_args()
    python = shutil.which(options.python)
    if python is None:
        print(f"not run: this machine has no {options.python}")
        return 1
    install(python)
    found = asyncio.run(behaviours(python, options.cases))
    bad = {case: how for case, how in found.items() if how not in GOOD}
    print(", ".join(f"{number} {how}" for how, number in Counter(found.values()).most_common()))
    for case, how in sorted(bad.items()):
        print(f"{case}: {how}{', which is known' if case in KNOWN else ''}")
    return int(not found or not bad.keys() <= KNOWN)


if __name__ == "__main__":
    sys.exit(main())
