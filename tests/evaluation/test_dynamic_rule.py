"""The rules of dynamic evaluation by name."""

import pytest

from charlm.evaluation.dynamic_rule import RULES, DynamicRule, RuleName, dynamic_rule


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
