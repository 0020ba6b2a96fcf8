"""What the parts of a run cost on this machine: estimated, or as `charlm.training.timing` has measured them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from charlm.config.schema import Config, TrainingConfig
from charlm.network.architecture import architecture
from charlm.text.corpus import Corpus
from charlm.training.schedule import mean_growth

EVALUATION_SHARE = 0.2
"""The largest share of a time limit that evaluations take, if there are more than FEWEST_EVALUATIONS."""
FEWEST_EVALUATIONS = 1
MAX_STEPS = 1_000_000_000
"""The largest number of steps that a config takes."""
EXPECTED_SLOWNESS = 1.2
"""How many times as long as on the processor of `estimate_costs` a machine is expected to take, before it is timed."""


@dataclass(frozen=True)
class TextFacts:
    """The size of a text, in characters."""

    training: int
    """Characters of training text."""
    validation: int
    """Characters of validation text."""
    vocabulary: int
    """Number of ids."""
    is_memorized: bool = False
    """Whether a network is to recite the text, which then has no validation part."""

    @classmethod
    def of(cls, corpus: Corpus, *, is_memorized: bool = False) -> "TextFacts":
        """Return the facts of a corpus."""
        lengths = {name: end - start for name, (start, end) in corpus.splits.items()}
        return cls(lengths["train"], lengths["validation"], len(corpus.vocabulary), is_memorized)


@dataclass(frozen=True)
class Costs:
    """How long each part of a run takes on this machine, in seconds."""

    step_seconds: float
    """One step of `sequence_length` characters in each stream, with the reading of its windows."""
    evaluation_seconds: float
    """One evaluation, with its sample, logs and checkpoint."""
    start_seconds: float = 0.0
    """Building the engine, and its first call."""
    end_seconds: float = 0.0
    """What follows the last evaluation: choosing the sampling temperature."""
    teacher_seconds: float = 0.0
    """The teachers that the run trains first; 0 = there are none."""
    ngram_seconds: float = 0.0
    """Counting the n-grams that the run learns from; 0 = there are none."""

    def run_seconds(self, settings: TrainingConfig, steps: int) -> float:
        """Return how long a run of some steps takes after its start."""
        training = steps * self._mean_step_seconds(settings)
        evaluations = min(steps, settings.evaluations) * self.evaluation_seconds
        return self.teacher_seconds + self.ngram_seconds + training + evaluations + self.end_seconds

    def steps_within(self, settings: TrainingConfig, seconds: float) -> int:
        """Return the most steps, with all evaluations, that take at most `seconds`; 0 = not even one."""
        left = (
            seconds - self.run_seconds(settings, 0) - settings.evaluations * self.evaluation_seconds
        )
        return min(MAX_STEPS, max(0, int(left / self._mean_step_seconds(settings))))

    def _mean_step_seconds(self, settings: TrainingConfig) -> float:
        """Return how long a step takes on average, if windows grow."""
        fixed = fixed_share(settings)
        return self.step_seconds * (fixed + (1 - fixed) * mean_growth(settings))

    def evaluations_within(self, settings: TrainingConfig, seconds: float) -> int:
        """Return how many evaluations a run of some seconds has: fewer if they would take too large a share."""
        left = EVALUATION_SHARE * (seconds - self.run_seconds(settings, 0))
        affordable = int(left / max(self.evaluation_seconds, 1e-9))
        fewest = min(FEWEST_EVALUATIONS, settings.evaluations)
        return max(fewest, min(settings.evaluations, affordable))


CostsOf = Callable[[Config, TextFacts], Costs]
"""Returns what a run of a config costs on this machine, measured or estimated."""


CHARACTER_SECONDS, STEP_SECONDS = 7.3e-12, 1.7e-10
"""Seconds of a step on two cores of an AMD EPYC (Zen 5): for each weight and character that it reads; and for each
weight and character of one stream, which Muon takes for any number of streams."""


def fixed_share(settings: TrainingConfig) -> float:
    """Return the share of a step's time that does not depend on how many characters the step reads, 0 to 1."""
    if settings.optimizer.name != "muon":
        return 0.0
    return STEP_SECONDS / (STEP_SECONDS + CHARACTER_SECONDS * settings.batch_size)


def estimate_costs(config: Config, text: TextFacts, *, slowness: float = 1.0) -> Costs:
    """Estimate what a run costs before anything is timed.

    The factors were measured with four recipes and batches of 16 to 128: they are within a third of every measurement.

    Args:
        config: Every setting of the run.
        text: The size of its text.
        slowness: How many times as long as on that processor everything takes.

    """
    settings = config.training
    weights = architecture(config, text.vocabulary).size
    characters = settings.batch_size * settings.sequence_length
    per_character = weights * (CHARACTER_SECONDS + STEP_SECONDS / settings.batch_size)
    evaluated = min(text.validation, 200_000)
    ngram_seconds = 1.5e-7 * text.training * text.vocabulary if settings.ngram_weight else 0.0
    return Costs(
        step_seconds=slowness * characters * per_character,
        evaluation_seconds=slowness * (0.15 + 5.5e-12 * weights * evaluated),
        start_seconds=slowness * 3.0,
        end_seconds=slowness * (0.3 + 1e-6 * weights)
        if config.sampling.chooses_temperature
        else 0.0,
        ngram_seconds=slowness * ngram_seconds,
    )


class MachineCosts:
    """The costs of runs on this machine: as measured, or estimated and scaled by what was measured.

    Args:
        ngram_seconds: How long it takes to count the n-grams of the text; None = estimate that too.

    """

    def __init__(self, ngram_seconds: float | None = None) -> None:
        self.ngram_seconds = ngram_seconds
        self._measured: dict[str, Costs] = {}
        self._slowness = EXPECTED_SLOWNESS

    def __call__(self, config: Config, text: TextFacts) -> Costs:
        """Return the costs of a run of a config."""
        estimated = estimate_costs(config, text, slowness=self._slowness)
        found = self._measured.get(_identity(config), estimated)
        ngram_seconds = (
            estimated.ngram_seconds if self.ngram_seconds is None else self.ngram_seconds
        )
        return replace(found, ngram_seconds=ngram_seconds if config.training.ngram_weight else 0.0)

    def note(self, config: Config, text: TextFacts, costs: Costs) -> None:
        """Note what was measured for a config whose engine has started; other recipes are estimated from it."""
        self._measured[_identity(config)] = replace(costs, start_seconds=0.0)
        self._slowness = costs.step_seconds / estimate_costs(config, text).step_seconds


def _identity(config: Config) -> str:
    """Return what the costs of a step and an evaluation depend on, as a text."""
    network = config.model.model_dump_json()
    training = config.training
    return f"{network} {training.batch_size} {training.sequence_length} {training.optimizer.name}"
