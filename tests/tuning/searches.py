"""Small searches with the fake engine, in this process."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_engine import FakeEngines, Faults
from fake_runs import ticking

from charlm.config.schema import Config
from charlm.storage.locks import only_writer
from charlm.text.corpus import Corpus
from charlm.training.signals import stop_on_signal
from charlm.training.timing import Costs, Estimate
from charlm.tuning.search import Search, SearchResult
from charlm.tuning.space import Space, load_space
from charlm.tuning.study import Study, open_folder, prepare_folder

TEXT = "".join(random.Random(0).choices("abcde ", weights=[9, 5, 3, 2, 1, 4], k=364))
SPACE = """
recipe: tiny
fixed: {model.units: 8, training.batch_size: 4, training.sequence_length: 4, training.parts: 2}
search:
  training.optimizer.learning_rate: {float: [1e-4, 1e-1], log: true}
"""
SECONDS_PER_STEP = 0.5
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

    def load(self) -> Space:
        """Write and read the space."""
        path = self.folder / "space.yaml"
        path.write_text(self.space, encoding="utf-8")
        return load_space(path)

    def open(self) -> tuple[Study, Corpus]:
        """Begin the search, or open what has begun."""
        source = self.folder / "text.txt"
        source.write_text(self.text, encoding="utf-8")
        open_folder(self.out)
        corpus, space, identity = prepare_folder(self.out, self.load(), [source])
        return Study(self.out, space, identity), corpus

    def run(
        self,
        *,
        trials: int | None = None,
        faults: Faults | None = None,
        seconds: float = 1000.0,
        clock: Callable[[], float] = lambda: 0.0,
        seconds_per_step: Callable[[Config], float] = lambda _: SECONDS_PER_STEP,
    ) -> SearchResult:
        """Search; a step takes as long as is said."""

        def estimate(config: Config, *_: Any, **_options: Any) -> Estimate:
            return Estimate(Costs(seconds_per_step(config), 0.0, 0.0, 0.0), 0.0)

        open_folder(self.out)
        with only_writer(self.out, clock=ticking(1.0)), stop_on_signal(self.said.append) as session:
            study, corpus = self.open()
            trial_seconds = study.settle_trial_seconds(None, default=TRIAL_SECONDS)
            return Search(
                study,
                corpus,
                FakeEngines(faults or Faults()),
                session,
                "charlm train text.txt",
                seconds=seconds,
                trial_seconds=trial_seconds,
                trials=trials,
                estimate=estimate,
                clock=clock,
            ).run()


def numbers(result: SearchResult, state: str) -> Iterator[int]:
    """Yield the numbers of the trials in a state."""
    yield from (trial.number for trial in result.trials if trial.state == state)
