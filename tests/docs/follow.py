"""Follow README.md and docs/understanding.md word for word, as a new user would.

    python tests/docs/follow.py

The checkout is copied to a new folder, HOME is an empty one, and every line of the blocks of shell commands is
run in the order of the pages, in the environment that README's first line makes. What a reader must bring is made here:
mytext.txt, 30,000 characters of the plays. Three kinds of lines are run in another way, and the script says which:

- a search that takes an hour is given one minute;
- a command that serves is ended with Ctrl-C as soon as it answers;
- the tests and what changes the user's shell are left out.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "docs/understanding.md")
FIRST_LINE = "python3 -m venv .venv"
CHARACTERS = 30_000
LEFT_OUT = ("curl", "pytest", ".bashrc")
SERVERS = {"charlm serve": "http://127.0.0.1:8000/", "charlm tensorboard": "http://127.0.0.1:6006/"}
LONG = re.compile(r"--minutes 60\b")
ANSWER_SECONDS = 120
"""How long a server may take until it answers."""


def shell_lines(page: str) -> Iterator[str]:
    """Yield the commands of a page: the lines of its blocks of shell commands, continued lines joined."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        yield from filter(None, block.replace("\\\n", " ").splitlines())


def run(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a line in a shell; end the program if it fails."""
    started = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"{time.monotonic() - started:6.1f} s  {command}", flush=True)
    if done.returncode:
        sys.exit(f"{command}\nended with exit code {done.returncode}:\n{done.stdout}")


def serve(command: str, url: str, folder: Path, environment: dict[str, str]) -> None:
    """Start a server, wait until it answers, and end it with Ctrl-C."""
    started = time.monotonic()
    server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdin=subprocess.DEVNULL)
    try:
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > started + ANSWER_SECONDS:
                sys.exit(f"{command}\ndoes not answer at {url}")
            time.sleep(0.2)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=ANSWER_SECONDS)
    print(f"{time.monotonic() - started:6.1f} s  {command} (until it answered)", flush=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False


def left_out(folder: str, names: list[str]) -> list[str]:
    """Return which names in a folder of the checkout are not the project's: hidden ones, caches, and what it made."""
    made = ("runs", "dist", "build") if Path(folder) == ROOT else ()
    return [name for name in names if name.startswith(".") or name in (*made, "__pycache__")]


def main() -> None:
    """Follow the pages; exit code 1 names the first line that fails."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it; servers inherit it
    with tempfile.TemporaryDirectory() as folder:
        tree, home = Path(folder) / "charlm", Path(folder) / "home"
        shutil.copytree(ROOT, tree, ignore=left_out)
        home.mkdir()
        text = (tree / "data" / "river_plays.txt").read_text(encoding="utf-8")
        (tree / "mytext.txt").write_text(text[:CHARACTERS], encoding="utf-8")
        environment = {**os.environ, "HOME": str(home), "PATH": f"{tree}/.venv/bin:{os.environ['PATH']}"}
        for page in PAGES:
            print(page, flush=True)
            for line in shell_lines((tree / page).read_text(encoding="utf-8")):
                _follow(line.split("  #")[0].strip(), tree, environment)


def _follow(command: str, tree: Path, environment: dict[str, str]) -> None:
    if any(part in command for part in LEFT_OUT):
        print(f"left out  {command}", flush=True)
    elif url := SERVERS.get(" ".join(command.split()[:2])):
        serve(command, url, tree, environment)
    else:
        run(LONG.sub("--minutes 1", command), tree, environment)
        if command.startswith(FIRST_LINE):
            run(".venv/bin/pip install --quiet '.[serve,tune,onnx]'", tree, environment)


if __name__ == "__main__":
    main()
