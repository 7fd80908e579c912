import types
from pathlib import Path

import pytest

from tests.mutants.session import Mutant, changed_codes

SOURCE = """
class Gate:
    @property
    def width(self):
        return [n + 1 for n in range(2)]

    @width.setter
    def width(self, width):
        self.kept = width + 1
"""


@pytest.mark.parametrize(("line", "width", "kept"), [(5, [-1, 0], 6), (9, [1, 2], 4)])
def test_a_mutant_is_the_code_of_the_function_it_is_in(line: int, width: list[int], kept: int, tmp_path: Path) -> None:
    path = tmp_path / "gate.py"
    path.write_text(SOURCE)
    start = len("".join(SOURCE.splitlines(keepends=True)[: line - 1])) + SOURCE.splitlines()[line - 1].index("+")
    mutant = Mutant("1", str(path), "Gate.width()", line, start, start + 1, "-")
    module = types.ModuleType("gate")
    exec(compile(SOURCE, str(path), "exec"), module.__dict__)  # noqa: S102 - as an import does
    functions = [module.Gate.width.fget, module.Gate.width.fset]
    [(old, new)] = changed_codes(mutant)
    [function] = [each for each in functions if each.__code__ == old]
    function.__code__ = new
    gate = module.Gate()
    gate.width = 5
    assert (gate.width, gate.kept) == (width, kept)
