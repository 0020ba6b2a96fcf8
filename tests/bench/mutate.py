"""Which changes of charlm do the tests not notice? A mutation changes one line; the tests that execute it are run.

    .venv/bin/pip install coverage
    .venv/bin/python tests/bench/mutate.py --seed 1 --count 200

Prints every mutation that survives, and the share of each folder. It works in build/mutations/COMMIT: a copy of the
committed tree, which test executes which lines (recorded once, in the time of the fast tests), and a line of JSON for
each mutation, so that a run that was stopped goes on. `--again FILE` tries only the survivors in such a file.
"""

import argparse
import ast
import bisect
import collections
import contextlib
import importlib
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SHARE = 0.25
"""The tests that are run first for a mutation take at most this share of the time of all: what hangs, hangs there."""
SLOW_SECONDS = 900
RECORD = "CHARLM_MUTATE_RECORD"
NO_TESTS = 5
"""What pytest returns if it has run none."""
PYTEST = ("-p", "no:cacheprovider", "--tb=no")
FORK = multiprocessing.get_context("fork")
"""A mutation is tried in a fork of a process that has imported TensorFlow and nothing of charlm."""
EXCHANGED: dict[type[ast.AST], Callable[[], Any]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
}
IN_C = {
    **{" < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " != ", " && ": " || ", " || ": " && "},
    **{" + ": " - ", " - ": " + ", " * ": " + ", " / ": " * ", " += ": " = ", " -= ": " += "},
}
UNTOUCHED_KEYWORDS = {"help", "metavar", "encoding", "strict", "check", "description", "errors", "stacklevel"}
UNTOUCHED_CALLS = {"assert_never", "CharlmError", "dataclass", "cast", "TypeVar", "overload"}
WHOLE_CALLS = {"len", "isinstance", "zip", "enumerate", "str", "tuple", "dict", "min", "max", "map", "getattr", "field"}
"""Their arguments are changed, but not left out: that is a type error, which every test notices."""
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
    """The lines of which one is executed by each test that can notice; empty = all lines of the module."""

    def apply(self, source: bytes) -> bytes:
        """Return the changed file."""
        return source[: self.begin] + self.after.encode() + source[self.end :]


def mutations_of(file: str, source: bytes) -> list[Mutation]:
    """Return every mutation of a file: of Python, or of C."""
    if file.endswith(".c"):
        return list(_mutate_c(file, source.decode("ascii")))
    starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
    found = []
    for node, changed, lines in _visit(ast.parse(source), ()):
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        is_simple = isinstance(changed, ast.stmt | ast.Constant | ast.Name | ast.Attribute)
        after = ast.unparse(changed) if is_simple else f"({ast.unparse(changed)})"
        own = tuple(range(node.lineno, node.end_lineno + 1)) if lines else ()
        found.append(Mutation(file, node.lineno, source[begin:end].decode(), after, begin, end, lines + own))
    return found


def _visit(node: ast.AST, lines: tuple[int, ...]) -> Iterator[tuple[Any, ast.AST, tuple[int, ...]]]:
    """Yield each node that can be changed, what it becomes, and the lines that execute it; none outside functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name not in UNTOUCHED_FUNCTIONS:
            body = tuple(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.decorator_list]:
                yield from _visit(default, body)
            for statement in node.body:
                yield from _visit(statement, (statement.lineno,))
    elif not _is_untouched(node):
        if lines and isinstance(node, ast.stmt):
            lines = (node.lineno,)
        yield from ((place, changed, lines) for place, changed in _changes(node))
        annotation = getattr(node, "annotation", None)
        for child in ast.iter_child_nodes(node):
            if child is not annotation:
                yield from _visit(child, lines)


def _is_untouched(node: ast.AST) -> bool:
    """Return whether nothing in a node is changed: messages, assertions, types."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}
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
        case ast.BinOp(left, _, right) if kind in EXCHANGED and not _is_path(node):
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
        case ast.Break() | ast.Continue():
            yield node, ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        case ast.If(test) | ast.IfExp(test) | ast.While(test) if isinstance(test, ast.Name | ast.Attribute | ast.Call):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Call(function, arguments, keywords) if ast.unparse(function) not in WHOLE_CALLS:
            for keyword in keywords:
                if keyword.arg not in UNTOUCHED_KEYWORDS:
                    yield node, ast.Call(function, arguments, [other for other in keywords if other is not keyword])
            if len(arguments) > 1:
                yield node, ast.Call(function, arguments[:-1], keywords)
            elif arguments and not keywords and not isinstance(arguments[0], ast.Starred):
                yield node, arguments[0]


def _is_path(node: ast.BinOp) -> bool:
    """Return whether this joins the names of a path: another operator is a type error, which every test notices."""
    right = node.right
    names = isinstance(right, ast.JoinedStr | ast.Constant) or ast.unparse(right).isupper()
    return isinstance(node.op, ast.Div) and names and not isinstance(getattr(right, "value", None), int | float)


def _mutate_c(file: str, source: str) -> Iterator[Mutation]:
    """Yield the changes of operators and numbers of a C file, outside comments and lines of the preprocessor."""
    code = re.sub(r"/\*.*?\*/|^\s*#[^\n]*", lambda found: re.sub(r"[^\n]", "_", found[0]), source, flags=re.S | re.M)
    for found in re.finditer(r" (?:[-+*/<>]|[-+<>=]=|&&|\|\|) |(?<![\w.])\d+(?:\.\d+f)?(?![\w.])", code):
        before, line = found[0], code.count("\n", 0, found.start()) + 1
        after = IN_C.get(before) or (f"2 * {before}" if "." in before else str(int(before) + 1))
        yield Mutation(file, line, before, after, *found.span(), ())


def compiles(mutation: Mutation, source: bytes) -> bool:
    """Return whether the changed file can be compiled."""
    changed = mutation.apply(source)
    if mutation.file.endswith(".c"):
        command = ["cc", "-fsyntax-only", "-x", "c", "-Wno-all", "-"]
        return subprocess.run(command, input=changed, stderr=subprocess.DEVNULL, check=False).returncode == 0
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def draw(sources: dict[str, bytes], *, seed: int, count: int) -> list[Mutation]:
    """Return mutations of some files, each as likely as it has lines."""
    rng, drawn = random.Random(seed), dict[Mutation, None]()
    left = {file: mutations_of(file, source) for file, source in sources.items()}
    while len(drawn) < count and any(left.values()):
        (file,) = rng.choices([*left], [bool(left[name]) * source.count(b"\n") for name, source in sources.items()])
        mutation = left[file].pop(rng.randrange(len(left[file])))
        if compiles(mutation, sources[file]):
            drawn[mutation] = None
    return list(drawn)


class Recorder:
    """A plugin of pytest that records which test executes which lines, and how long it takes."""

    def __init__(self, folder: Path) -> None:
        import coverage

        self.path = folder / f"{os.getpid()}.json"
        self.coverage = coverage.Coverage(self.path.with_suffix(".lines"), config_file=False, include=["charlm/*"])
        self.context, self.tests, self.failed = "", dict[str, tuple[float, list[str]]](), set[str]()
        self.coverage.start()

    def _switch(self, context: str) -> str:
        before, self.context = self.context, context
        self.coverage.switch_context(context)
        return before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, object, object]:
        self._switch(item.nodeid)
        started = time.perf_counter()
        result = yield
        self.tests[item.nodeid] = time.perf_counter() - started, [f"fixture {name}" for name in item.fixturenames]
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        is_shared = fixturedef.scope != "function"  # by tests that do not execute its lines themselves
        before = self._switch(f"fixture {fixturedef.argname}" if is_shared else self.context)
        try:
            return (yield)
        finally:
            self._switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        passed = {name: facts for name, facts in self.tests.items() if name not in self.failed}
        self.path.write_text(json.dumps(passed))


def pytest_configure(config: pytest.Config) -> None:
    """Record, if this file is a plugin of pytest."""
    if RECORD in os.environ:
        config.pluginmanager.register(Recorder(Path(os.environ[RECORD])))


class Tests:
    """Which tests can notice a mutation."""

    def __init__(self, tree: Path, records: Path) -> None:
        import coverage

        self.facts: dict[str, tuple[float, list[str]]] = {}
        self.lines: dict[str, list[dict[int, list[str]]]] = collections.defaultdict(list)
        paths = [*records.glob("*.json")]
        self.processes = len(paths)
        for path in paths:
            self.facts |= json.loads(path.read_text())
            data = coverage.CoverageData(str(path.with_suffix(".lines")))
            data.read()
            for file in data.measured_files():
                self.lines[str(Path(file).relative_to(tree))].append(data.contexts_by_lineno(file))

    def of(self, mutation: Mutation) -> tuple[list[str], list[str]]:
        """Return the tests that execute a line, then those beside them, in two parts: the quickest first."""
        file = "charlm/engine/kernel.py" if mutation.file.endswith(".c") else mutation.file
        wanted, contexts = set(mutation.lines), set[str]()
        for lines in self.lines[file]:
            for line, names in lines.items():
                contexts.update(names if not wanted or line in wanted else ())
        room, name = Path(mutation.file).parent.name, Path(mutation.file).stem
        mirrors = {f"tests/{room}/test_{name}.py", f"tests/test_{name}.py"}
        executing = {test for test, (_, uses) in self.facts.items() if contexts & {test, *uses}}
        if len(executing) <= self.processes:  # when a module is imported, or in other processes
            executing |= {test for test in self.facts if test.startswith(f"tests/{room}/")}
        files = mirrors | {test.split("::")[0] for test in executing}
        beside = {test for test in self.facts if test.split("::")[0] in files} - executing

        def key(test: str) -> tuple[bool, float]:
            return test.split("::", maxsplit=1)[0] not in mirrors, self.seconds(test)

        order = [*sorted(executing, key=key), *sorted(beside, key=key)]
        total = [*itertools.accumulate(map(self.seconds, order))]
        limit = SHARE * sum(map(self.seconds, self.facts)) + 10
        count = bisect.bisect_right(total, limit)
        return order[:count], order[count:]

    def seconds(self, test: str) -> float:
        """Return how long a test takes."""
        return self.facts[test][0]


def unpack(repository: Path, tree: Path) -> None:
    """Make a copy of the committed tree."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=repository, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)
    # What was compiled is known by the text, not by the time: two mutations come in the same second.
    compiler = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "charlm"]
    subprocess.run(compiler, cwd=tree, check=True)


def record(repository: Path, folder: Path, *, workers: int) -> Tests:
    """Run the committed tests in folder/tree and record what they execute; or find what was recorded before."""
    tree, records = folder / "tree", folder / "records"
    if not (records / "done").exists():
        shutil.rmtree(records, ignore_errors=True)
        records.mkdir(parents=True)
        unpack(repository, tree)
        variables = {"PYTHONPATH": os.pathsep.join([str(tree), str(Path(__file__).parent)]), RECORD: str(records)}
        command = [sys.executable, "-m", "pytest", *PYTEST, "-p", "mutate", f"-n{workers}"]
        command += ["-W", "ignore::coverage.exceptions.CoverageWarning"]
        subprocess.run(command, cwd=tree, env={**os.environ, **variables}, stdout=sys.stderr, check=False)
        (records / "done").touch()
    return Tests(tree, records)


def attempt(mutation: Mutation, *, tree: Path, tests: Tests, slow: bool) -> dict[str, Any]:
    """Return what the tests make of a mutation, in a copy of the tree; if `slow`, then the slow ones of its folder."""
    parts, path = tests.of(mutation), tree / mutation.file
    source, outcome = path.read_bytes(), "survived"
    path.write_bytes(mutation.apply(source))
    room = tree / "tests" / Path(mutation.file).parent.name
    for part in parts:
        if part and outcome == "survived":
            outcome = run_tests(tree, part, limit=60 + 4 * sum(map(tests.seconds, part)))
    if slow and outcome == "survived" and room.is_dir():
        outcome = run_tests(tree, ["-m", "slow", str(room)], limit=SLOW_SECONDS)
    path.write_bytes(source)
    said = "" if outcome == "survived" else tree.with_suffix(".log").read_text(errors="replace")
    by = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.M)
    return {"mutation": mutation, "outcome": outcome, "tests": sum(map(len, parts)), "by": by[:1]}


def run_tests(tree: Path, arguments: list[str], *, limit: float) -> str:
    """Return what some tests make of a tree: survived, noticed, or hang if it takes more than a limit in seconds."""
    process = FORK.Process(target=run_pytest, args=(tree, arguments))
    process.start()
    process.join(limit)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    hangs = process.exitcode is None
    process.join()
    return "hang" if hangs else "noticed" if process.exitcode not in {0, NO_TESTS} else "survived"


def run_pytest(tree: Path, arguments: list[str]) -> None:
    """Run some tests until one fails, in a process of its own; what they say goes to a file beside the tree."""
    os.setsid()
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": f"{tree}-cache", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path[0], sys.dont_write_bytecode = str(tree), True
    with tree.with_suffix(".log").open("wb") as file:
        for output in (1, 2):
            os.dup2(file.fileno(), output)
    sys.exit(pytest.main([*PYTEST, "--basetemp", f"{tree}-scratch", "-x", "-n0", "-rfE", *arguments]))


def work(repository: Path, tree: Path, mutations: list[Mutation], log: Path, attempt: Callable[..., Any]) -> None:
    """Try some mutations in a tree of its own, and write each result to the log."""
    unpack(repository, tree)
    for mutation in mutations:
        line = json.dumps(attempt(mutation, tree=tree)) + "\n"
        with log.open("a") as file:
            file.write(line)


def read(log: Path) -> dict[Mutation, dict[str, Any]]:
    """Return the results in a file, by their mutations."""
    lines = map(json.loads, log.read_text().splitlines() if log.exists() else [])
    return {Mutation._make([*line["mutation"][:-1], tuple(line["mutation"][-1])]): line for line in lines}


def report(results: dict[Mutation, dict[str, Any]]) -> None:
    """Print the survivors, and their share by folder."""
    folders = collections.defaultdict[str, list[bool]](list)
    for mutation, result in results.items():
        survived = result["outcome"] == "survived"
        for folder in (str(Path(mutation.file).parent), "all"):
            folders[folder].append(survived)
        if survived:
            before, after = (" ".join(text.split()) for text in (mutation.before, mutation.after))
            print(f"{mutation.file}:{mutation.line}  {before}  ->  {after}  ({result['tests']} tests)")
    for folder, survivals in sorted(folders.items()):
        print(f"{folder}: {sum(survivals)} of {len(survivals)} survive, {sum(survivals) / len(survivals):.0%}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="which mutations are drawn")
    parser.add_argument("--count", type=int, default=200, help="how many mutations")
    parser.add_argument("--workers", type=int, default=2, help="tests are run in as many processes")
    parser.add_argument("--again", type=Path, help="a file of results: try its survivors")
    parser.add_argument("--slow", action="store_true", help="also run the slow tests of the folder of a survivor")
    parser.add_argument("--repository", type=Path, default=Path(__file__).parents[2], help="where charlm is committed")
    options = parser.parse_args()
    git = ["git", "-C", str(options.repository), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout[:12]
    folder = options.repository.resolve() / "build" / "mutations" / commit
    tests = record(options.repository, folder, workers=options.workers)
    tree = folder / "tree"
    files = sorted([*tree.glob("charlm/**/*.py"), *tree.glob("charlm/engine/*.c")])
    sources = {str(path.relative_to(tree)): path.read_bytes() for path in files}
    mutations, log = draw(sources, seed=options.seed, count=options.count), folder / f"seed-{options.seed}.jsonl"
    if options.again:
        survivors = {mutation for mutation, line in read(options.again).items() if line["outcome"] == "survived"}
        mutations, log = [m for m in mutations if m in survivors], folder / f"again-{options.seed}.jsonl"
    left = [mutation for mutation in mutations if mutation not in read(log)]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if (tree / "charlm" / "engine").is_dir():
        with contextlib.suppress(ImportError):  # once for all: it takes longer than most tests
            importlib.import_module("tensorflow")
    try_one = partial(attempt, tests=tests, slow=options.slow)
    workers = [
        FORK.Process(target=work, args=(options.repository, folder / f"tree-{first}", share, log, try_one))
        for first, share in enumerate(left[first :: options.workers] for first in range(options.workers))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report(read(log))


if __name__ == "__main__":
    main()
