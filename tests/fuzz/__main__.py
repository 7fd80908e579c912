"""Fuzz what parses bytes of strangers, guided by the coverage that they reach (atheris): `make fuzz`.

    python -m tests.fuzz [--seconds 600] [target …]

Inputs that reach something new are kept in `.run/fuzz/<target>`; one that breaks a target is left there as `crash-…`,
and belongs into `tests/fuzz/corpus/<target>`, from where the suite runs it each time.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(".run/fuzz")
_LONGEST = {"headers": 600, "listeners": 1_000}  # bytes of an input; the others' are longer
_FUZZ_ONE = "--one"
_TOLD = re.compile(r" cov: |executed_units|peak_rss")


def main() -> int:
    """Run each target in a process of its own; return 1 if one was broken."""
    every = sorted(each.name for each in CORPUS.iterdir())
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what parses bytes of strangers.")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(every)}; all if none is named")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(every):
        parser.error(f"there is no target {', '.join(unknown)}")
    failed = [name for name in given.targets or every if not run(name, given.seconds)]
    print(f"broken: {', '.join(failed)}" if failed else "nothing broke")
    return bool(failed)


def run(target: str, seconds: int) -> bool:
    """Fuzz one target, and say how far it came; return whether it held."""
    folder = FOUND / target
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={_LONGEST.get(target, 4_000)}", f"-artifact_prefix={folder}/"]
    options += ["-timeout=10", "-rss_limit_mb=1500", "-print_final_stats=1"]
    command = [sys.executable, "-m", "tests.fuzz", _FUZZ_ONE, target, *options, str(folder), str(CORPUS / target)]
    print(f"{target}: {seconds} s …", flush=True)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    shown = lines[-40:] if done.returncode else [each for each in lines if _TOLD.search(each)][-3:]
    print(*shown, sep="\n", flush=True)
    return done.returncode == 0


def fuzz_one() -> None:
    """Fuzz until libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["mdcache"]):
        from tests.fuzz.targets import TARGETS
    _, _, name, *options = sys.argv
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [_FUZZ_ONE]:
        fuzz_one()
    sys.exit(main())
