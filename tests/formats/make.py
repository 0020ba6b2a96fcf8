"""Write a run, an unfinished run and a model of the installed version to tests/formats/VERSION.

    python tests/formats/make.py

Later versions read them in test_formats.py. The unfinished run stopped after step 130, and would
have ended like the other.
"""

import json
import os
import shutil
import signal
from pathlib import Path

import charlm
from charlm import events
from charlm.version import __version__

MODELS = ("ended/best.safetensors", "unfinished/last.safetensors", "model.safetensors")


def stop(event: events.Event) -> None:
    """Stop the run."""
    if isinstance(event, events.StepsTaken) and event.step == 130:
        os.kill(os.getpid(), signal.SIGTERM)


def expected(path: Path) -> dict[str, object]:
    """Return what a model generates, and its loss on a text."""
    model = charlm.load(path)
    texts = [str(model.generate("the ", length=60, temperature=t, seed=5)) for t in (0, 0.8)]
    return {"texts": texts, "nats_per_char": float(model.score("the cat\n" * 50).mean())}


def main() -> None:
    """Write the folder, which must not exist."""
    os.chdir(Path(__file__).parent)  # a corpus has the names of its files
    text, recipe, folder = "cats.txt", "recipe.yaml", Path(__version__)
    folder.mkdir()
    charlm.train(text, recipe=recipe, run=folder / "ended")
    charlm.train(text, recipe=recipe, run=folder / "unfinished", on_event=stop)
    rare = {"corpus.min_count": 2, "model.embedding": 4}
    charlm.train([text, recipe], recipe=recipe, overrides=rare, run=folder / "rare")
    (folder / "rare/best.safetensors").rename(folder / "model.safetensors")
    shutil.rmtree(folder / "rare")
    for lock in folder.glob("*/.lock"):
        lock.unlink()
    values = {name: expected(folder / name) for name in MODELS}
    (folder / "expected.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
