"""The cost of each part of a run on this machine, estimated or measured by `timing`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from charlm.config.schema import Config, TrainingConfig
from charlm.network.architecture import architecture
from charlm.text.corpus import Corpus
from charlm.training.schedule import mean_growth

EVALUATION_SHARE = 0.2
"""Largest share of a time limit for evaluations; at least one evaluation takes place in any
case."""
MAX_STEPS = 1_000_000_000
"""Maximum number of steps that a config accepts."""
EXPECTED_SLOWNESS = 1.2
"""Expected time of an unmeasured machine, relative to the processor of `estimate_costs`."""
CHARACTER_SECONDS, STEP_SECONDS = 7.3e-12, 1.7e-10
"""Seconds of a step per weight, on two cores of an AMD EPYC (Zen 5), for each character of a batch,
and for each character of a window: the work of Muon does not grow with the batch size."""


@dataclass(frozen=True)
class TextFacts:
    """The size of a text, in characters."""

    training: int
    """Number of characters of training text."""
    validation: int
    """Number of characters of validation text."""
    vocabulary: int
    """Number of ids."""
    is_memorized: bool = False
    """Whether a network should learn to recite the text, which then has no validation part."""

    @classmethod
    def of(cls, corpus: Corpus, *, is_memorized: bool = False) -> "TextFacts":
        """Return the facts of a corpus."""
        lengths = {name: end - start for name, (start, end) in corpus.splits.items()}
        return cls(lengths["train"], lengths["validation"], len(corpus.vocabulary), is_memorized)


@dataclass(frozen=True)
class Costs:
    """The time that each part of a run takes on this machine, in seconds."""

    step_seconds: float
    """Time of one step with windows of `sequence_length` characters."""
    evaluation_seconds: float
    """Time of one evaluation, with its sample, logs and checkpoint."""
    start_seconds: float = 0.0
    """Time to build the engine and to call it once."""
    end_seconds: float = 0.0
    """Time to choose the sampling temperature after the last evaluation."""
    teacher_seconds: float = 0.0
    """Time to train the teachers of the run."""
    ngram_seconds: float = 0.0
    """Time to count the n-grams that the run learns from."""

    def seconds_without_evaluations(self, settings: TrainingConfig, steps: int) -> float:
        """Return the time of a run after its start, without its evaluations."""
        training = steps * self._mean_step_seconds(settings)
        return self.teacher_seconds + self.ngram_seconds + training + self.end_seconds

    def run_seconds(self, settings: TrainingConfig, steps: int) -> float:
        """Return the time of a run after its start."""
        evaluations = min(steps, settings.evaluations) * self.evaluation_seconds
        return self.seconds_without_evaluations(settings, steps) + evaluations

    def steps_within(self, settings: TrainingConfig, seconds: float) -> int:
        """Return how many steps fit, with all evaluations, into a number of seconds; 0 or more."""
        fixed_seconds = self.seconds_without_evaluations(settings, 0)
        left = seconds - fixed_seconds - settings.evaluations * self.evaluation_seconds
        return min(MAX_STEPS, max(0, int(left / self._mean_step_seconds(settings))))

    def evaluations_within(self, settings: TrainingConfig, seconds: float) -> int:
        """Return how many of the planned evaluations fit into the time of a run, 1 or more."""
        left = seconds - self.seconds_without_evaluations(settings, 0)
        affordable = int(EVALUATION_SHARE * left / max(self.evaluation_seconds, 1e-9))
        return max(1, min(settings.evaluations, affordable))

    def _mean_step_seconds(self, settings: TrainingConfig) -> float:
        """Return the mean time of a step, which differs from `step_seconds` if windows grow."""
        fixed = fixed_share(settings)
        return self.step_seconds * (fixed + (1 - fixed) * mean_growth(settings))


CostsOf = Callable[[Config, TextFacts], Costs]
"""Function that returns the costs of a run on this machine, measured or estimated."""


def fixed_share(settings: TrainingConfig) -> float:
    """Return the share of a step's time that is independent of its characters, 0 to 1."""
    muon = _muon_seconds(settings)
    return muon / (muon + CHARACTER_SECONDS * settings.batch_size)


def _muon_seconds(settings: TrainingConfig) -> float:
    """Return the seconds of a step per weight that Muon adds for each character of a window."""
    return STEP_SECONDS if settings.optimizer.name == "muon" else 0.0


def estimate_costs(config: Config, text: TextFacts, *, slowness: float = 1.0) -> Costs:
    """Estimate the costs of a run before anything is timed.

    The factors were fitted to four recipes with batches of 16 to 128, and are within a third of
    every measurement.

    Args:
        config: Every setting of the run.
        text: The size of its text.
        slowness: Time that this machine takes, relative to the processor that was measured.

    """
    settings = config.training
    weights = architecture(config, text.vocabulary).size
    characters = settings.batch_size * settings.sequence_length
    per_character = weights * (CHARACTER_SECONDS + _muon_seconds(settings) / settings.batch_size)
    evaluated = min(text.validation, 200_000)
    chooses_temperature = config.sampling.chooses_temperature
    end_seconds = 0.3 + 1e-6 * weights if chooses_temperature else 0.0
    ngram_seconds = 1.5e-7 * text.training * text.vocabulary if settings.ngram_weight else 0.0
    return Costs(
        step_seconds=slowness * characters * per_character,
        evaluation_seconds=slowness * (0.15 + 5.5e-12 * weights * evaluated),
        start_seconds=slowness * 3.0,
        end_seconds=slowness * end_seconds,
        ngram_seconds=slowness * ngram_seconds,
    )


class MachineCosts:
    """The costs of runs on this machine, measured, or estimated from other measurements."""

    def __init__(self) -> None:
        self.ngram_seconds: float | None = None
        """Time to count the n-grams of the text; None = estimate it."""
        self._measured: dict[str, Costs] = {}
        self._slowness = EXPECTED_SLOWNESS

    def __call__(self, config: Config, text: TextFacts) -> Costs:
        """Return the costs of a run."""
        estimated = estimate_costs(config, text, slowness=self._slowness)
        costs = self._measured.get(_identity(config), estimated)
        ngram_seconds = estimated.ngram_seconds
        if config.training.ngram_weight and self.ngram_seconds is not None:
            ngram_seconds = self.ngram_seconds
        return replace(costs, ngram_seconds=ngram_seconds)

    def note(self, config: Config, text: TextFacts, costs: Costs) -> None:
        """Record measured costs of a config whose engine has started; they scale the estimates."""
        self._measured[_identity(config)] = replace(costs, start_seconds=0.0)
        self._slowness = costs.step_seconds / estimate_costs(config, text).step_seconds


def _identity(config: Config) -> str:
    """Return a string of the settings that determine the time of a step and an evaluation."""
    network = config.model.model_dump_json()
    training = config.training
    return f"{network} {training.batch_size} {training.sequence_length} {training.optimizer.name}"
