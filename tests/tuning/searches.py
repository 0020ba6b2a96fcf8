"""Small searches with the fake engine, in this process."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_engine import FakeEngines, Faults
from fake_runs import TEXT

from charlm.training.signals import Session, stop_on_signal
from charlm.training.timing import Costs
from charlm.tuning.search import SearchResult, search
from charlm.tuning.space import load_space

SPACE = """
recipe: tiny
fixed: {model.units: 8, training.batch_size: 4, training.sequence_length: 4, training.parts: 2}
search:
  training.optimizer.learning_rate: {float: [1e-4, 1e-1], log: true}
"""
TRIAL_SECONDS = 25.0
"""50 steps, evaluated every 5."""


@dataclass
class SearchFolder:
    """A folder with a space and a text, in which searches run as processes would, one after the other."""

    folder: Path
    space: str = SPACE
    text: str = TEXT
    said: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The folder of the search."""
        return self.folder / "out"

    def run(
        self, faults: Faults | None = None, costs: Any = lambda _: Costs(0.5, 0.0, 0.0), **options: Any
    ) -> SearchResult:
        """Search; a step and an evaluation take as long as is said."""
        path, source = self.folder / "space.yaml", self.folder / "text.txt"
        path.write_text(self.space, encoding="utf-8")
        source.write_text(self.text, encoding="utf-8")
        options = {"seconds": 1000.0, "trial_seconds": TRIAL_SECONDS, **options}
        options["estimate"] = lambda config, *_given, **_options: costs(config)
        with stop_on_signal(Session(self.said.append)) as session:
            return search(load_space(path), source, self.out, FakeEngines(faults or Faults()), session, **options)
