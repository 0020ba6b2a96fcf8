"""`charlm export` and `charlm import`: what they print."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from commands import charlm, check_failure, table

from charlm.formats.torch import to_state_dict
from charlm.network.bundle import Bundle


def test_the_files_and_their_sizes_are_printed(bundle_folder: Path, tmp_path: Path) -> None:
    command = charlm("export", bundle_folder, "--format", "c", "--out", tmp_path / "out")
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("run.c", "model.bin")}
    assert command.stdout == f"{tmp_path}/out: run.c {sizes['run.c']:,} bytes, model.bin {sizes['model.bin']:,} bytes\n"
    assert command.stderr == ""


@pytest.mark.slow
def test_a_check_says_the_largest_difference(bundle_folder: Path, tmp_path: Path) -> None:
    command = charlm("export", bundle_folder, "--format", "html", "--out", tmp_path / "out", "--check")
    assert command.exit_code == 0, command.stderr
    lines = command.stdout.splitlines()
    assert lines[1].startswith("a browser: the largest difference of a logit over 10,000 characters is ")


@pytest.mark.usefixtures("place")
@table("""
export bundle --format c --out bundle          | bundle: exists already; name a new or an empty folder
export bundle --format c --out page.html       | page.html: the format c must be a folder
export nan --format c --out out                | not finite
""")
def test_a_failure_is_explained_in_a_line(line: str, expected: str) -> None:
    before = sorted(Path().rglob("*"))
    check_failure(line, expected)
    assert sorted(Path().rglob("*")) == before


# charlm import


class Harmful:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harmed"),)


@pytest.fixture
def network(bundle: Bundle, place: Path) -> Path:
    """Write networks, good and bad, into the place with the broken files."""
    (place / "network.safetensors").write_bytes(safetensors.numpy.save(to_state_dict(bundle.parameters)))
    (place / "v.json").write_text(bundle.vocabulary.to_json(), encoding="utf-8")
    (place / "small.json").write_text(json.dumps(["a", "b"]), encoding="utf-8")
    for name in ("network.pt", "pickle.safetensors", "pickle.keras"):
        (place / name).write_bytes(pickle.dumps(Harmful()))
    return place


def test_an_import_says_what_it_has_made_and_how_to_use_it(network: Path) -> None:
    command = charlm("import", "network.safetensors", "--vocabulary", "v.json", "--out", "a b")
    assert command.stdout == "a b: 2 x 4 units, 5 ids; write text with: charlm sample 'a b'\n"
    assert charlm("sample", network / "a b", "-n", "5").exit_code == 0


@pytest.mark.usefixtures("network")
@table("""
import missing.keras --vocabulary v.json --out out          | missing.keras: cannot be read: No such file
import network.safetensors --vocabulary small.json --out out | a network of 5 ids; the vocabulary has 2
import network.safetensors --vocabulary v.json --out bundle | bundle: exists already
import network.pt --vocabulary v.json --out out             | network.pt: is a pickle, which can run code
""")
def test_an_import_that_fails_is_a_line_and_changes_nothing(line: str, expected: str) -> None:
    before = sorted(Path().rglob("*"))
    check_failure(line, expected)
    assert sorted(Path().rglob("*")) == before
