"""Small searches with the fake engine, in this process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fake_engine import FakeEngines, Faults
from tuning.spaces import SPACE, TEXT

from charlm.config.schema import Config
from charlm.text.corpus import Corpus
from charlm.training.signals import StopRequest, stop_on_signal
from charlm.tuning.search import Display, Search, SearchResult
from charlm.tuning.search_folder import prepare_folder
from charlm.tuning.space import Space, load_space
from charlm.tuning.study import Study
from charlm.tuning.trial import Workplace

SECONDS_PER_STEP = 0.5
TRIAL_SECONDS = 25.0
"""50 steps, evaluated every 5."""


def same_speed(_config: Config) -> float:
    """Return how long a step takes in these searches."""
    return SECONDS_PER_STEP


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
