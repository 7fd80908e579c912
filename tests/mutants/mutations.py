"""Write the mutants of source files as JSON, one a line: `.mutants/bin/python -m tests.mutants.mutations FILE …`.

The operators are mutmut's (libcst). mutmut's own runner copies each function into its module once for each mutant, and
so leaves out constants, properties and defaults; hence only the operators are used, and `tests.mutants` runs what they
make. A mutant is a span of the source and the text that replaces it.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation import mutators

# What is left out says nothing about the tests:
_UNTOUCHED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)  # types, and what fails at import
_TYPING_CALLS = {"assert_never", "cast", "TypeVar", "NewType", "len", "isinstance"}  # no effect, or a certain TypeError
_FIRST_ONLY = {mutators.operator_string}  # a text in other cases of letters is as wrong as a text with XX around it
_LARGE = 1_000  # beyond it, as in milliseconds, one more is no fault: twice as much is


def main() -> None:
    """Write all mutants of the files that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.mutations")
    parser.add_argument("files", nargs="+", type=Path)
    for path in parser.parse_args().files:
        for mutant in mutants_of(path):
            sys.stdout.write(json.dumps(mutant) + "\n")


def mutants_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each mutant that compiles, once."""
    source = path.read_text()
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    spans = wrapper.resolve(WhitespaceInclusivePositionProvider)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen = {source}
    alike: Counter[str] = Counter()
    for node, function, operator in _nodes(wrapper.module, "", raising=False):
        if node not in spans:
            continue
        span = spans[node]
        start, end = starts[span.start.line - 1] + span.start.column, starts[span.end.line - 1] + span.end.column
        for changed in _changed(node, operator):
            text = wrapper.module.code_for_node(changed)
            mutated = source[:start] + text + source[end:]
            if mutated in seen or not _compiles(mutated):
                continue
            seen.add(mutated)
            begin = source.rfind("\n", 0, start) + 1
            change = f"{path} {function} {source[begin:end]} {source[begin:start]}{text}"
            alike[change] += 1
            yield {  # the same as long as its lines are, whatever changes elsewhere
                "id": hashlib.sha256(f"{change} {alike[change]}".encode()).hexdigest()[:12],
                "path": str(path),
                "function": function,
                "line": span.start.line,
                "start": start,
                "end": end,
                "text": text,
            }


def _nodes(node: Any, function: str, *, raising: bool) -> Iterator[tuple[Any, str, Any]]:
    """Yield each node with the outermost function that it is in ("" if none) and each operator for it."""
    if isinstance(node, _UNTOUCHED) or _is_typing(node):
        return
    raising = raising or isinstance(node, cst.Raise)
    for kind, operator in mutators.mutation_operators:
        if isinstance(node, kind) and not (raising and _about_text(node, operator)):
            yield node, function, operator
    for child in node.children:
        inner = function
        if isinstance(node, cst.ClassDef | cst.FunctionDef) and child is node.body and not function.endswith("()"):
            inner = f"{function}{node.name.value}" + ("()" if isinstance(node, cst.FunctionDef) else ".")
        yield from _nodes(child, inner, raising=raising)


def _is_typing(node: Any) -> bool:
    if isinstance(node, cst.If):
        return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _TYPING_CALLS


def _about_text(node: Any, operator: Any) -> bool:
    """Return whether the operator would change the text of an error."""
    if isinstance(node, cst.BaseString):
        return True
    if operator is mutators.operator_arg_removal:
        return any(isinstance(each.value, cst.SimpleString | cst.FormattedString) for each in node.args)
    return False


def _changed(node: Any, operator: Any) -> Iterator[Any]:
    if operator is mutators.operator_number and isinstance(node, cst.Integer) and node.evaluated_value >= _LARGE:
        yield node.with_changes(value=str(2 * node.evaluated_value))
        return
    if operator is mutators.operator_assignment and _is_literal(node.value):
        return
    every = list(operator(node))
    if operator is mutators.operator_arg_removal:  # an argument without a name is missed at once
        every = [each for each in every if len(each.args) == len(node.args) or _lost(node, each).keyword]
    yield from every[:1] if operator in _FIRST_ONLY else every


def _is_literal(node: Any) -> bool:
    """Return whether it is changed by itself; None instead of False would be no change."""
    if isinstance(node, cst.Name):
        return node.value in {"True", "False"}
    return isinstance(node, cst.BaseNumber | cst.BaseString)


def _lost(node: Any, changed: Any) -> Any:
    return next(each for each in node.args if not any(each is kept for kept in changed.args))


def _compiles(source: str) -> bool:
    try:
        compile(source, "", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main()
