"""The experiments that a report proposes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspection.reports import report
from pages import parse_command

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.inspection.next_steps import NextSteps, choose_next_steps
from charlm.inspection.section import Content

RUN = Path("runs/plays")


def config(**changes: Any) -> Config:
    """Return every setting of the recipe tiny, with changes by dotted keys."""
    return load_config(find_recipe("tiny"), overrides=changes)


def contents(
    *, used: int | None = None, largest: float = -0.3, longest: int = 0
) -> dict[str, Content]:
    """Return the sections of a report on another network.

    Args:
        used: The number of characters of context that it uses; None = not known.
        largest: Its largest Lyapunov exponent.
        longest: The layer that remembers longest.

    """
    sections = dict(report().contents)
    context = replace(sections["usable_context"].data, used=used)
    lyapunov = sections["lyapunov"].data
    exponents = np.array([largest, *lyapunov.exponents[1:]])
    layers = tuple(
        replace(layer, exponent=-0.1 if layer.layer == longest else -0.5)
        for layer in lyapunov.layers
    )
    lyapunov = replace(lyapunov, exponents=exponents, layers=layers)
    sections["usable_context"] = replace(sections["usable_context"], data=context)
    sections["lyapunov"] = replace(sections["lyapunov"], data=lyapunov)
    return sections


def steps(changes: dict[str, Any] | None = None, **findings: Any) -> list[dict[str, Any]]:
    """Return the settings of the experiments for a network."""
    chosen = choose_next_steps(RUN, config(**(changes or {})), contents(**findings))
    return [dict(step.settings) for step in chosen.experiments]


# Windows

WINDOWS = {"training.sequence_length": 16, "training.batch_size": 8}


@pytest.mark.parametrize(
    ("used", "length", "batch_size"),
    [
        pytest.param(2, 1, 128, id="two characters"),
        pytest.param(4, 2, 64, id="a quarter of a window"),
        pytest.param(8, 4, 32, id="half of a window"),
        pytest.param(9, 32, 4, id="more than half of a window"),
    ],
)
def test_the_length_of_windows_depends_on_the_context(
    used: int, length: int, batch_size: int
) -> None:
    experiment = {"training.sequence_length": length, "training.batch_size": batch_size}
    assert experiment in steps(WINDOWS, used=used)


@pytest.mark.parametrize(
    "used",
    [
        pytest.param(None, id="unknown context"),
        pytest.param(0, id="no context"),
        pytest.param(1, id="a single character"),
    ],
)
def test_without_a_context_windows_keep_their_length(used: int | None) -> None:
    keys = {key for settings in steps(WINDOWS, used=used) for key in settings}
    assert "training.sequence_length" not in keys


@pytest.mark.parametrize(
    ("used", "text"),
    [
        pytest.param(
            8,
            "This network uses 8 characters of context, and was trained with windows of 16. Train "
            "with windows of 4, half of this context. Does it still use 8?",
            id="half of a window",
        ),
        pytest.param(
            9,
            "This network uses 9 characters of context, and was trained with windows of 16. Train "
            "with windows of 32. Does it use more?",
            id="more than half of a window",
        ),
    ],
)
def test_the_text_names_the_context_and_the_windows(used: int, text: str) -> None:
    chosen = choose_next_steps(RUN, config(**WINDOWS), contents(used=used))
    assert chosen.experiments[0].text.startswith(f"{text} The batch size changes")


def test_a_batch_has_at_least_one_window() -> None:
    windows = {"training.sequence_length": 16, "training.batch_size": 1}
    experiment = {"training.sequence_length": 32, "training.batch_size": 1}
    assert experiment in steps(windows, used=9)


# Other experiments


def test_another_seed_is_always_proposed() -> None:
    assert {"seed": 8} in steps({"seed": 7})


@pytest.mark.parametrize(
    ("largest", "is_proposed"),
    [
        pytest.param(0.01, True, id="grows"),
        pytest.param(0.0, False, id="stays the same"),
        pytest.param(-0.01, False, id="shrinks"),
    ],
)
def test_a_lower_learning_rate_is_proposed_for_a_network_that_amplifies_differences(
    largest: float, is_proposed: bool
) -> None:
    experiments = steps({"training.optimizer.learning_rate": 0.004}, largest=largest, used=4)
    assert ({"training.optimizer.learning_rate": 0.002} in experiments) == is_proposed
    assert len(experiments) == 3


def test_training_is_proposed_for_an_untrained_network() -> None:
    experiments = steps({"training.steps": 0}, largest=0.1, used=4)
    assert experiments == [{"training.epochs": 1}, {"seed": 2}, {"model.layers": 2}]


def test_no_seed_is_proposed_if_the_page_has_other_seeds() -> None:
    html = choose_next_steps(RUN, config(), contents(used=4)).to_html(has_other_seeds=True)
    assert "another seed" not in html
    assert "training.sequence_length" in html


@pytest.mark.parametrize(
    ("layers", "other"), [pytest.param(1, 2, id="one layer"), pytest.param(2, 1, id="a stack")]
)
def test_another_depth_is_proposed(layers: int, other: int) -> None:
    assert {"model.layers": other} in steps({"model.layers": layers}, used=4)


def test_the_layer_that_remembers_longest_is_named() -> None:
    two_layers = config(**{"model.layers": 2})
    chosen = choose_next_steps(RUN, two_layers, contents(longest=1, used=4))
    assert "rnn.1 remembers longest" in chosen.experiments[2].text


# Commands


@pytest.fixture
def commands_of_seed() -> tuple[str, ...]:
    """Return the commands for another seed of a run whose name has a space."""
    chosen = choose_next_steps(Path("my runs/plays"), config(), contents(used=4))
    return tuple(chosen.experiments[1].commands)


def test_a_command_trains_the_experiment(commands_of_seed: tuple[str, ...]) -> None:
    train, _ = commands_of_seed
    text = "'my runs/plays'/corpus"
    settings = "-c 'my runs/plays'/config.yaml -s seed=2"
    assert train == f"charlm train {text} {settings} -r 'my runs/plays-seed-2'"


def test_a_command_compares_the_experiment(commands_of_seed: tuple[str, ...]) -> None:
    _, inspect = commands_of_seed
    runs = "'my runs/plays' 'my runs/plays-seed-2'"
    assert inspect == f"charlm inspect {runs} --out plays-seed-2.html"


def test_every_command_of_an_experiment_is_valid() -> None:
    chosen = choose_next_steps(RUN, config(), contents(used=4, largest=0.1))
    for step in chosen.experiments:
        for command in step.commands:
            parse_command(command.split()[1:])
        load_config(find_recipe("tiny"), overrides=step.settings)


def test_a_run_with_initial_weights_is_repeated_with_them() -> None:
    initialized = config(**{"training.initial_weights": "0" * 64})
    chosen = choose_next_steps(RUN, initialized, contents())
    trainings = [step.commands[0] for step in chosen.experiments]
    assert all("--init runs/plays/init.safetensors" in command for command in trainings)


def test_a_model_outside_a_run_has_no_experiments() -> None:
    chosen = report().next_steps
    html = chosen.to_html(has_other_seeds=False)
    assert chosen == NextSteps()
    assert "training text of this model is not in its folder" in html
