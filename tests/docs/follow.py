"""Follow the pages word for word, as a new user would.

    .venv/bin/python tests/docs/follow.py    README.md and docs/understanding.md, with this Python
    python tests/docs/follow.py --all        all pages except docs/scale.md, in a new environment

The script copies the checkout to a new folder, sets HOME to an empty one, and runs every line of
the blocks of shell commands in the order of the pages. It makes the files that a reader must bring.
It prints every command, and changes some:

- The program of docs/search.md searches for a few seconds.
- A server is stopped with Ctrl-C after a while.
- The tests, downloads and commands that change the user's shell are left out.

Without --all, and on the pages after the first two, a training takes a few steps, unless the
command sets its length or continues a run. Without --all, mytext.txt is short, and the lines that
make and activate an environment are left out.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "docs/understanding.md")
SEARCH = "docs/search.md"
MORE_PAGES = ("docs/recipes.md", "docs/export.md", "docs/serving.md", SEARCH)
BROUGHT = """cp mytext.txt tinyshakespeare.txt && charlm train mytext.txt -c tiny -r runs/mine &&
charlm export runs/mine --format c --out c && cp c/*.[ch] c/model.bin ."""
"""What the reader of these has."""
ENVIRONMENT = ("python3 -m venv .venv", ". .venv/bin/activate")
CHARACTERS, FEW_CHARACTERS = 30_000, 3000
FEW_STEPS = " -s training.steps=20"
LEFT_OUT = (
    "curl",
    "pytest",
    ".bashrc",
    *(() if Path("/usr/share/man/man3").is_dir() else ("man3",)),
)
SERVERS = ("charlm serve", "charlm tensorboard")
LENGTH = re.compile(r"training\.(steps|epochs)=|--epochs |--resume")
SERVING_SECONDS = 20


def short_search(program: str) -> str:
    """Return the program of docs/search.md with two trials of a few seconds."""
    return program.replace("TRIALS = 20", "TRIALS = 2").replace("MINUTES = 3 ", "MINUTES = 0.1 ")


def shell_lines(page: str) -> Iterator[str]:
    """Yield the shell commands of a page, with continued lines joined."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        yield from filter(None, block.replace("\\\n", " ").splitlines())


def run(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a line in a shell; end the program if it fails."""
    started = time.monotonic()
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
    }
    shell = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(shell, cwd=folder, env=environment, text=True, check=False, **pipes)
    print(f"{time.monotonic() - started:6.1f} s  {command}", flush=True)
    if done.returncode:
        sys.exit(f"{command}\nended with exit code {done.returncode}:\n{done.stdout}")


def left_out(folder: str, names: list[str]) -> list[str]:
    """Return the names in a folder that are not copied: hidden files, caches and outputs."""
    made = ("runs", "dist", "build") if Path(folder) == ROOT else ()
    return [name for name in names if name.startswith(".") or name in (*made, "__pycache__")]


def main() -> None:
    """Follow the pages; exit code 1 names the first line that fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--all", action="store_true", help="every line as it is, in a new environment"
    )
    is_whole = parser.parse_args().all
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell in the background ignores it; servers inherit it
    with tempfile.TemporaryDirectory() as folder:
        tree, home = Path(folder) / "charlm", Path(folder) / "home"
        shutil.copytree(ROOT, tree, ignore=left_out)
        home.mkdir()
        text = (tree / "data" / "river_plays.txt").read_text(encoding="utf-8")
        (tree / "mytext.txt").write_text(
            text[: CHARACTERS if is_whole else FEW_CHARACTERS], encoding="utf-8"
        )
        programs = tree / ".venv/bin" if is_whole else Path(sys.prefix) / "bin"
        environment = {**os.environ, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
        for page in PAGES + MORE_PAGES if is_whole else PAGES:
            print(page, flush=True)
            if page == MORE_PAGES[0]:
                run(BROUGHT, tree, environment)
            is_long = is_whole and page in PAGES
            content = (tree / page).read_text(encoding="utf-8")
            if page == SEARCH:
                (program,) = re.findall(
                    r"^```python\n(.*?)^```$", content, re.MULTILINE | re.DOTALL
                )
                (tree / "search.py").write_text(short_search(program), encoding="utf-8")
            for line in shell_lines(content):
                _follow(
                    line.split("  #")[0].strip(),
                    tree,
                    environment,
                    is_whole=is_whole,
                    is_long=is_long,
                )


def _follow(
    command: str, tree: Path, environment: dict[str, str], *, is_whole: bool, is_long: bool
) -> None:
    if any(part in command for part in LEFT_OUT) or (
        command.startswith(ENVIRONMENT) and not is_whole
    ):
        print(f"left out  {command}", flush=True)
    elif command.startswith(SERVERS):
        run(f"timeout -k 60 -s INT {SERVING_SECONDS} {command} || [ $? = 124 ]", tree, environment)
    else:
        has_length = not command.startswith("charlm train") or LENGTH.search(command)
        command += "" if is_long or has_length else FEW_STEPS
        run(command, tree, environment)
        if command.startswith(ENVIRONMENT[0]):
            run(".venv/bin/pip install --quiet '.[serve,onnx]'", tree, environment)


if __name__ == "__main__":
    main()
