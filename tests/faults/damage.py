"""Damage every byte of a small bundle and of a small checkpoint, one at a time, and see what becomes of it.

    python tests/faults/damage.py                  all of it, a minute or so
    python tests/faults/damage.py --sample 300

A damaged bundle is refused in a line that names the file, or is read as what it was (a space more or less in
model.json). Of two checkpoints of which the newer is damaged, the older is restored, and that is said, or the
newer as it was. Anything else fails.
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from charlm import bundle as bundles
from charlm.bundle import Architecture, Bundle, read_bundle, write_bundle
from charlm.choice import Choice
from charlm.config import Config
from charlm.config_file import dump_config
from charlm.errors import CharlmError
from charlm.rnn import parameters_from_tensors
from charlm.sampling import generate_text
from charlm.training import checkpoints
from charlm.training.checkpoints import Progress
from charlm.vocabulary import Vocabulary


def _flip(bits: int) -> Callable[[bytes, int], bytes]:
    return lambda data, at: data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


KINDS: dict[str, Callable[[bytes, int], bytes]] = {
    "lowest bit flipped": _flip(0x01),
    "case flipped": _flip(0x20),
    "highest bit flipped": _flip(0x80),
    "all bits flipped": _flip(0xFF),
    "byte left out": lambda data, at: data[:at] + data[at + 1 :],
    "cut off from here": lambda data, at: data[:at],
}


@dataclass(frozen=True)
class Damage:
    """What happens to one byte of one file."""

    file: Path
    position: int
    kind: str

    def outcome(self, look: Callable[[], str]) -> str:
        """Return what `look` says of the damaged file, which is then whole again."""
        whole = self.file.read_bytes()
        self.file.write_bytes(KINDS[self.kind](whole, self.position))
        try:
            return look()
        finally:
            self.file.write_bytes(whole)


def damages(folder: Path) -> list[Damage]:
    """Return every damage to every byte of the files of a folder."""
    return [
        Damage(file, position, kind)
        for file in sorted(folder.iterdir())
        for position in range(file.stat().st_size)
        for kind in KINDS
    ]


def make_bundle(folder: Path) -> Callable[[], str]:
    """Write a small bundle; return the function that tells whether it is refused or as it was."""
    architecture = Architecture(4, 1, 3, 2, True, "relu6", False)
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in architecture.shapes().items()
    }
    parameters = parameters_from_tensors(tensors, activation="relu6", skip_connections=False)
    vocabulary = Vocabulary("char", ("\n", "a", "é", None), end_of_text_id=3)
    facts = {"step": 7, "epoch": 1.5, "score": {"split": "validation", "nats_per_char": 1.25}}
    write_bundle(folder, Bundle(architecture, parameters, vocabulary, dump_config(Config()), facts))
    whole = _everything(read_bundle(folder))

    def look() -> str:
        try:
            found = read_bundle(folder)
        except CharlmError as error:
            _check_message(str(error), folder)
            return "refused"
        assert _everything(found) == whole, "read as something else"
        return "as it was"

    return look


def _everything(bundle: Bundle) -> Any:
    """Return all that a bundle holds, and the text that it writes."""
    generation = generate_text(bundle, length=20, choice=Choice(temperature=0), seed=0, ignore_end=True)
    for _ in generation:
        pass
    tensors = {name: tensor.tobytes() for name, tensor in bundle.parameters.tensors().items()}
    facts = (bundle.architecture, bundle.vocabulary, bundle.config, bundle.facts)
    return facts, tensors, generation.samples[0].text


def make_checkpoints(folder: Path) -> Callable[[], str]:
    """Write two small checkpoints; return the function that tells which is restored."""
    rng = np.random.default_rng(0)
    saved = {}
    for step in (1, 2):
        tensors = {"model.0": rng.standard_normal((2, 3)).astype(np.float32), "seed": np.array([step, 5])}
        progress = Progress(step=step, seconds=0.1 * step, best_nats=1 / 3, pending_losses=[1.5, 2.5])
        sizes = {"metrics.jsonl": 100 * step}
        checkpoints.save(folder, tensors, progress, sizes)
        saved[step] = ({name: tensor.tobytes() for name, tensor in tensors.items()}, progress, sizes)

    def look() -> str:
        warnings: list[str] = []
        tensors, progress, sizes = checkpoints.restore(folder, warn=warnings.append)
        found = ({name: tensor.tobytes() for name, tensor in tensors.items()}, progress, sizes)
        assert found == saved[progress.step], "restored as something else"
        assert len(warnings) == 2 - progress.step, f"warnings: {warnings}"
        for warning in warnings:
            _check_message(warning, folder)
        return "refused" if warnings else "as it was"

    return look


def _check_message(message: str, folder: Path) -> None:
    assert message.startswith(str(folder)), f"does not name the file: {message}"
    assert message.isprintable(), f"not one line: {message!r}"
    assert len(message) < 1000, f"long: {message}"


def run(sample: int | None, *, seed: int = 0) -> Iterator[tuple[Damage, str]]:
    """Do all damages, or a seeded sample of so many, one at a time; yield each with its outcome.

    An outcome other than refused or as it was raises AssertionError, or whatever the reader raised.
    """
    with TemporaryDirectory() as place:
        parts = {Path(place) / "bundle": make_bundle, Path(place) / "checkpoints": make_checkpoints}
        looks = {folder: make(folder) for folder, make in parts.items()}
        newest = Path(place) / "checkpoints/step-000000002"
        cases = [
            (damage, looks[folder.parent if folder == newest else folder])
            for folder in (Path(place) / "bundle", newest)
            for damage in damages(folder)
        ]
        chosen = cases if sample is None else random.Random(seed).sample(cases, sample)
        for damage, look in chosen:
            try:
                yield damage, damage.outcome(look)
            except Exception as error:
                error.add_note(f"{damage.file.name}, byte {damage.position}: {damage.kind}")
                raise


def main() -> None:
    """Print how many damages of each file were refused, and how many did not matter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many of the damages, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bundles.READ_ATTEMPTS = 1  # the damage is for good
    outcomes = Counter((d.file.name, outcome) for d, outcome in run(options.sample, seed=options.seed))
    print(f"{'file':22}{'refused':>10}{'as it was':>10}")
    for name in sorted({name for name, _ in outcomes}):
        print(f"{name:22}{outcomes[name, 'refused']:10,}{outcomes[name, 'as it was']:10,}")
    print(f"{outcomes.total():,} damages, none unnoticed")


if __name__ == "__main__":
    main()
