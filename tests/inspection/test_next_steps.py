"""What a report tells its reader to try next."""

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
from charlm.inspection.next_steps import NextSteps, choose_next_steps, suggested_command
from charlm.inspection.section import Content
from charlm.training.suggestion import Suggestion

RUN = Path("runs/plays")


def config(**changes: Any) -> Config:
    """Return every setting of the recipe tiny, with changes by dotted keys."""
    return load_config(find_recipe("tiny"), overrides=changes)


def contents(
    *, used: int | None = None, largest: float = -0.3, longest: int = 0
) -> dict[str, Content]:
    """Return sections of a report that say how much context is used, and how small differences grow."""
    sections = dict(report().contents)
    context = replace(sections["usable_context"].data, used=used)
    found = sections["lyapunov"].data
    exponents = np.array([largest, *found.exponents[1:]])
    layers = tuple(
        replace(each, exponent=-0.1 if each.layer == longest else -0.5) for each in found.layers
    )
    sections["usable_context"] = replace(sections["usable_context"], data=context)
    sections["lyapunov"] = replace(
        sections["lyapunov"], data=replace(found, exponents=exponents, layers=layers)
    )
    return sections


def steps(changes: dict[str, Any] | None = None, **findings: Any) -> list[dict[str, Any]]:
    """Return the settings of the experiments for a network."""
    chosen = choose_next_steps(RUN, config(**(changes or {})), contents(**findings), None)
    return [dict(step.settings) for step in chosen.experiments]


WINDOWS = {"training.sequence_length": 16, "training.batch_size": 8}


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        pytest.param(
            4,
            {"training.sequence_length": 2, "training.batch_size": 64},
            id="much shorter than windows",
        ),
        pytest.param(
            8, {"training.sequence_length": 4, "training.batch_size": 32}, id="half of a window"
        ),
        pytest.param(
            9,
            {"training.sequence_length": 32, "training.batch_size": 4},
            id="more than half of a window",
        ),
        pytest.param(
            2, {"training.sequence_length": 1, "training.batch_size": 128}, id="two characters"
        ),
    ],
)
def test_windows_are_made_shorter_than_the_context_or_longer_if_they_may_limit_it(
    used: int, expected: dict[str, int]
) -> None:
    assert expected in steps(WINDOWS, used=used)


def test_without_a_known_context_no_other_windows_are_proposed() -> None:
    assert not [
        settings for settings in steps(WINDOWS, used=None) if "training.sequence_length" in settings
    ]


def test_another_seed_is_always_proposed() -> None:
    assert {"seed": 8} in steps({"seed": 7})


@pytest.mark.parametrize(
    ("largest", "is_proposed"),
    [pytest.param(0.01, True, id="grows"), pytest.param(-0.01, False, id="shrinks")],
)
def test_a_network_that_amplifies_differences_is_to_learn_more_slowly(
    largest: float, is_proposed: bool
) -> None:
    found = steps({"training.optimizer.learning_rate": 0.004}, largest=largest, used=4)
    assert ({"training.optimizer.learning_rate": 0.002} in found) == is_proposed
    assert len(found) == 3


def test_an_untrained_network_is_to_be_trained() -> None:
    found = steps({"training.steps": 0}, largest=0.1, used=4)
    assert found == [{"training.epochs": 1}, {"seed": 2}, {"model.layers": 2}]


@pytest.mark.parametrize("used", [0, 1])
def test_a_network_that_uses_no_context_to_speak_of_gets_no_shorter_windows(used: int) -> None:
    assert not [
        settings for settings in steps(WINDOWS, used=used) if "training.sequence_length" in settings
    ]


def test_next_to_other_seeds_no_further_seed_is_proposed() -> None:
    html = choose_next_steps(RUN, config(), contents(used=4), None).to_html(has_other_seeds=True)
    assert "another seed" not in html
    assert "training.sequence_length" in html


@pytest.mark.parametrize(
    ("layers", "other"), [pytest.param(1, 2, id="one layer"), pytest.param(2, 1, id="a stack")]
)
def test_another_depth_is_proposed(layers: int, other: int) -> None:
    assert {"model.layers": other} in steps({"model.layers": layers}, used=4)


def test_the_layer_that_remembers_longest_is_named() -> None:
    chosen = choose_next_steps(
        RUN, config(**{"model.layers": 2}), contents(longest=1, used=4), None
    )
    assert "rnn.1 remembers longest" in chosen.experiments[2].text


def test_the_commands_train_the_experiment_and_compare_it() -> None:
    chosen = choose_next_steps(Path("my runs/plays"), config(), contents(used=4), None)
    train, inspect = chosen.experiments[1].commands
    folder = "'my runs/plays'"
    assert (
        train
        == f"charlm train {folder}/corpus -c {folder}/config.yaml -s seed=2 -r 'my runs/plays-seed-2'"
    )
    assert inspect == f"charlm inspect {folder} 'my runs/plays-seed-2' --out plays-seed-2.html"


def test_every_command_of_an_experiment_is_valid() -> None:
    chosen = choose_next_steps(RUN, config(), contents(used=4, largest=0.1), None)
    for step in chosen.experiments:
        for command in step.commands:
            parse_command(command.split()[1:])
        load_config(find_recipe("tiny"), overrides=step.settings)


def test_a_run_with_initial_weights_is_repeated_with_them() -> None:
    chosen = choose_next_steps(
        RUN, config(**{"training.initial_weights": "0" * 64}), contents(), None
    )
    assert all(
        "--init runs/plays/init.safetensors" in step.commands[0] for step in chosen.experiments
    )


def test_the_suggestion_of_the_training_comes_first_on_the_page() -> None:
    chosen = choose_next_steps(RUN, config(), contents(), Suggestion("still learning", epochs=8))
    assert chosen.suggestion is not None
    assert chosen.suggestion.text == "Still learning at the end; train twice as long."
    (command,) = chosen.suggestion.commands
    assert command == "charlm train runs/plays/corpus -c runs/plays/config.yaml --epochs 8"
    html = chosen.to_html(has_other_seeds=False)
    assert html.index(command) < html.index("another seed")


def test_a_suggestion_without_settings_has_no_command() -> None:
    chosen = choose_next_steps(RUN, config(), contents(), Suggestion("short text"))
    assert chosen.suggestion is not None
    assert chosen.suggestion.commands == ()
    assert suggested_command(Suggestion("short text"), RUN, has_initial_weights=False) is None


def test_a_model_outside_a_run_has_no_experiments() -> None:
    chosen = report().next_steps
    assert chosen == NextSteps()
    assert "training text of this model is not in its folder" in chosen.to_html(
        has_other_seeds=False
    )
