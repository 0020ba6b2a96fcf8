"""What `charlm sample` writes to standard output, for people and as JSON."""

import json
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from charlm import runs
from charlm.bundle import Bundle, read_bundle
from charlm.choice import Choice
from charlm.errors import CharlmError, harmless, shorten
from charlm.sampling import Generation, generate_text

if TYPE_CHECKING:
    from charlm.copies import Copies

    CopyFinder = Callable[[Sequence[str]], list[Copies]]

MAX_SEED = 2**32


def print_samples(
    run: Path | None,
    *,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    seed: int | None,
    samples: int,
    stop: str | None,
    ignore_end: bool,
    checkpoint: runs.Choice,
    unknown: Literal["error", "skip"],
    raw: bool,
    copies: bool = False,
    as_json: bool,
) -> None:
    """Write texts that go on from a prompt, each character at once; several texts one after the other.

    `copies` adds, on standard error, how much of each stands in the training text. Raises CharlmError where there
    is no bundle, or no training text for `copies`, an option is out of range, or the prompt has a character that
    the model does not know.
    """
    if length == 0 and (as_json or copies or samples > 1):
        raise click.UsageError("-n 0 has no end: it goes with one sample and without --json and --copies")
    folder = runs.find_bundle(run, checkpoint=checkpoint)
    bundle = read_bundle(folder)
    find = _copy_finder(folder, bundle) if copies else None
    seed = secrets.randbelow(MAX_SEED) if seed is None else seed
    generation = generate_text(
        bundle,
        prompt=prompt,
        length=length,
        choice=Choice(temperature, top_k, top_p, min_p),
        seed=seed,
        samples=samples,
        stop=stop,
        ignore_end=ignore_end,
        unknown=unknown,
        keep_text=as_json or copies or samples > 1,
    )
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of them is refused in a line
        if as_json:
            _print_json(folder, generation, prompt=prompt, seed=seed, find=find)
        elif samples == 1:
            _stream(generation, prompt=prompt, raw=raw)
        else:
            _print_blocks(generation, prompt=prompt, raw=raw)
    if find is not None and not as_json:
        for line in _copy_lines(find([sample.text for sample in generation.samples])):
            click.echo(line, err=True)


def _copy_finder(folder: Path, bundle: Bundle) -> "CopyFinder":
    """Return the function from texts to how much of each stands in the training text of the run."""
    from charlm.copies import find_copies
    from charlm.evaluation import run_corpus

    corpus = run_corpus(folder, bundle)
    if corpus is None:
        raise CharlmError(f"{folder}: a bundle without its run: --copies needs the training text; name the run")
    return lambda texts: find_copies(texts, corpus.split("train"), bundle.vocabulary)


def _copy_lines(copies: "Sequence[Copies]") -> Iterator[str]:
    from charlm.copies import MIN_SPAN

    for number, found in enumerate(copies, start=1):
        which = f"sample {number} of {len(copies)}: " if len(copies) > 1 else ""
        longest = "no character does"
        if found.position is not None:
            where = f"at position {found.position:,}"
            longest = f"the longest has {found.characters:,} characters, {where}: {shorten(found.text)}"
        share = f"{found.share:.1%} stands in the training text in spans of {MIN_SPAN} or more"
        yield harmless(f"{which}{share}; {longest}")


def _stream(generation: Generation, *, prompt: str, raw: bool) -> None:
    write, show = sys.stdout.write, _shown(raw)
    write(show(prompt))
    for pieces in generation:
        write(show(pieces[0]))
        sys.stdout.flush()
    if sys.stdout.isatty():
        write("\n")
    sys.stdout.flush()


def _print_blocks(generation: Generation, *, prompt: str, raw: bool) -> None:
    show = _shown(raw)
    for _ in generation:
        pass
    for number, sample in enumerate(generation.samples, start=1):
        click.echo(f"--- sample {number} of {len(generation.samples)} ---", err=True)
        print(show(prompt + sample.text), flush=True)


def _print_json(
    folder: Path, generation: Generation, *, prompt: str, seed: int, find: "CopyFinder | None"
) -> None:
    for _ in generation:
        pass
    texts: list[dict[str, Any]] = [
        {"text": sample.text, "characters": sample.characters, "stopped_by": sample.stopped_by}
        for sample in generation.samples
    ]
    if find is not None:
        for text, copies in zip(texts, find([sample.text for sample in generation.samples]), strict=True):
            text["copies"] = asdict(copies)
    print(json.dumps({"bundle": str(folder), "prompt": prompt, "seed": seed, "samples": texts}))


def _shown(raw: bool) -> Callable[[str], str]:
    r"""Return the function that a text goes through on its way to standard output.

    A text may hold escape sequences, which a terminal would obey: there they are written as \\x1b.
    """
    if raw or not sys.stdout.isatty():
        return lambda text: text
    return lambda text: harmless(text, keep="\n\t")
