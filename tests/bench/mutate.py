"""Find changes of charlm that the tests do not notice, by mutation testing.

    .venv/bin/pip install coverage
    .venv/bin/python tests/bench/mutate.py --seed 1 --count 200

A mutation changes one line. The script runs the tests that execute this line; a mutation survives
if they all pass. It prints every survivor, and their share for each folder. Its files are in
build/mutations/COMMIT: a copy of the committed tree, the lines that each test executes (recorded
once, which takes as long as the fast tests), and a line of JSON for each mutation. A stopped run
continues from there.
"""

import argparse
import ast
import collections
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

LIMIT_SECONDS = 600
"""Tests that take longer hang."""
NO_TESTS = 5
"""What pytest returns if it has run none."""
PYTEST = ("-p", "no:cacheprovider", "--tb=no", "-n0", "--import-mode=importlib")
Record = dict[str, dict[int, list[str]]]
"""Which tests execute each line of each file."""
FORK = multiprocessing.get_context("fork")
"""A mutation is tried in a fork of a process that has imported TensorFlow and nothing of charlm."""
EXCHANGED: dict[type[ast.AST], Callable[[], Any]] = {
    **{
        ast.Lt: ast.LtE,
        ast.LtE: ast.Lt,
        ast.Gt: ast.GtE,
        ast.GtE: ast.Gt,
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
    },
    **{
        ast.Is: ast.IsNot,
        ast.IsNot: ast.Is,
        ast.In: ast.NotIn,
        ast.NotIn: ast.In,
        ast.And: ast.Or,
        ast.Or: ast.And,
    },
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.FloorDiv: ast.Mult},
}
UNTOUCHED_KEYWORDS = {
    "help",
    "metavar",
    "encoding",
    "strict",
    "check",
    "description",
    "errors",
    "stacklevel",
}
UNTOUCHED_CALLS = {"assert_never", "CharlmError", "dataclass", "cast", "TypeVar", "overload"}
UNTOUCHED_FUNCTIONS = {"__repr__", "__str__"}


class Mutation(NamedTuple):
    """One change: bytes `begin` to `end` of a file are replaced."""

    file: str
    line: int
    before: str
    after: str
    begin: int
    end: int
    lines: tuple[int, ...]
    """The lines of which one is executed by each test that can notice."""

    def apply(self, source: bytes) -> bytes:
        """Return the changed file."""
        return source[: self.begin] + self.after.encode() + source[self.end :]


def mutations_of(file: str, source: bytes) -> list[Mutation]:
    """Return every mutation of a file."""
    starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
    found = []
    for node, changed, lines in _visit(ast.parse(source), ()):
        begin, end = (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )
        is_simple = isinstance(changed, ast.stmt | ast.Constant | ast.Name | ast.Attribute)
        after = ast.unparse(changed) if is_simple else f"({ast.unparse(changed)})"
        own = tuple(range(node.lineno, node.end_lineno + 1))
        found.append(
            Mutation(file, node.lineno, source[begin:end].decode(), after, begin, end, lines + own)
        )
    return found


def _visit(node: ast.AST, lines: tuple[int, ...]) -> Iterator[tuple[Any, ast.AST, tuple[int, ...]]]:
    """Yield each node in a function that can be changed, its replacement, and its lines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name not in UNTOUCHED_FUNCTIONS:
            for statement in node.body:
                yield from _visit(statement, (statement.lineno,))
    elif not _is_untouched(node):
        if lines:
            lines = (node.lineno,) if isinstance(node, ast.stmt) else lines
            yield from ((place, changed, lines) for place, changed in _changes(node))
        annotation = getattr(node, "annotation", None)
        for child in ast.iter_child_nodes(node):
            if child is not annotation:
                yield from _visit(child, lines)


def _is_untouched(node: ast.AST) -> bool:
    """Return whether nothing in a node is changed: messages, assertions, types."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).split(".")[-1] in UNTOUCHED_CALLS
    if isinstance(node, ast.keyword):
        return node.arg in UNTOUCHED_KEYWORDS
    return isinstance(node, ast.Assert | ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom)


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:  # noqa: PLR0912
    """Yield what can be changed in a node, and what may take its place."""
    kind = type(getattr(node, "op", None) or (getattr(node, "ops", None) or [None])[0])
    match node:
        case ast.Compare(left, [_], comparators) if kind in EXCHANGED:
            yield node, ast.Compare(left, [EXCHANGED[kind]()], comparators)
        case ast.BoolOp(_, values):
            yield node, ast.BoolOp(EXCHANGED[kind](), values)
        case ast.BinOp(left, _, right) if kind in EXCHANGED:
            yield node, ast.BinOp(left, EXCHANGED[kind](), right)
        case ast.AugAssign(target, _, value) if kind in EXCHANGED:
            yield node, ast.AugAssign(target, EXCHANGED[kind](), value)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield node, operand
        case ast.Constant(bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield node, ast.Constant(value + 1 if isinstance(value, int) else 2 * value or 1.0)
        case ast.Expr(ast.Call()):
            yield node, ast.Pass()
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield node, ast.Return(ast.Constant(None))
        case ast.If(test) | ast.IfExp(test) | ast.While(test) if isinstance(
            test, ast.Name | ast.Attribute | ast.Call
        ):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Call(function, arguments, keywords):
            for keyword in keywords:
                if keyword.arg not in UNTOUCHED_KEYWORDS:
                    yield (
                        node,
                        ast.Call(
                            function,
                            arguments,
                            [other for other in keywords if other is not keyword],
                        ),
                    )


def draw(sources: dict[str, bytes], *, seed: int, count: int) -> list[Mutation]:
    """Return mutations of some files, each as likely as it has lines."""
    rng, drawn = random.Random(seed), list[Mutation]()
    left = {file: mutations_of(file, source) for file, source in sources.items()}
    while len(drawn) < count and any(left.values()):
        (file,) = rng.choices(
            [*left], [bool(left[name]) * source.count(b"\n") for name, source in sources.items()]
        )
        mutation = left[file].pop(rng.randrange(len(left[file])))
        with contextlib.suppress(SyntaxError):
            ast.parse(mutation.apply(sources[file]))
            drawn.append(mutation)
    return drawn


def unpack(repository: Path, tree: Path) -> None:
    """Copy the committed tree without compiled files, which can hide a change."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=repository, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)


def record(tree: Path, record: Path) -> Record:
    """Run the tests of a tree and record what they execute; or find what was recorded before."""
    import coverage

    if not record.exists():
        settings = tree / "coverage.ini"
        settings.write_text(
            "[run]\ndynamic_context = test_function\ninclude = charlm/*\n", encoding="utf-8"
        )
        command = [
            sys.executable,
            "-m",
            "coverage",
            "run",
            f"--rcfile={settings}",
            f"--data-file={record}",
        ]
        subprocess.run(
            [*command, "-m", "pytest", *PYTEST], cwd=tree, stdout=sys.stderr, check=False
        )
    data = coverage.CoverageData(str(record))
    data.read()
    return {
        str(Path(file).relative_to(tree)): data.contexts_by_lineno(file)
        for file in data.measured_files()
    }


def tests_of(mutation: Mutation, record: Record, tree: Path) -> list[str]:
    """Return the tests that execute a line, or all of its folder if no test does."""
    lines = record.get(mutation.file, {})
    names = sorted({name for line in mutation.lines for name in lines.get(line, ()) if name})
    tests = [
        f"{module.replace('.', '/')}.py::{test}"
        for module, _, test in (name.rpartition(".") for name in names)
    ]
    folder = tree / "tests" / Path(mutation.file).parent.name
    return tests or [str(folder if folder.is_dir() else folder.parent)]


def work(
    repository: Path, tree: Path, mutations: list[Mutation], log: Path, record: Record
) -> None:
    """Try mutations in a copy of the tree, and log for each whether its tests pass."""
    unpack(repository, tree)
    for mutation in mutations:
        path, tests = tree / mutation.file, tests_of(mutation, record, tree)
        source = path.read_bytes()
        path.write_bytes(mutation.apply(source))
        process = FORK.Process(target=run_pytest, args=(tree, tests))
        process.start()
        process.join(LIMIT_SECONDS)
        survived = process.exitcode in {0, NO_TESTS}
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        path.write_bytes(source)
        with log.open("a") as file:
            file.write(
                json.dumps({"mutation": mutation, "survived": survived, "tests": len(tests)}) + "\n"
            )


def run_pytest(tree: Path, tests: list[str]) -> None:
    """Run tests in a new process until one fails; their output goes to a file next to the tree."""
    os.setsid()
    os.chdir(tree)
    os.environ |= {
        "PYTHONPATH": str(tree),
        "XDG_CACHE_HOME": f"{tree}-cache",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    sys.path[0], sys.dont_write_bytecode = str(tree), True
    with tree.with_suffix(".log").open("wb") as file:
        for output in (1, 2):
            os.dup2(file.fileno(), output)
    sys.exit(pytest.main([*PYTEST, "--basetemp", f"{tree}-scratch", "-x", *tests]))


def read(log: Path) -> dict[Mutation, dict[str, Any]]:
    """Return the results in a file, by their mutations."""
    lines = map(json.loads, log.read_text().splitlines() if log.exists() else [])
    return {
        Mutation._make([*line["mutation"][:-1], tuple(line["mutation"][-1])]): line
        for line in lines
    }


def report(results: dict[Mutation, dict[str, Any]]) -> None:
    """Print the survivors, and their share by folder."""
    folders = collections.defaultdict[str, list[bool]](list)
    for mutation, result in results.items():
        for folder in (str(Path(mutation.file).parent), "all"):
            folders[folder].append(result["survived"])
        if result["survived"]:
            before, after = (" ".join(text.split()) for text in (mutation.before, mutation.after))
            print(
                f"{mutation.file}:{mutation.line}  {before}  ->  {after}  ({result['tests']} tests)"
            )
    for folder, survivals in sorted(folders.items()):
        print(
            f"{folder}: {sum(survivals)} of {len(survivals)} survive, "
            f"{sum(survivals) / len(survivals):.0%}"
        )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="which mutations are drawn")
    parser.add_argument("--count", type=int, default=200, help="how many mutations")
    parser.add_argument("--workers", type=int, default=2, help="tests are run in as many processes")
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path(__file__).parents[2],
        help="where charlm is committed",
    )
    options = parser.parse_args()
    repository, git = options.repository.resolve(), ["git", "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(
        git, cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = repository / "build" / "mutations" / commit
    tree, log = folder / "tree", folder / f"seed-{options.seed}.jsonl"
    unpack(repository, tree)
    recorded, known = record(tree, folder / "record"), read(log)
    sources = {
        str(path.relative_to(tree)): path.read_bytes()
        for path in sorted(tree.glob("charlm/**/*.py"))
    }
    left = [
        found
        for found in draw(sources, seed=options.seed, count=options.count)
        if found not in known
    ]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.suppress(ImportError):  # once for all: it takes longer than most tests
        import tensorflow  # noqa: F401
    shares = [left[first :: options.workers] for first in range(options.workers)]
    workers = [
        FORK.Process(
            target=work, args=(repository, folder / f"tree-{number}", share, log, recorded)
        )
        for number, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report(read(log))


if __name__ == "__main__":
    main()
