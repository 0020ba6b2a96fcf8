"""Next steps with a run: the suggestion of its training, and experiments that suit its network.

The texts name commands, for the readers of a page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.config.schema import Config
from charlm.inspection.section import Content
from charlm.text.markup import safe
from charlm.training.suggestion import Suggestion
from charlm.wording import as_argument, counted

MOST_EXPERIMENTS = 3
"""Largest number of experiments for a network."""
MIN_CONTEXT = 2
"""Fewest characters of context that shorter windows can cut off."""
REASONS = {
    "still learning": "still learning at the end; train twice as long",
    "too few steps": "too few steps to beat a 5-gram model; train twice as long",
    "short text": "a 5-gram model is hard to beat below 70,000 characters of training text",
    "long repeats": "lzma compresses this text better: it has long-range repeats, which a recurrent network forgets",
}
"""Text of a suggestion by its kind."""


@dataclass(frozen=True)
class Step:
    """Something to try next."""

    text: str
    """Instructions and their reason, in full sentences."""
    settings: Mapping[str, Any]
    """The settings of the new run that differ, by dotted keys; empty if there is nothing to run."""
    commands: tuple[str, ...] = ()
    """The commands that try it; none if there is nothing to run."""


@dataclass(frozen=True)
class NextSteps:
    """The next steps with a run."""

    suggestion: Step | None = None
    """The suggestion of its training; None = nothing, or the run has not ended."""
    experiments: tuple[Step, ...] = ()
    """Experiments that suit its network; none for a model outside a run."""

    def to_html(self, *, has_other_seeds: bool) -> str:
        """Return the steps as HTML; `has_other_seeds` leaves out a training with another seed."""
        steps = [self.suggestion] if self.suggestion else []
        steps += [
            step for step in self.experiments if not has_other_seeds or "seed" not in step.settings
        ]
        if not steps:
            return f'<p class="missing">{safe(NO_RUN)}</p>'
        return "".join(_step_html(step) for step in steps)


NO_RUN = (
    "The training text of this model is not in its folder, so its training cannot be repeated. To compare it with a "
    "network of your own: charlm train mytext.txt"
)


def _step_html(step: Step) -> str:
    commands = "\n".join(step.commands)
    return f"<p>{safe(step.text)}</p>" + (
        f"<pre><code>{safe(commands)}</code></pre>" if commands else ""
    )


def suggested_command(
    suggestion: Suggestion, run: Path, *, has_initial_weights: bool
) -> str | None:
    """Return the command that follows a suggestion; None if there is nothing to run.

    Args:
        suggestion: The suggestion of the training.
        run: The folder of the run.
        has_initial_weights: Whether its training began with the weights of another model.

    """
    settings = suggested_settings(suggestion)
    return (
        _training_command(run, settings, has_initial_weights=has_initial_weights)
        if settings
        else None
    )


def suggested_settings(suggestion: Suggestion) -> dict[str, Any]:
    """Return the settings of the run that a suggestion asks for, by dotted keys; empty if there is nothing to run."""
    epochs = {} if suggestion.epochs is None else {"training.epochs": suggestion.epochs}
    return {**epochs, **(suggestion.settings or {})}


def _training_command(
    run: Path, settings: Mapping[str, Any], *, has_initial_weights: bool, new: Path | None = None
) -> str:
    """Return the command that trains with other settings on the text of a run."""
    folder = as_argument(run)
    parts = [f"charlm train {folder}/corpus -c {folder}/config.yaml"]
    for key, value in settings.items():
        parts.append(f"--epochs {value}" if key == "training.epochs" else f"-s {key}={value}")
    if has_initial_weights:
        parts.append(f"--init {folder}/init.safetensors")
    if new is not None:
        parts.append(f"-r {as_argument(new)}")
    return " ".join(parts)


@dataclass(frozen=True)
class Network:
    """The facts about a network on which the choice of experiments depends."""

    config: Config
    """Every setting of its run."""
    contents: Mapping[str, Content]
    """The sections of its report by name."""

    def data(self, section: str) -> Any:
        """Return the data of a section; None if it is missing."""
        return self.contents[section].data if section in self.contents else None


@dataclass(frozen=True)
class Experiment:
    """A run with other settings whose outcome teaches something."""

    name: str
    """End of the name of the new run."""
    text: str
    """Instructions and their reason, in full sentences."""
    settings: Mapping[str, Any]
    """The settings that differ, by dotted keys."""


def choose_next_steps(
    run: Path, config: Config, contents: Mapping[str, Content], suggestion: Suggestion | None
) -> NextSteps:
    """Choose the next steps with a network.

    Args:
        run: The folder of its run, which has the text.
        config: Every setting of the run.
        contents: The sections of its report by name.
        suggestion: The suggestion of its training; None = nothing.

    """
    has_initial_weights = config.training.initial_weights is not None
    network = Network(config, contents)
    proposals = FOR_UNTRAINED if config.training.is_untrained else FOR_TRAINED
    found = [experiment for propose in proposals if (experiment := propose(network)) is not None]
    experiments = []
    for experiment in found[:MOST_EXPERIMENTS]:
        new = run.with_name(f"{run.name}-{experiment.name}")
        train = _training_command(
            run, experiment.settings, has_initial_weights=has_initial_weights, new=new
        )
        page = f"{new.name}.html"
        inspect = (
            f"charlm inspect {as_argument(run)} {as_argument(new)} --out {as_argument(Path(page))}"
        )
        experiments.append(Step(experiment.text, experiment.settings, (train, inspect)))
    return NextSteps(_suggested_step(suggestion, run, has_initial_weights), tuple(experiments))


def _suggested_step(
    suggestion: Suggestion | None, run: Path, has_initial_weights: bool
) -> Step | None:
    if suggestion is None:
        return None
    command = suggested_command(suggestion, run, has_initial_weights=has_initial_weights)
    reason = REASONS[suggestion.kind]
    text = f"{reason[0].upper()}{reason[1:]}."
    return Step(text, suggested_settings(suggestion), (command,) if command else ())


def _train(_: Network) -> Experiment:
    """Propose to train a network that has not been trained."""
    text = "This network has not been trained. Train it for one epoch. Which of the numbers on this page change most?"
    return Experiment("trained", text, {"training.epochs": 1})


def _lower_learning_rate(network: Network) -> Experiment | None:
    """Propose half the learning rate for a network that amplifies differences."""
    found = network.data("lyapunov")
    rate = network.config.training.optimizer.learning_rate
    if found is None or not found.exponents[0] > 0:
        return None
    text = (
        "Small differences grow in this network: its largest Lyapunov exponent is above 0. Halve the learning rate. "
        "Does the exponent fall below 0, and does the loss fall too?"
    )
    return Experiment("calm", text, {"training.optimizer.learning_rate": rate / 2})


def _other_windows(network: Network) -> Experiment | None:
    """Propose windows shorter than the context that the network uses, or longer ones if they may limit it."""
    context = network.data("usable_context")
    training = network.config.training
    length, batch = training.sequence_length, training.batch_size
    if context is None or context.used is None or context.used < MIN_CONTEXT:
        return None
    used = counted(context.used, "character")
    if 2 * context.used > length:
        new_length = 2 * length
        plan = f"Train with windows of {new_length}. Does it use more?"
    else:
        new_length = context.used // 2
        plan = f"Train with windows of {new_length}, half of this context. Does it still use {context.used}?"
    text = (
        f"This network uses {used} of context, and was trained with windows of {length}. {plan} The size of the batch "
        "changes with the windows, so that a step still reads as many characters."
    )
    settings = {
        "training.sequence_length": new_length,
        "training.batch_size": max(1, batch * length // new_length),
    }
    return Experiment(f"windows-{new_length}", text, settings)


def _other_seed(network: Network) -> Experiment:
    """Propose the same training with another seed."""
    seed = network.config.seed + 1
    text = (
        "Train the same network again with another seed. A number that differs clearly between seeds is a property of "
        "this one network, not of its recipe."
    )
    return Experiment(f"seed-{seed}", text, {"seed": seed})


def _other_depth(network: Network) -> Experiment | None:
    """Propose a single layer instead of a stack, or a second layer."""
    found = network.data("lyapunov")
    layers = network.config.model.layers
    if layers == 1:
        text = "This network has one layer. Add a second one. Which layer remembers longer?"
        return Experiment("2-layers", text, {"model.layers": 2})
    if found is None:
        return None
    longest = max(found.layers, key=lambda each: each.exponent).layer
    text = (
        f"In this stack of {layers} layers, rnn.{longest} remembers longest on its own. Train a single layer. Does it "
        "remember as long, and how much worse is its loss?"
    )
    return Experiment("1-layer", text, {"model.layers": 1})


Propose = Callable[[Network], Experiment | None]
FOR_UNTRAINED: tuple[Propose, ...] = (_train, _other_seed, _other_depth)
"""Functions that propose an experiment with an untrained network, or none, the most important first."""
FOR_TRAINED: tuple[Propose, ...] = (_lower_learning_rate, _other_windows, _other_seed, _other_depth)
"""The same for a trained network."""
