"""Small searches with the fake engine, in this process."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from fake_engine import FakeEngines, Faults

from charlm.config.schema import Config
from charlm.text.corpus import Corpus
from charlm.training.signals import StopRequest, stop_on_signal
from charlm.tuning.display import Display
from charlm.tuning.folder import prepare_folder
from charlm.tuning.search import Search, SearchResult
from charlm.tuning.space import Space, load_space
from charlm.tuning.study import Study
from charlm.tuning.trial import Workplace

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


def same_speed(_config: Config) -> float:
    """Return how long a step takes in these searches."""
    return SECONDS_PER_STEP


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that goes on by some seconds each time it is read."""
    ticks = count()
    return lambda: seconds * next(ticks)


@dataclass
class SearchFolder:
    """A folder with a space and a text, in which searches run as processes would, one after the other."""

    folder: Path
    space: str = SPACE
    text: str = TEXT
    storage: str | None = None
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
        space = self.load()
        corpus, identity = prepare_folder(self.out, space, [source])
        return Study(self.out, space, identity, storage=self.storage), corpus

    def run(
        self,
        *,
        trials: int | None = None,
        faults: Faults | None = None,
        seconds: float = 1000.0,
        clock: Callable[[], float] = lambda: 0.0,
        change: Callable[[StopRequest], object] = lambda _: None,
        seconds_per_step: Callable[[Config], float] = same_speed,
    ) -> SearchResult:
        """Search; `change` gets the stop request before."""
        study, corpus = self.open()
        trial_seconds = study.settle_trial_seconds(None, default=TRIAL_SECONDS)
        with stop_on_signal() as request:
            change(request)
            engines = FakeEngines(faults or Faults())
            place = Workplace(study.space, corpus, engines, seconds_per_step, trial_seconds, request)
            with Display(seconds, say=self.said.append, show_progress=False) as display:
                search = Search(
                    study, place, display, "charlm train text.txt", seconds=seconds, trials=trials, clock=clock
                )
                return search.run()


def numbers(result: SearchResult, state: str) -> Iterator[int]:
    """Yield the numbers of the trials in a state."""
    yield from (trial.number for trial in result.trials if trial.state == state)
