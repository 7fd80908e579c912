"""Tests in forked children: pytest collects once, then each mutant has a child in which its tests run.

A mutant inside a function replaces the code of the function that is there already; one outside of any function (a
constant, a default) is imported in a child in which nothing of mdcache was imported before.
"""

import gc
import importlib.abc
import importlib.machinery
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from hypothesis import Phase, settings

SURVIVED, KILLED, TIMED_OUT = "survived", "killed", "timed out"
_MEMORY = 4 << 30  # bytes: of a mutant that appends forever
_IMPORTED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"  # once, for all children
_OPTIONS = ["-q", "-s", "-W", _IMPORTED, "-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:xdist"]
_OPTIONS += ["-m", "not processes"]


@dataclass(frozen=True)
class Mutant:
    """One change of a source file; `function`: the outermost one that it is in, followed by "()"."""

    id: str
    path: str
    function: str
    line: int
    start: int
    end: int
    text: str

    @property
    def in_function(self) -> bool:
        return self.function.endswith("()")

    def source(self) -> str:
        """The whole file as changed."""
        whole = Path(self.path).read_text()
        return whole[: self.start] + self.text + whole[self.end :]


def in_child(work: Callable[[], int], cpu_s: float, said: str = os.devnull) -> str:
    """Do `work` in a child that may use this much processor time; return what its exit says.

    `said`: the file that its output goes to.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            output = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for each in (0, 1, 2):
                os.dup2(output, each)
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 2))
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            status = work()
        finally:
            os._exit(status)
    ends = time.monotonic() + 20 * cpu_s + 60  # for one that waits instead of computing
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > ends:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return TIMED_OUT
        time.sleep(0.005)
    if os.WIFSIGNALED(status):
        return TIMED_OUT
    return KILLED if os.WEXITSTATUS(status) else SURVIVED


def run_pytest(arguments: list[str], plugin: object) -> int:
    """Run pytest with few examples, and without looking for the smallest one that fails."""
    return int(pytest.main([*_OPTIONS, *arguments], plugins=[plugin, _Quick()]))


class _Quick:
    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        quick = settings.get_profile("quick")
        settings.register_profile("quick", quick, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
        settings.load_profile("quick")


class FirstFailure:
    """Ends the child at the first test that fails."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(1)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            os._exit(1)


class Surveying:
    """Runs each test once, and notes its seconds and which functions of `paths` it calls."""

    def __init__(self, paths: set[str], note: Callable[[str, float, set[tuple[str, str]]], None]) -> None:
        self._paths = {str(Path(path).resolve()): path for path in paths}
        self._note = note
        self._failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        called: set[CodeType] = set()

        def profile(frame: Any, event: str, _argument: object) -> None:
            if event == "call":
                called.add(frame.f_code)

        sys.setprofile(profile)
        started = time.process_time()
        try:
            return (yield)
        finally:
            seconds = time.process_time() - started
            sys.setprofile(None)
            reached = {
                (self._paths[code.co_filename], outermost(code.co_qualname))
                for code in called
                if code.co_filename in self._paths
            }
            if item.nodeid not in self._failed:  # such a test tells nothing of a mutant
                self._note(item.nodeid, seconds, reached)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)


def outermost(qualname: str) -> str:
    """Return the outermost function of a qualified name, as `Mutant.function` has it."""
    return qualname.split(".<locals>", maxsplit=1)[0] + "()"


class Mutating:
    """Instead of the tests that pytest collected, runs those of each mutant, in a child."""

    def __init__(self, each: Callable[[Callable[[Mutant, list[str], float], str]], None]) -> None:
        self._each = each
        self._items: dict[str, pytest.Item] = {}
        self._functions: dict[CodeType, list[FunctionType]] = defaultdict(list)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        gc.unfreeze()  # what is frozen isn't found
        functions = [each for each in gc.get_objects() if type(each) is FunctionType]
        for each in functions:
            self._functions[each.__code__].append(each)
        gc.freeze()
        self._each(self._run)
        return True

    def _run(self, mutant: Mutant, tests: list[str], cpu_s: float) -> str:
        codes = [(self._functions[old], new) for old, new in changed_codes(mutant)]
        if not all(functions for functions, _ in codes):
            raise LookupError(f"nothing runs {mutant.function} of {mutant.path}")

        def work() -> int:
            for functions, code in codes:
                for function in functions:
                    function.__code__ = code
            items = [self._items[name] for name in tests]
            items[0].config.pluginmanager.register(FirstFailure())
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            return 0

        return in_child(work, cpu_s)


def run_imported(mutant: Mutant, tests: list[str], cpu_s: float) -> str:
    """Run the tests of a mutant outside of any function."""

    def work() -> int:
        path, source = str(Path(mutant.path).resolve()), mutant.source()
        loader = importlib.machinery.SourceFileLoader
        get_code = loader.get_code

        def mutated(self: importlib.abc.SourceLoader, name: str) -> CodeType | None:
            if self.get_filename(name) == path:
                return compile(source, path, "exec", dont_inherit=True)
            return get_code(self, name)

        loader.get_code = mutated  # type: ignore[method-assign, assignment] # in this child only
        return run_pytest([*tests], FirstFailure())

    return in_child(work, cpu_s)


def changed_codes(mutant: Mutant) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the code of the mutant's function as it is and as it is changed (several, if several share its name)."""
    path = str(Path(mutant.path).resolve())
    sources = (Path(mutant.path).read_text(), mutant.source())
    before, after = (compile(source, path, "exec", dont_inherit=True) for source in sources)
    for old, new in zip(_codes(before, mutant.function), _codes(after, mutant.function), strict=True):
        if old != new:
            yield old, new


def _codes(code: CodeType, function: str) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            if f"{each.co_qualname}()" == function:
                yield each
            else:
                yield from _codes(each, function)
