"""Next steps with a run: experiments with its network.

The texts name commands, for the readers of a page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.config.schema import Config
from charlm.inspection.section import Content
from charlm.text.markup import safe
from charlm.wording import as_argument, counted

MOST_EXPERIMENTS = 3
"""Maximum number of experiments for a network."""
MIN_CONTEXT = 2
"""Minimum number of characters of context that shorter windows can cut off."""
NO_RUN = (
    "The training text of this model is not in its folder, so its training cannot be repeated. To "
    "compare it with a network of your own: charlm train mytext.txt"
)


@dataclass(frozen=True)
class Step:
    """Something to try next."""

    text: str
    """Instructions and their reason, in full sentences."""
    settings: Mapping[str, Any]
    """Settings of the new run that differ, by dotted keys; empty if there is nothing to run."""
    commands: tuple[str, ...] = ()
    """Commands that try it; none if there is nothing to run."""

    def to_html(self) -> str:
        """Return the text and the commands as HTML."""
        commands = safe("\n".join(self.commands))
        code = f"<pre><code>{commands}</code></pre>" if commands else ""
        return f"<p>{safe(self.text)}</p>{code}"


@dataclass(frozen=True)
class NextSteps:
    """The next steps with a run."""

    experiments: tuple[Step, ...] = ()
    """Experiments that suit its network; none for a model outside a run."""

    def to_html(self, *, has_other_seeds: bool) -> str:
        """Return the steps as HTML.

        Args:
            has_other_seeds: Whether other seeds are on the page, so that another seed is not
                suggested.

        """
        steps = [
            step for step in self.experiments if not has_other_seeds or "seed" not in step.settings
        ]
        if not steps:
            return f'<p class="missing">{safe(NO_RUN)}</p>'
        return "".join(step.to_html() for step in steps)


def _training_command(run: Path, settings: Mapping[str, Any], *, has_initial_weights: bool) -> str:
    """Return the command that trains with other settings on the text of a run."""
    folder = as_argument(run)
    parts = [f"charlm train {folder}/corpus -c {folder}/config.yaml"]
    for key, value in settings.items():
        parts.append(f"--epochs {value}" if key == "training.epochs" else f"-s {key}={value}")
    if has_initial_weights:
        parts.append(f"--init {folder}/init.safetensors")
    return " ".join(parts)


@dataclass(frozen=True)
class Experiment:
    """A run with other settings whose outcome teaches something."""

    name: str
    """End of the name of the new run."""
    text: str
    """Instructions and their reason, in full sentences."""
    settings: Mapping[str, Any]
    """Settings that differ, by dotted keys."""


def choose_next_steps(run: Path, config: Config, contents: Mapping[str, Content]) -> NextSteps:
    """Choose the next steps with a network.

    Args:
        run: The folder of its run, which has the text.
        config: Every setting of the run.
        contents: The sections of its report by name.

    """
    has_initial_weights = config.training.initial_weights is not None
    data = {name: content.data for name, content in contents.items()}
    proposals = FOR_UNTRAINED if config.training.is_untrained else FOR_TRAINED
    experiments = [propose(config, data) for propose in proposals]
    chosen = [experiment for experiment in experiments if experiment is not None]
    steps = []
    for experiment in chosen[:MOST_EXPERIMENTS]:
        new = run.with_name(f"{run.name}-{experiment.name}")
        folder = as_argument(new)
        page = as_argument(Path(f"{new.name}.html"))
        train = _training_command(run, experiment.settings, has_initial_weights=has_initial_weights)
        inspect = f"charlm inspect {as_argument(run)} {folder} --out {page}"
        steps.append(Step(experiment.text, experiment.settings, (f"{train} -r {folder}", inspect)))
    return NextSteps(tuple(steps))


Propose = Callable[[Config, Mapping[str, Any]], Experiment | None]
"""A function from the settings of a run, and the data of its report by section, to an
experiment."""


def _train(_config: Config, _data: Mapping[str, Any]) -> Experiment:
    """Propose to train a network that has not been trained."""
    text = (
        "This network has not been trained. Train it for one epoch. Which of the numbers on this "
        "page change most?"
    )
    return Experiment("trained", text, {"training.epochs": 1})


def _lower_learning_rate(config: Config, data: Mapping[str, Any]) -> Experiment | None:
    """Propose half the learning rate for a network that amplifies differences."""
    lyapunov = data.get("lyapunov")
    if lyapunov is None or not lyapunov.exponents[0] > 0:
        return None
    text = (
        "Small differences grow in this network: its largest Lyapunov exponent is above 0. Halve "
        "the learning rate. Does the exponent fall below 0, and does the loss fall too?"
    )
    rate = config.training.optimizer.learning_rate / 2
    return Experiment("calm", text, {"training.optimizer.learning_rate": rate})


def _other_windows(config: Config, data: Mapping[str, Any]) -> Experiment | None:
    """Propose windows shorter than the context used, or longer windows if windows limit it."""
    context = data.get("usable_context")
    if context is None or context.used is None or context.used < MIN_CONTEXT:
        return None
    length = config.training.sequence_length
    if 2 * context.used > length:
        new_length = 2 * length
        plan = f"Train with windows of {new_length}. Does it use more?"
    else:
        new_length = context.used // 2
        plan = (
            f"Train with windows of {new_length}, half of this context. Does it still use "
            f"{context.used}?"
        )
    text = (
        f"This network uses {counted(context.used, 'character')} of context, and was trained with "
        f"windows of {length}. {plan} The batch size changes with the windows, so that a step "
        "still reads the same number of characters."
    )
    settings = {
        "training.sequence_length": new_length,
        "training.batch_size": max(1, config.training.batch_size * length // new_length),
    }
    return Experiment(f"windows-{new_length}", text, settings)


def _other_seed(config: Config, _data: Mapping[str, Any]) -> Experiment:
    """Propose the same training with a different seed."""
    text = (
        "Train the same network again with another seed. A number that differs clearly between "
        "seeds is a property of this one network, not of its recipe."
    )
    seed = config.seed + 1
    return Experiment(f"seed-{seed}", text, {"seed": seed})


def _other_depth(config: Config, data: Mapping[str, Any]) -> Experiment | None:
    """Propose a single layer instead of a stack, or a second layer."""
    layers = config.model.layers
    if layers == 1:
        text = "This network has one layer. Add a second one. Which layer remembers longer?"
        return Experiment("2-layers", text, {"model.layers": 2})
    lyapunov = data.get("lyapunov")
    if lyapunov is None:
        return None
    longest = max(lyapunov.layers, key=lambda each: each.exponent).layer
    text = (
        f"In this stack of {layers} layers, rnn.{longest} remembers longest on its own. Train a "
        "single layer. Does it remember as long, and how much worse is its loss?"
    )
    return Experiment("1-layer", text, {"model.layers": 1})


FOR_UNTRAINED: tuple[Propose, ...] = (_train, _other_seed, _other_depth)
"""Proposals for an untrained network, the most important first."""
FOR_TRAINED: tuple[Propose, ...] = (_lower_learning_rate, _other_windows, _other_seed, _other_depth)
"""Proposals for a trained network, the most important first."""
