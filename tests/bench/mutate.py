"""Find changes of charlm that the tests do not notice, by mutation testing.

    .venv/bin/pip install coverage
    PYTHONPATH=tests .venv/bin/python -m bench.mutate --seed 1 --count 200

A mutation changes one line. The script runs the tests that execute this line; a mutation survives
if they all pass. It prints the survivors, and their share for each folder, and fails if there is a
survivor that accepted.yaml does not list. Its files are in build/mutations/COMMIT: a copy of the
committed tree, the lines that each test executes (recorded once, which takes a few minutes), and a
line of JSON for each mutation. A stopped run continues from there.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pytest
import yaml
from bench.mutations import Mutation, draw

ACCEPTED = Path(__file__).with_name("accepted.yaml")
SUFFIXES = {".py", ".c", ".h", ".js"}
LIMIT_SECONDS = 300
"""Tests that take longer hang."""
NO_TESTS = 5
"""What pytest returns if it has run none."""
MANY_TESTS = 200
"""More tests than this are run as whole modules, because pytest needs long to find each."""
PYTEST = ("-p", "no:cacheprovider", "--tb=no", "-n0", "--import-mode=importlib")
ALSO_SLOW = ("-m", "not nightly")
Record = dict[str, dict[int, list[str]]]
"""Which tests execute each line of each file."""
FORK = multiprocessing.get_context("fork")
"""A mutation is tried in a fork of a process that has imported TensorFlow and nothing of charlm."""
TESTS_OF_ASSETS = {
    "charlm/engine/*": ["tests/engine"],
    "charlm/formats/files/*.[ch]": [
        *ALSO_SLOW,
        "tests/formats/test_c_library.py",
        "tests/formats/test_c.py",
    ],
    "charlm/formats/files/*.js": ["tests/formats"],
    "charlm/inspection/assets/*.js": ["tests/inspection"],
    "charlm/api/*.js": ["tests/api/test_viewer.py", "tests/inspection", "tests/formats"],
}
"""The arguments of pytest for files in C and JavaScript."""


class Accepted(NamedTuple):
    """A survivor that needs no test."""

    file: str
    code: str
    """The line before the change, without indentation."""
    before: str | None = None
    """What is changed in the line; None = anything."""
    after: str | None = None


def unpack(repository: Path, tree: Path) -> None:
    """Copy the committed tree without compiled files, which can hide a change."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=repository, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(["tar", "-x"], cwd=tree, input=archive, check=True)


COVERAGE_SETTINGS = """
[run]
include = charlm/*
dynamic_context = test_function
parallel = true
patch = subprocess
context = ${PYTEST_CURRENT_TEST-}
"""
"""In a process that a test starts, the static context is the name of the test."""


def record(tree: Path, record: Path) -> Record:
    """Run the tests of a tree and record what they execute; or find what was recorded before."""
    import coverage

    if not record.exists():
        settings = tree / "coverage.ini"
        settings.write_text(COVERAGE_SETTINGS, encoding="utf-8")
        tool = [sys.executable, "-m", "coverage"]
        data_file = f"--data-file={record}"
        commands = [
            [*tool, "run", f"--rcfile={settings}", data_file, "-m", "pytest", *PYTEST],
            [*tool, "combine", "--quiet", data_file, str(record.parent)],
        ]
        for command in commands:
            subprocess.run(command, cwd=tree, stdout=sys.stderr, check=False)
    data = coverage.CoverageData(str(record))
    data.read()
    recorded: Record = {}
    for file in data.measured_files():
        lines = data.contexts_by_lineno(file)
        name = file.rpartition(f"/{tree.name}/")[2]  # the checkout may have been moved
        recorded[name] = {line: [*map(name_of_test, contexts)] for line, contexts in lines.items()}
    return recorded


def name_of_test(context: str) -> str:
    """Return the name of a test as pytest writes it, or "" if no test was running.

    Args:
        context: Of a process that a test started, "tests/test_a.py::test_b[1] (call)"; otherwise
            "tests.test_a.test_b"; or both, separated by "|".

    """
    static, _, dynamic = context.rpartition("|")
    name = static or dynamic
    if "::" in name:
        return name.partition("[")[0].partition(" ")[0]
    module, _, test = name.rpartition(".")
    return f"{module.replace('.', '/')}.py::{test}" if module else ""


def folder_of(mutation: Mutation, tree: Path) -> str:
    """Return the folder with the tests of a package, or all tests."""
    folder = f"tests/{PurePath(mutation.file).parent.name}"
    return folder if (tree / folder).is_dir() else "tests"


def arguments_of(
    mutation: Mutation,
    record: Record,
    tree: Path,
) -> list[str]:
    """Return the tests of a mutation: those that execute its line, or else those of its folder."""
    for pattern, arguments in TESTS_OF_ASSETS.items():
        if PurePath(mutation.file).match(pattern) and not mutation.file.endswith(".py"):
            return arguments
    folder = folder_of(mutation, tree)
    tests: set[str] = set()
    for file, line in mutation.places:
        tests.update(record.get(file, {}).get(line, ()))
    tests.discard("")
    if len(tests) > MANY_TESTS:
        tests = {test.partition("::")[0] for test in tests}
    nearest_first = sorted(tests, key=lambda test: (not test.startswith(f"{folder}/"), test))
    return nearest_first or [folder]


def work(
    repository: Path, tree: Path, mutations: list[Mutation], log: Path, record: Record
) -> None:
    """Try mutations in a copy of the tree, and log for each whether its tests pass."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a changed line may send them to this process
        signal.signal(number, signal.SIG_IGN)
    unpack(repository, tree)
    for mutation in mutations:
        path = tree / mutation.file
        tests = arguments_of(mutation, record, tree)
        source = path.read_bytes()
        path.write_bytes(mutation.apply(source))
        survived = passes(tree, tests)
        folder = folder_of(mutation, tree)
        if (
            survived and folder not in tests
        ):  # a fixture may have executed the line for an earlier test
            survived = passes(tree, [folder])
        path.write_bytes(source)
        with log.open("a") as file:
            file.write(
                json.dumps({"mutation": mutation, "survived": survived, "tests": len(tests)}) + "\n"
            )


def passes(tree: Path, tests: list[str]) -> bool:
    """Return whether tests pass in a process of their own."""
    process = FORK.Process(target=run_pytest, args=(tree, tests))
    process.start()
    process.join(LIMIT_SECONDS)
    passed = process.exitcode in {0, NO_TESTS}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return passed


def run_pytest(tree: Path, tests: list[str]) -> None:
    """Run tests in a new process until one fails; their output goes to a file next to the tree."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
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
    if not log.exists():
        return {}
    results = {}
    for line in log.read_text().splitlines():
        result = json.loads(line)
        *fields, places = result["mutation"]
        mutation = Mutation._make([*fields, tuple(map(tuple, places))])
        results[mutation] = result
    return results


def read_accepted(path: Path) -> dict[Accepted, str]:
    """Return the accepted survivors with their reasons."""
    accepted = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")) or []:
        reason = entry.pop("reason")
        accepted[Accepted(**entry)] = reason
    return accepted


def report(results: dict[Mutation, dict[str, Any]], accepted: dict[Accepted, str]) -> int:
    """Print the survivors, and their share by folder.

    Returns:
        The number of survivors that are not accepted.

    """
    folders = collections.defaultdict[str, list[bool]](list)
    new = 0
    for mutation, result in results.items():
        for folder in (str(PurePath(mutation.file).parent), "all"):
            folders[folder].append(result["survived"])
        if not result["survived"]:
            continue
        change = Accepted(mutation.file, mutation.code, mutation.before, mutation.after)
        reason = accepted.get(change) or accepted.get(Accepted(mutation.file, mutation.code))
        new += reason is None
        before = " ".join(mutation.before.split())
        after = " ".join(mutation.after.split())
        end = f"accepted: {reason}" if reason else f"{result['tests']} tests"
        print(f"{mutation.file}:{mutation.line}  {before}  ->  {after}  ({end})")
    for folder, survivals in sorted(folders.items()):
        share = sum(survivals) / len(survivals)
        print(f"{folder}: {sum(survivals)} of {len(survivals)} survive, {share:.0%}")
    print(f"survivors that accepted.yaml does not list: {new}")
    return new


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="which mutations are drawn")
    parser.add_argument("--count", type=int, default=200, help="how many mutations")
    parser.add_argument("--workers", type=int, default=2, help="tests are run in as many processes")
    parser.add_argument("--files", default="charlm/**/*", help="which files are changed")
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path(__file__).parents[2],
        help="where charlm is committed",
    )
    options = parser.parse_args()
    repository = options.repository.resolve()
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = repository / "build" / "mutations" / commit
    log = folder / f"seed-{options.seed}.jsonl"
    tree = folder / "tree"
    unpack(repository, tree)
    recorded = record(tree, folder / "record")
    known = read(log)
    drawn = draw(sources_of(tree, options.files), seed=options.seed, count=options.count)
    left = [mutation for mutation in drawn if mutation not in known]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.suppress(ImportError):  # once for all: it takes longer than most tests
        import tensorflow  # noqa: F401
    workers = []
    for number in range(options.workers):
        share = left[number :: options.workers]
        own_tree = folder / f"tree-{number}"
        arguments = (repository, own_tree, share, log, recorded)
        workers.append(FORK.Process(target=work, args=arguments))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if report(read(log), read_accepted(ACCEPTED)):
        sys.exit(1)


def sources_of(tree: Path, pattern: str) -> dict[str, bytes]:
    """Return the files of charlm that can be changed, by their paths in the tree."""
    sources = {}
    for path in sorted(tree.glob(pattern)):
        if path.suffix in SUFFIXES:
            sources[path.relative_to(tree).as_posix()] = path.read_bytes()
    return sources


if __name__ == "__main__":
    main()
