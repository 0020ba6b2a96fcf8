"""Damage every byte of a small bundle and of a small checkpoint, one at a time, and check what is read afterwards.

    python tests/faults/damage.py                  every damage, about a minute
    python tests/faults/damage.py --sample 300

A damaged bundle must be refused with one line that names the file, or be read without a change (an added space in
model.json does not matter). If the newer of two checkpoints is damaged, either the older one must be restored with a
warning, or the newer one without a change. Everything else is a failure.
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

from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.network.rnn import parameters_from_tensors
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.text.vocabulary import Vocabulary
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, Progress


def _flip(bits: int) -> Callable[[bytes, int], bytes]:
    return lambda data, at: data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


KINDS: dict[str, Callable[[bytes, int], bytes]] = {
    "lowest bit flipped": _flip(0x01),
    "case flipped": _flip(0x20),
    "highest bit flipped": _flip(0x80),
    "all bits flipped": _flip(0xFF),
    "byte removed": lambda data, at: data[:at] + data[at + 1 :],
    "cut off at the byte": lambda data, at: data[:at],
}


@dataclass(frozen=True)
class Damage:
    """A damage to one byte of a file."""

    file: Path
    position: int
    kind: str

    def outcome(self, check: Callable[[], str]) -> str:
        """Return the result of `check` on the damaged file, and repair the file."""
        original = self.file.read_bytes()
        self.file.write_bytes(KINDS[self.kind](original, self.position))
        try:
            return check()
        finally:
            self.file.write_bytes(original)


def damages(folder: Path) -> list[Damage]:
    """Return every damage to every byte of the files of a folder."""
    return [
        Damage(file, position, kind)
        for file in sorted(folder.iterdir())
        for position in range(file.stat().st_size)
        for kind in KINDS
    ]


def make_bundle(folder: Path) -> Callable[[], str]:
    """Write a small bundle; return a function that returns whether it is refused or unchanged."""
    architecture = Architecture(4, 1, 3, 2, True, "relu", False)
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in architecture.shapes().items()}
    parameters = parameters_from_tensors(tensors, activation="relu", skip_connections=False)
    vocabulary = Vocabulary("char", ("\n", "a", "é", None), end_of_text_id=3)
    facts = {"step": 7, "epoch": 1.5, "score": {"split": "validation", "nats_per_char": 1.25}}
    write_bundle(folder, Bundle(architecture, parameters, vocabulary, dump_config(Config()), facts))
    original = _everything(read_bundle(folder))

    def check() -> str:
        try:
            found = read_bundle(folder)
        except CharlmError as error:
            _check_message(str(error), folder)
            return "refused"
        assert _everything(found) == original, "read with a change"
        return "unchanged"

    return check


def _everything(bundle: Bundle) -> Any:
    """Return the contents of a bundle and the text that it generates."""
    text = str(generate_text(bundle, TextRequest(20, Sampler(temperature=0), seed=0, ignore_end=True)))
    tensors = {name: tensor.tobytes() for name, tensor in bundle.parameters.tensors().items()}
    facts = (bundle.architecture, bundle.vocabulary, bundle.config, bundle.facts)
    return facts, tensors, text


def make_checkpoints(folder: Path) -> Callable[[], str]:
    """Write two small checkpoints; return a function that returns whether the newer is refused or unchanged."""
    rng = np.random.default_rng(0)
    saved = {}
    for step in (1, 2):
        tensors = {"model.0": rng.standard_normal((2, 3)).astype(np.float32), "seed": np.array([step, 5])}
        progress = Progress(step=step, seconds=0.1 * step, best_nats=1 / 3, pending_losses=[1.5, 2.5])
        sizes = {"metrics.jsonl": 100 * step}
        facts = Facts(versions={}, config=Config(), corpus={}, progress=progress, file_sizes=sizes)
        checkpoints.save(folder, Checkpoint(tensors, facts))
        saved[step] = ({name: tensor.tobytes() for name, tensor in tensors.items()}, progress, sizes)

    def check() -> str:
        warnings: list[str] = []
        kept = checkpoints.restore(folder, warn=warnings.append)
        progress = kept.facts.progress
        found = ({name: tensor.tobytes() for name, tensor in kept.tensors.items()}, progress, kept.facts.file_sizes)
        assert found == saved[progress.step], "restored with a change"
        assert len(warnings) == 2 - progress.step, f"warnings: {warnings}"
        for warning in warnings:
            _check_message(warning, folder)
        return "refused" if warnings else "unchanged"

    return check


def _check_message(message: str, folder: Path) -> None:
    assert message.startswith(str(folder)), f"the file is not named: {message}"
    assert message.isprintable(), f"more than one line: {message!r}"
    assert len(message) < 1000, f"too long: {message}"


def run(sample: int | None, *, seed: int = 0) -> Iterator[tuple[Damage, str]]:
    """Do all damages or a seeded sample, one at a time.

    Args:
        sample: The number of damages; None = all.
        seed: The seed of the sample.

    Yields:
        A damage and its outcome, refused or unchanged.

    Raises:
        AssertionError: the outcome is another one; other errors of the reader are raised as they are.

    """
    with TemporaryDirectory() as scratch:
        bundle, folder = Path(scratch) / "bundle", Path(scratch) / "checkpoints"
        check_bundle, check_checkpoints = make_bundle(bundle), make_checkpoints(folder)
        cases = [
            *((damage, check_bundle) for damage in damages(bundle)),
            *((damage, check_checkpoints) for damage in damages(folder / "step-000000002")),
        ]
        chosen = cases if sample is None else random.Random(seed).sample(cases, sample)
        for damage, check in chosen:
            try:
                yield damage, damage.outcome(check)
            except Exception as error:
                error.add_note(f"{damage.file.name}, byte {damage.position}: {damage.kind}")
                raise


def main() -> None:
    """Print for each file how many damages were refused and how many changed nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="number of damages, chosen at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = Counter((d.file.name, outcome) for d, outcome in run(options.sample, seed=options.seed))
    print(f"{'file':22}{'refused':>10}{'unchanged':>10}")
    for name in sorted({name for name, _ in outcomes}):
        print(f"{name:22}{outcomes[name, 'refused']:10,}{outcomes[name, 'unchanged']:10,}")
    print(f"{outcomes.total():,} damages, all of them noticed or without effect")


if __name__ == "__main__":
    main()
