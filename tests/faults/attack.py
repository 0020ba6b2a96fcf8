"""Attack copies of a small run in every way, and check what the commands do then.

    PYTHONPATH=tests python tests/faults/attack.py                  every attack, some hours
    PYTHONPATH=tests python tests/faults/attack.py --sample 300
    PYTHONPATH=tests python tests/faults/attack.py --sample 300 --seed 1

Each attack gets a copy of a run that was interrupted, with files beside it that must stay as they are. In a process of
its own, whose time and memory are limited, the run is sampled, evaluated, listed and resumed with the fake engine.
Each of these must be refused in one line, or do what it does with an untouched run; where checksums were made right or
there are none, other results are allowed. A hostile input is given to what reads it in place of this, in work/.
A traceback, a hang, a file touched outside or left behind, and a result that differs without a word are failures.
"""

import argparse
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click.testing
from commands import charlm
from fake_engine import interrupt_after
from fake_runs import resume, train
from faults.attacks import OUTSIDE, Attack, planted_links, replacements
from faults.hostile_inputs import hostile_inputs, make_work
from faults.wrong_values import tensors

from charlm.errors import CharlmError, escape_controls

MAX_SECONDS = 30
MAX_MEMORY_BYTES = 4 << 30
MAX_MESSAGE = 2000
FAILURES = ("traceback", "hang", "outside", "silent", "message")
COMMANDS: dict[str, tuple[str, ...]] = {
    "sample best": ("sample", "run", "-n", "20", "--seed", "1", "-t", "0.7", "--json"),
    "sample last": ("sample", "run", "-n", "20", "--seed", "1", "--checkpoint", "last", "--json"),
    "evaluate": ("evaluate", "run", "--json"),
    "evaluate text": ("evaluate", "run", f"{OUTSIDE}/precious", "--unknown", "skip", "--checkpoint", "last"),
    "runs": ("runs", "run", "--json"),
}
UNSEALED = {"runs": ("metrics.jsonl", "config.yaml", "tensorboard", "corpus")}
"""Files without a checksum that a command shows as they are."""


class Outcome(NamedTuple):
    """What a command did."""

    kind: str
    """refused, unchanged, told, allowed, or one of FAILURES."""
    detail: str


class Result(NamedTuple):
    """What all commands did after an attack."""

    attack: Attack
    outcomes: dict[str, Outcome]
    """By command."""

    @property
    def failures(self) -> dict[str, Outcome]:
        """The outcomes that must not be."""
        return {name: outcome for name, outcome in self.outcomes.items() if outcome.kind in FAILURES}


def make_victim(folder: Path) -> Path:
    """Train a run in folder/run until it is interrupted, and put files beside it and work/; return the run."""
    trained = train(folder, faults=interrupt_after(25))
    outside = folder / OUTSIDE
    shutil.copytree(trained.folder, outside)
    (outside / "precious").write_text("a bed cab ade\n", encoding="utf-8")
    make_work(folder / "work", trained.folder)
    return trained.folder


def attacks(run: Path) -> list[Attack]:
    """Return all attacks on a run, which is not changed."""
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    return [
        *planted_links(names),
        *(attack for name in names for attack in replacements(name)),
        *tensors(run),
        *hostile_inputs(run.with_name("work")),
    ]


def contents(folder: Path, *, but: str) -> dict[str, Any]:
    """Return the kind, contents and time of change of everything in a folder, except in the folder `but`."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] == but:
            continue
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(name)] = (status.st_mode, status.st_mtime_ns if data is not None else None, data)
    return found


def run_commands(folder: Path, attack: Attack | None) -> dict[str, tuple[str, Any]]:
    """Run every command on folder/run, then resume it; or take the step of an attack in folder/work.

    Returns:
        For each refused, done or traceback, and the details.

    """
    os.chdir(folder)
    found: dict[str, tuple[str, Any]] = {}
    commands = {name: partial(_run_command, arguments) for name, arguments in COMMANDS.items()}
    steps: dict[str, Callable[[], tuple[str, Any]]] = {**commands, "resume": partial(_resume, folder / "run")}
    if attack is not None and attack.step is not None:
        os.chdir(folder / "work")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "work/tmp")
        steps = {"hostile": partial(_take, attack.step)}
    for name, step in steps.items():
        try:
            found[name] = step()
        except BaseException:
            found[name] = "traceback", traceback.format_exc()
    return found


def _run_command(arguments: Sequence[str]) -> tuple[str, Any]:
    done = charlm(*arguments)
    if done.exit_code == 0:
        # The sizes and the age of files are what they are.
        return "done", [re.sub(r'"age_seconds": [\d.]+', "", done.stdout), done.stderr]
    return "refused", done.stderr


def _resume(run: Path) -> tuple[str, Any]:
    try:
        trained = resume(run)
    except CharlmError as error:
        return "refused", f"charlm: {error}\n"
    files = {name: data.hex() for name, data in trained.files().items()}
    said = [line for line in trained.said if not line.startswith("step ")]
    return "done", [files, "".join(f"{line}\n" for line in said)]


def _take(step: Callable[[], Any]) -> tuple[str, Any]:
    try:
        done = step()
    except CharlmError as error:
        return "refused", f"charlm: {error}\n"
    code, said = done if isinstance(done, tuple) else (0, "")
    if isinstance(done, subprocess.CompletedProcess):
        code, said = done.returncode, done.stderr
    elif isinstance(done, click.testing.Result):
        code, said = done.exit_code, done.stderr
    if code not in {0, 1, 2} or "Traceback" in said or "Warning" in said or "Sanitizer" in said:
        return "traceback", f"exit code {code}: {said}"
    return ("done", ["", said]) if code == 0 else ("refused", said)


def in_a_process(folder: Path, attack: Attack | None = None) -> dict[str, tuple[str, Any]]:
    """Return `run_commands` of a folder, run in a process with a limit on its time and memory."""
    report = folder / "report.json"
    child = os.fork()
    if not child:
        try:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()  # by tests before
            resource.setrlimit(resource.RLIMIT_AS, (taken + MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MAX_SECONDS)
            report.write_text(json.dumps(run_commands(folder, attack)), encoding="utf-8")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        kind = "hang" if os.WTERMSIG(status) == signal.SIGALRM else "traceback"
        return {"process": (kind, f"ended by signal {os.WTERMSIG(status)}")}
    found: dict[str, tuple[str, Any]] = json.loads(report.read_text(encoding="utf-8"))
    report.unlink()
    return found


def outcome(name: str, found: tuple[str, Any], expected: tuple[str, Any], attack: Attack) -> Outcome:
    """Compare what a command did with what it does on an untouched run."""
    kind, details = found
    if kind in FAILURES:
        return Outcome(kind, details)
    if kind == "refused":
        is_told = details and details.splitlines()[-1].startswith(("charlm: ", "Error: "))
        is_good = is_told and all(
            line == escape_controls(line) and (len(line) < MAX_MESSAGE or line.startswith("Error: "))
            for line in details.split("\n")
        )
        return Outcome("refused" if is_good else "message", details[:MAX_MESSAGE])
    result, said = details
    if result == expected[1][0]:
        return Outcome("unchanged", said)
    if said != expected[1][1]:
        return Outcome("told", said)
    is_allowed = attack.may_differ or attack.file.startswith(UNSEALED.get(name, ("\0",)))
    return Outcome("allowed" if is_allowed else "silent", str(result)[:MAX_MESSAGE])


def run(sample: int | None, *, seed: int = 0) -> Iterator[Result]:
    """Make all attacks or a seeded sample, one at a time.

    Args:
        sample: The number of attacks; None = all.
        seed: The seed of the sample.

    Yields:
        What each command did.

    """
    with tempfile.TemporaryDirectory() as scratch:
        victim = make_victim(Path(scratch) / "victim")
        expected = in_a_process(_copy(victim.parent, Path(scratch) / "untouched"))
        assert all(found == "done" for found, _ in expected.values()), expected
        for attack in draw(attacks(victim), sample, seed=seed):
            folder = _copy(victim.parent, Path(scratch) / "case")
            yield Result(attack, _outcomes(attack, folder, expected))
            shutil.rmtree(folder)


def draw(cases: Sequence[Attack], sample: int | None, *, seed: int) -> list[Attack]:
    """Return a seeded sample, as many of each kind as there are, up to the same number; None = all."""
    kinds: dict[str, list[Attack]] = {}
    for case in random.Random(seed).sample(cases, len(cases)):
        kinds.setdefault(case.kind, []).append(case)
    turns = itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    return [case for turn in turns for case in turn if case is not None][:sample]


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def _outcomes(attack: Attack, folder: Path, expected: dict[str, tuple[str, Any]]) -> dict[str, Outcome]:
    attack.apply(folder / attack.place)
    before = contents(folder, but=attack.place)
    found = in_a_process(folder, attack)
    after = contents(folder, but=attack.place)
    outcomes = {name: outcome(name, one, expected.get(name, one), attack) for name, one in found.items()}
    if after != before:
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        outcomes["files"] = Outcome("outside", ", ".join(changed))
    if attack.step is not None and (left := [*(folder / "work/tmp").iterdir(), *(folder / "work").rglob(".*.tmp")]):
        outcomes["files"] = Outcome("outside", f"left: {', '.join(map(str, left))}")
    return outcomes


def main() -> None:
    """Print the failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="number of attacks, chosen at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    has_failed = False
    for result in run(options.sample, seed=options.seed):
        has_failed |= bool(result.failures)
        for name, found in result.failures.items():
            print(f"{result.attack}\n  {name}: {found.kind}: {found.detail.strip()[-1500:]}", flush=True)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
