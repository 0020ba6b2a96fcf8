"""Hostile inputs: settings, arguments, journals, libraries, compilers, exports and environments.

`attack.py` gives each to a command or a function, in a folder work/ that `make_work` has filled.
"""

import itertools
import json
import os
import random
import resource
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from commands import charlm
from fake_engine import Faults
from fake_runs import TEXT, begin, resume
from faults.attacks import Attack
from faults.wrong_values import DEEP, VALUES, YAML_VALUES
from processes import run_process
from tuning.searches import SearchFolder

from charlm.config.file import flatten, nest
from charlm.config.schema import Config
from charlm.engine import compiler
from charlm.engine.cluster import cluster_of_environment, parse_cluster
from charlm.engine.kernel import Kernel, Network, load_kernel, settle_kernel
from charlm.serving.guard import check_allowed, usable_key
from charlm.storage.atomic import sha256
from charlm.tuning.space import load_space

RUN_C = Path(compiler.__file__).parents[1] / "formats/files/run.c"
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
JOURNAL = "search/out/study.journal"


def make_work(work: Path, run: Path) -> None:
    """Fill work/: a text, a search, an exported model with the program that reads it, and the cached library."""
    for name in ("tmp", "search"):
        (work / name).mkdir(parents=True)
    (work / "text.txt").write_text(TEXT, encoding="utf-8")
    SearchFolder(work / "search").run(trials=2)
    done = charlm("export", run, "--format", "c", "--out", work / "c")
    assert done.exit_code == 0, done.stderr
    subprocess.run(["cc", *SANITIZED, RUN_C, "-lm", "-o", work / "run_c"], check=True)
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(work / "cache")}):
        compiler.open_library(Kernel, say=lambda _: None)


def hostile_inputs(work: Path) -> Iterator[Attack]:
    """Yield all of them, for the folder that `make_work` has filled."""
    yield from _settings()
    yield from _arguments()
    yield from _journals((work / JOURNAL).read_bytes())
    yield from _libraries(work)
    yield from _compilers()
    yield from _models((work / "c/model.bin").read_bytes())
    yield from _environments()


def _nothing(_work: Path) -> None:
    pass


def _hostile(kind: str, what: str, step: Callable[[], object], apply: Callable[[Path], object] = _nothing) -> Attack:
    return Attack(f"hostile {kind}", kind, what[:300], apply, step=step)


def _write(name: str, data: bytes, work: Path) -> None:
    (work / name).write_bytes(data)


def _set(variables: Mapping[str, str | None]) -> None:
    """Set variables of the environment for the rest of this process; None = without it."""
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


# Settings

KEYS = (
    *("str", "function-after", "dict[str,any]", "[key]", "training.str", "model.rnn.function-after", "model.layers.x"),
    *("training.optimizer.dict[str,any]", "training.optimizer.beta_9", ".", "a..b", "", "model"),
    *("x" * 5000, "\x1b[31m"),
)
MORE_VALUES = ("9007199254740993", "1e300", "1e-46", "*a", "&a [*a, *a]", "{a: {b: 1}}", "[1, [2]]", "1_0", "=", "'")


def _settings() -> Iterator[Attack]:
    """Yield values of settings in -s, in a recipe and in a space; what is taken is then trained with, for a step."""
    values = {name: value for name, value in {**VALUES, **YAML_VALUES}.items() if name != DEEP}
    values |= {value: value for value in MORE_VALUES}
    for key, (name, value) in itertools.product([*flatten(Config()), *KEYS], values.items()):
        text = yaml.safe_dump(nest([(key, "HERE")])).replace("HERE", value)
        found = {"-s": (partial(_train_with, f"{key}={value}"), ""), "recipe": (partial(_show, "wrong.yaml"), text)}
        space = partial(load_space, Path("wrong.yaml"))
        found["space"] = space, f"search:\n  ? {json.dumps(key)}\n  : categorical: [{value}]\n"
        found["fixed"] = space, f"fixed: {{{json.dumps(key)}: {value}}}\n"
        for way, (step, contents) in found.items():
            data = contents.encode("utf-8", "replace")
            yield _hostile("setting", f"{way} {key}: {name}", step, partial(_write, "wrong.yaml", data))


def _show(*arguments: str) -> Any:
    return charlm("config", "show", *arguments)


def _train_with(override: str) -> Any:
    shown = _show("tiny", "-s", override)
    if shown.exit_code == 0:
        begin(Path("new"), override, text=Path("text.txt"))
        resume(Path("new"), faults=Faults(after_call=lambda _: signal.raise_signal(signal.SIGINT)))
    return shown


# Arguments

PLACES = (
    *(".", "..", "''", "text.txt", "missing", "missing/deep", "/dev/null", "/", "~", "c", "search", "search/out"),
    *("loop", "text.txt/x", "x" * 240, "é" * 120, "x" * 300, "a\udcffb", "'red\x1b[31m'", "'a\nb'", "gone", "-x"),
    "../run/corpus",
)
LINES = """
sample {}|evaluate {}|evaluate {} text.txt --unknown skip|runs {}|inspect {} --json|export {} --format c --out out
export ../run --format c --out {}|export ../run --format html --out {}|tokenize {} --out out|tokenize text.txt --out {}
evaluate ../run text.txt --unknown skip --surprise {}|inspect ../run --out {}|evaluate ../run {} --unknown skip
config show {}|train --resume -r {} -s model.unit=3|train text.txt --init {} -s model.unit=3|tensorboard {} missing
train text.txt -c {} -s model.unit=3|plan text.txt -c {} -s model.unit=3|inspect ../run --text {} --json|serve {} x
""".strip().replace("\n", "|")
NUMBERS = ("-1", "0", "0.5", "1e400", "nan", "-inf", "9" * 30, "9" * 5000, "1e-46", "''", "x", "1_0", "' 1'", "٣")
OPTIONS = (
    *(f"sample ../run -n 3 {option} {{}}" for option in ("-t", "--top-k", "--top-p", "--min-p", "--seed")),
    *("evaluate ../run --protocol windows --window {}", "tune space --minutes {} --trials x"),
    *("serve missing --port {}", "serve missing --max-tokens {}"),
    *("train missing --minutes {}", "train missing --cluster a:1,b:2 --task {}"),
)


def _arguments() -> Iterator[Attack]:
    for line, place in itertools.product(LINES.split("|"), PLACES):
        yield _hostile("argument", line.replace("{}", place), partial(_run_line, line, place), _make_strange)
    for line, number in itertools.product(OPTIONS, NUMBERS):
        yield _hostile("argument", line.replace("{}", number), partial(_run_line, line, number))
    for line in ("runs", "sample ../run", "tokenize text.txt --out out", "config show tiny", "train x", "info"):
        yield _hostile("argument", f"{line}, in a deleted folder", partial(_run_line, line, deleted=True))


def _make_strange(work: Path) -> None:
    (work / "loop").symlink_to("loop")
    (work / "gone").symlink_to("nowhere")
    (work / "a\udcffb").write_text("abc" * 20)


def _run_line(line: str, word: str = "", *, deleted: bool = False, columns: str | None = None) -> Any:
    if deleted:
        Path("deleted").mkdir()
        os.chdir("deleted")
        Path("../deleted").rmdir()
    _set({"COLUMNS": columns})
    return charlm(*shlex.split(line.replace("{}", word)))


# Journals, libraries, exports


def _damages(data: bytes, *, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield data that is cut, overwritten or shifted at random places."""
    rng = random.Random(seed)
    for _ in range(count):
        at, size = rng.randrange(len(data)), rng.choice((1, 8, 200))
        yield f"cut at {at:,}", data[:at]
        for name, new in (("zeros", bytes(size)), ("garbage", rng.randbytes(size)), ("nothing", b"")):
            yield f"{size} bytes at {at:,} are {name}", data[:at] + new + data[at + size :]
    yield from (("empty", b""), ("zeros", bytes(len(data))), ("twice", data + data), ("text", b"To be\n"))


def _journals(journal: bytes) -> Iterator[Attack]:
    damaged = [*_damages(journal, seed=0, count=25)]
    ends = [at + 1 for at, byte in enumerate(journal) if byte == ord("\n")]
    damaged += [(f"cut in record {number}", journal[: end - 1 - (number % 7)]) for number, end in enumerate(ends, 1)]
    damaged += [(f"{number} records", journal[:end]) for number, end in enumerate(ends, 1)]
    for name, data in damaged:
        yield _hostile("journal", name, _search, partial(_write, JOURNAL, data))
    for where in ("study.journal", "nowhere", "study.journal.lock"):
        yield _hostile("journal", f"a lock to {where}", _search, partial(_link, f"{JOURNAL}.lock", where))


def _search() -> None:
    SearchFolder(Path("search").absolute()).run(trials=3)


def _link(name: str, target: str, work: Path) -> None:
    (work / name).unlink(missing_ok=True)
    (work / name).symlink_to(target)


def _libraries(work: Path) -> Iterator[Attack]:
    library = next((work / "cache/charlm").glob("*.so"))
    name, digest = (str(path.relative_to(work)) for path in (library, library.with_suffix(compiler.DIGEST)))
    other = next(Path(np.__file__).parent.rglob("*.so")).read_bytes()
    changes: dict[str, Callable[[Path], object]] = {
        "is another library": partial(_write, name, other),
        "is another library, with its digest": partial(_write_both, {name: other, digest: sha256(other).encode()}),
        "is a link": partial(_link, name, "/etc/passwd"),
        "is a folder": partial(_make_folder, name),
        "has no digest": lambda work: (work / digest).unlink(),
        "has a folder as its digest": partial(_make_folder, digest),
        "is in a folder that cannot be written": lambda work: (work / name).parent.chmod(0o500),
        "is in a folder that others can write": lambda work: (work / name).parent.chmod(0o777),
    }
    changes |= {f"digest: {what}": partial(_write, digest, data) for what, data in _damages(b"0" * 64, seed=4, count=2)}
    changes |= {what: partial(_write, name, data) for what, data in _damages(library.read_bytes(), seed=1, count=8)}
    for change, apply in changes.items():
        yield _hostile("library", change, partial(_use_kernel, {"CC": None}), apply)


def _write_both(files: Mapping[str, bytes], work: Path) -> None:
    for name, data in files.items():
        _write(name, data, work)


def _make_folder(name: str, work: Path) -> None:
    (work / name).unlink()
    (work / name).mkdir()


def _use_kernel(variables: Mapping[str, str | None], seconds: float = 20) -> None:
    """Settle a training, and let the kernel compute a window as NumPy does."""
    compiler.COMPILE_SECONDS = seconds  # type: ignore[assignment]
    _set({"XDG_CACHE_HOME": str(Path("cache").absolute()), **variables})
    if settle_kernel(Config(), say=lambda _: None).training.kernel == "compiled":
        network = Network(1, 3, 2, "linear", skip_connections=False, bfloat16=False)
        weights = [np.ones((2, 3)), np.eye(3), np.zeros((3, 2)), np.zeros(2)]
        arrays, kernel = [weight.astype(np.float32) for weight in weights], load_kernel()
        window, state = np.zeros((4, 2), np.int32), np.ones((1, 2, 3), np.float32)
        last, _ = kernel.gradient(network, arrays, kernel.pack(network, arrays), window=window, state=state)
        assert (last == 4).all(), last


COMPILERS = {
    "hangs": "#!/bin/sh\nsleep 60 & sleep 60\n",
    "fails": "#!/bin/sh\necho 'error: \x1b[31m' >&2; exit 1\n",
    "writes garbage": '#!/bin/sh\nfor last; do :; done; echo "$@"; head -c 100000 /dev/urandom | tee kernel.so >&2\n',
    "makes no library": "#!/bin/sh\nwhile [ $1 != -o ]; do shift; done; echo no library > $2\n",
    "makes a folder": "#!/bin/sh\nwhile [ $1 != -o ]; do shift; done; mkdir $2\n",
    "is killed": "#!/bin/sh\nkill -9 $$\n",
    "is no program": "no program\n",
    "says nothing": "#!/bin/sh\nexit 0\n",
}
FLAGS = ("'", '"', "\\", "-fvisibility=hidden", "-march=x86-64", "-march=nonsense", "-O9 -o x", "-c", "@x", "\x1b")
COMMANDS = ("", " ", "'", "missing", "cc -x", "/", ".", "-", "\x1b[31m", "x" * 5000)
FOLDERS = (None, "", "/dev/null", "relative", "text.txt")


def _compilers() -> Iterator[Attack]:
    for name, script in COMPILERS.items():
        step = partial(_use_kernel, {"CC": "./compiler"}, 1)
        yield _hostile("compiler", name, step, partial(_write_program, "compiler", script.encode()))
    cases: list[dict[str, str | None]] = [{"CHARLM_CFLAGS": flags} for flags in (*FLAGS, "-DX=1 " * 30_000)]
    cases += [{"CC": command} for command in COMMANDS]
    for variable, folder in itertools.product(("HOME", "XDG_CACHE_HOME", "PATH"), FOLDERS):
        cases.append({"XDG_CACHE_HOME": None, "HOME": "home", variable: folder})
    for case in cases:
        yield _hostile("compiler", str(case), partial(_use_kernel, case))


def _write_program(name: str, data: bytes, work: Path) -> None:
    _write(name, data, work)
    (work / name).chmod(0o755)


PROMPTS = (b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xff", b"\xf5\x80\x80\x80", b"a\xc3", b"a" * 100_000, b"")
SIZES = (-(2**31), -1, 0, 1, 2, 3, 65535, 2**21, 2**31 - 1)


def _models(model: bytes) -> Iterator[Attack]:
    damaged = [*_damages(model, seed=2, count=40), *_damages(model[:100], seed=3, count=5)]
    for at, size in itertools.product(range(8, 48, 4), SIZES):
        new = size.to_bytes(4, "little", signed=True)
        damaged.append((f"the size at {at} is {size}", model[:at] + new + model[at + 4 :]))
    for name, data in damaged:
        yield _hostile("model.bin", name, partial(_run_program, b"ab"), partial(_write, "c/model.bin", data))
    for prompt in PROMPTS:
        yield _hostile("model.bin", f"prompt {prompt[:9]!r}", partial(_run_program, prompt))


def _run_program(prompt: bytes) -> Any:
    """Run the C program; the sanitizers need more addresses than an attack has."""
    free = partial(resource.setrlimit, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    command: list[str | bytes] = ["./run_c", "c/model.bin", prompt, "5", "1", "0", "3"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", preexec_fn=free, check=False)
    return done if done.returncode == 0 else (done.returncode, f"charlm: {done.stderr}")


# Environments

ADDRESSES = (
    *("", ",", "a", "a:0", "a:99999", "a:1,a:1", "[::1]:1,b:2", "[::1:1", "a:1,b:2\n", "é:1,b:2"),
    *("a:" + "9" * 5000, "\x1b:1"),
)
TF_CONFIGS = (
    *("VALUE", '{"cluster": {"worker": ["a:1"]}, "task": VALUE}'),
    '{"cluster": VALUE, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": VALUE}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": VALUE}}',
)


KEY_WORDS = ("", " ", " a", "a ", "é", "a\nb", "\udcff", "\x7f", "x" * 100_000, "a:1", "*", ".", "a..b", "[::1]")
SHORT_LINES = ("runs ../run", "train --help", "config list", "sample ../run -n 5", "evaluate ../run", "info")
LOCALES: tuple[dict[str, str], ...] = ({"LANG": "C", "LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"TERM": ""})


def _environments() -> Iterator[Attack]:
    for text, (name, value) in itertools.product(TF_CONFIGS, VALUES.items()):
        step = partial(cluster_of_environment, {"TF_CONFIG": text.replace("VALUE", value)})
        yield _hostile("environment", f"TF_CONFIG {text}: {name}", step)
    for addresses, task in itertools.product(ADDRESSES, (None, -1, 0, 1, 10**30)):
        yield _hostile("environment", f"--cluster {addresses} {task}", partial(parse_cluster, addresses, task))
    for word in KEY_WORDS:
        yield _hostile("environment", f"key {word!r}", partial(usable_key, word))
        yield _hostile("environment", f"--allow-host {word!r}", partial(check_allowed, word))
    for line, columns in itertools.product(SHORT_LINES, ("0", "-5", "1", "x", "9" * 30, "")):
        yield _hostile("environment", f"COLUMNS={columns} {line}", partial(_run_line, line, columns=columns))
    for line, variables in itertools.product(SHORT_LINES, LOCALES):
        yield _hostile("environment", f"{variables} {line}", partial(_start_with, variables, line))


def _start_with(variables: Mapping[str, str], line: str) -> Any:
    return run_process(*line.split(), variables=variables)
