"""The rules of dynamic evaluation by name."""

import math
from dataclasses import replace
from typing import Any

import pytest

from charlm.errors import CharlmError
from charlm.evaluation.dynamic_rule import (
    MAX_SEGMENT,
    RULES,
    DynamicRule,
    RuleName,
    check_memory,
    check_rule,
    dynamic_rule,
)
from charlm.network.architecture import Architecture


def test_default_rule_is_rms() -> None:
    assert dynamic_rule() == RULES["rms"]


@pytest.mark.parametrize("name", ["rms", "sgd"])
def test_rule_has_the_defaults_of_its_name(name: RuleName) -> None:
    assert dynamic_rule(name) == RULES[name]
    assert RULES[name].name == name


@pytest.mark.parametrize("name", ["rms", "sgd"])
def test_values_that_are_given_replace_the_defaults(name: RuleName) -> None:
    default = RULES[name]
    assert dynamic_rule(name, rate=0.5, segment=7) == DynamicRule(name, 0.5, default.decay, 7)
    assert dynamic_rule(name, decay=0.25) == DynamicRule(name, default.rate, 0.25, default.segment)


def test_zero_replaces_a_default() -> None:
    assert dynamic_rule("sgd", rate=0.0, decay=0.0) == DynamicRule("sgd", 0.0, 0.0, RULES["sgd"].segment)


@pytest.mark.parametrize(
    "change",
    [
        *({"rate": value} for value in (-1e-9, math.nan, math.inf)),
        *({"decay": value} for value in (-1e-9, 1.1, math.nan)),
        *({"segment": value} for value in (0, MAX_SEGMENT + 1)),
    ],
    ids=str,
)
def test_a_number_out_of_range_is_refused(change: dict[str, Any]) -> None:
    check_rule(RULES["sgd"])
    with pytest.raises(CharlmError, match=r"^dynamic: found .* segment from 1 to 10,000$"):
        check_rule(replace(RULES["sgd"], **change))


def test_only_rms_takes_its_rate_from_the_training_text() -> None:
    check_rule(RULES["rms"])
    assert RULES["rms"].rate is None
    with pytest.raises(CharlmError, match=r"^dynamic: the rule sgd needs a rate; only rms"):
        check_rule(replace(RULES["sgd"], rate=None))


@pytest.mark.parametrize(("name", "numbers"), [("sgd", 4), ("rms", 7)])
def test_a_network_that_does_not_fit_into_the_memory_is_refused(name: RuleName, numbers: int) -> None:
    network = Architecture(
        vocabulary_size=5,
        layers=1,
        units=4,
        embedding=None,
        use_bias=True,
        activation="tanh",
        skip_connections=False,
    )
    weights = 5 * 4 + 4 * 4 + 4 + 4 * 5 + 5
    check_memory(network, RULES[name], available_bytes=4 * numbers * weights)
    check_memory(network, RULES[name], available_bytes=None)
    with pytest.raises(CharlmError, match=f"^--dynamic: 65 weights; the rule {name} needs at least"):
        check_memory(network, RULES[name], available_bytes=4 * numbers * weights - 1)
