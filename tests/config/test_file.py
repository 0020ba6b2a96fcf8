"""Reading and writing configs: overrides, what is said of a wrong value, what a resume may change, and YAML."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config import file
from charlm.config.file import Overrides, flatten, parse_config, parse_yaml
from charlm.config.schema import DECIDED_BY_THE_TASK, Config, Teachers, TrainingConfig
from charlm.errors import CharlmError


def load(text: str, overrides: Overrides = ()) -> Config:
    """Load a text as a config."""
    Path("some.yaml").write_text(text, encoding="utf-8")
    return file.load_config(Path("some.yaml"), overrides=overrides)


# Overrides

MUON = "training: {optimizer: {name: muon, learning_rate: 0.5, weight_decay: 0.3}}"
LENGTH = "training: {epochs: 2, steps: 3, batch_size: 4}"
TAUGHT = "training: {teachers: {recipe: a, seeds: [1]}}"
PENALTY = "model: {rnn: {kernel_regularizer: {class_name: L2, config: {l2: 0.1}}}}"


def optimizer(
    name: str, rate: float, decay: float | None, momentum: float | None
) -> dict[str, Any]:
    """Return the settings of an optimizer."""
    values = {"name": name, "learning_rate": rate, "weight_decay": decay, "momentum": momentum}
    return {f"training.optimizer.{key}": value for key, value in values.items()}


def teachers(recipe: str | None, seeds: list[int], models: list[str]) -> dict[str, Any]:
    """Return the settings of the teachers."""
    values = {"recipe": recipe, "seeds": seeds, "models": models}
    return {f"training.teachers.{key}": value for key, value in values.items()}


def length(epochs: int | None, steps: int | None, batch_size: int = 4) -> dict[str, Any]:
    """Return the settings of the length of a training."""
    return {"training.epochs": epochs, "training.steps": steps, "training.batch_size": batch_size}


def test_an_override_replaces_what_the_file_says_and_what_belongs_to_that() -> None:
    expected: Any
    for text, overrides, expected in (
        *(
            (
                "model: {embedding: 4, layers: 2}",
                f"model.embedding={value}",
                {"model.embedding": e, "model.layers": 2},
            )
            for value, e in (("", None), ("null", None), ("8", 8))
        ),
        ("", "training.schedule.warmup_steps=8", {"training.schedule.warmup_steps": 8}),
        (
            "",
            ["model.rnn.dropout=1e-2", "seed=3", "seed=4"],
            {"model.rnn.dropout": 0.01, "seed": 4},
        ),
        *(
            (LENGTH, overrides, length(None, 5))
            for overrides in (
                *(
                    "training.steps=5",
                    ["training={steps: 5}"],
                    {"training": {"steps": 5}},
                    {"training.steps": 5},
                ),
                {"training": {"steps": 6}, "training.steps": 5},
            )
        ),
        (LENGTH, "training.epochs=7", length(7, None)),
        (LENGTH, ["training.steps=7", "training.epochs=8"], length(8, 7)),
        (LENGTH, "training.steps=null", length(2, None)),
        (LENGTH, "training.epochs=null", length(None, 3)),
        (LENGTH, "training.batch_size=7", length(2, 3, 7)),
        ("training: {batch_size: 3}", (), length(10, None, 3)),
        ("training: {steps: 3}", (), length(None, 3, 64)),
        (MUON, "training.optimizer={name: sgd, momentum: 0.1}", optimizer("sgd", 0.002, None, 0.1)),
        (MUON, "training.optimizer={name: muon, momentum: 0.1}", optimizer("muon", 0.5, 0.3, 0.1)),
        (
            MUON,
            ["training.optimizer.learning_rate=1", "training.optimizer.name=sgd"],
            optimizer("sgd", 1, None, None),
        ),
        (
            MUON,
            ["training.optimizer.name=sgd", "training.optimizer.learning_rate=1"],
            optimizer("sgd", 1, None, None),
        ),
        (
            "training: {optimizer: {learning_rate: 1}}",
            "training.optimizer.name=adam",
            optimizer("adam", 1, None, None),
        ),
        *(
            (
                PENALTY,
                f"model.rnn.kernel_regularizer={value}",
                {"model.rnn.kernel_regularizer": expected},
            )
            for value, expected in (
                *(("l2", "l2"), ("null", None), ("{class_name: L1}", {"class_name": "L1"})),
                ("{config: {l1: 1}}", {"class_name": "L2", "config": {"l2": 0.1, "l1": 1}}),
            )
        ),
        (TAUGHT, "training.teachers={models: [b]}", teachers(None, [], ["b"])),
        (TAUGHT, "training.teachers.seeds=[4]", teachers("a", [4], [])),
    ):
        assert flatten(load(text, overrides)) == {**flatten(load(text)), **expected}


def test_a_wrong_file_or_override_is_refused() -> None:
    for text, override, message in (
        *(
            (text, (), f"some.yaml: found {found}; must be a mapping of keys to values")
            for text, found in (
                ("[seed]", "['seed']"),
                ("just words", "'just words'"),
                ("true", "true"),
            )
        ),
        ("seed: 1.5", "seed=1", "some.yaml: seed: found 1.5; "),
        ("seed: 1", "seed", "override seed: must be KEY=VALUE"),
        ("seed: 1", " =3", "override  =3: must be KEY=VALUE"),
        ("seed: 1", "seed.x=3", "override: seed: found {'x': 3}; must be a valid integer"),
        ("seed: 1", "model.units=many", "override: model.units: found 'many'; "),
        ("seed: 1", "seed=[", "override seed: "),
        ("seed: 1", "seed=*x", "override seed: line 1, column 1: not valid YAML: aliases and tags"),
        (
            "seed: 1",
            "training.optimizer" + ".x" * 5000 + "=1",
            "override: training.optimizer.x: found {'x': {'x'",
        ),
    ):
        with pytest.raises(CharlmError) as error:
            load(text, override)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


# What is wrong with a value


TEACHERS = "training.teachers: .* {recipe: NAME, seeds: .* {models: [FILE.*"
INITIALIZER = "model.input_initializer: found {.*}; .* with class_name.*"
MISTAKES = {
    "sed: 3": "sed: found 3; there is no such key; did you mean seed?",
    "xyzzy: 1": "xyzzy: found 1; there is no such key",
    "learning_rate: 1": (
        "learning_rate: found 1; there is no such key; did you mean training.optimizer.learning_rate?"
    ),
    "seed: -1": "seed: found -1; .* greater than or equal to 0",
    "seed: 2147483648": "seed: found 2147483648; .* less than 2147483648",
    "corpus: 3": "corpus: found 3; must be a mapping of keys to values",
    "model: {rnn: tanh}": "model.rnn: found 'tanh'; must be a mapping of keys to values",
    "training: {lr: 1}": "training.lr: .* no such key; did you mean training.optimizer.learning_rate?",
    "model: {hidden_size: 1}": "model.hidden_size: .* no such key; did you mean model.units?",
    "model: {dropout: 0.1}": "model.dropout: .* no such key; did you mean model.layer_dropout?",
    "model: {rnn: {drop_out: 0.1}}": "model.rnn.drop_out: .* no such key; did you mean model.rnn.dropout?",
    "optimizer: adam": "optimizer: found 'adam'; .* no such key; did you mean training.optimizer: {name: adam}?",
    "training: {optimizer: adam}": (
        "training.optimizer: found 'adam'; must be a mapping .*; did you mean training.optimizer: {name: adam}?"
    ),
    "training: {teachers: {models: a}}": "training.teachers.models: found 'a'; must be a list",
    "corpus: {validation_fraction: 0.5, test_fraction: 0.5}": "corpus: found .*; validation_fraction .* than 1",
    "model: {unit: 3}": "model.unit: found 3; there is no such key; did you mean model.units?",
    "model: {rnn: {activation: than}}": "model.rnn.activation: found 'than'; .*'relu'.*; did you mean tanh?",
    "model: {rnn: {bias_regularizer: 1}}": "model.rnn.bias_regularizer: found 1; .* a name, null, or .*",
    "model: {input_initializer: {module: os, class_name: system}}": INITIALIZER,
    "model: {input_initializer: {class_name: 3}}": INITIALIZER,
    "model: {input_initializer: {}}": INITIALIZER,
    "model: {input_initializer: {class_name: L2, extra: 1}}": INITIALIZER,
    "training: {optimiser: adam}": "training.optimiser: .* no such key; did you mean training.optimizer: {name: adam}?",
    "training: {optimiser: x}": "training.optimiser: found 'x'; there is no such key; did you mean training.optimizer?",
    "training: {optimizer: x}": "training.optimizer: found 'x'; must be a mapping of keys to values",
    "training: {teachers: tiny}": "training.teachers: found 'tiny'; must be a mapping of keys to values",
    "teachers: tiny": "teachers: found 'tiny'; there is no such key; did you mean training.teachers?",
    "name: adam": "name: found 'adam'; there is no such key",
    "seeds: 3": "seeds: found 3; there is no such key; did you mean seed?",
    "training: {schedule: {nam: cosine}}": (
        "training.schedule.nam: found 'cosine'; there is no such key; did you mean training.schedule.name?"
    ),
    "training: {optimizer: {momentum: 0.5}}": "training.optimizer: .*; adam has no momentum; .* sgd or muon",
    "training: {precision: 16}": "training.precision: found 16; must be 'auto', 'float32' or 'bfloat16'",
    "training: {clip_norm: 0}": "training.clip_norm: found 0; .* greater than or equal to 0.000000001",
    "training: {steps: 9007199254740993}": "training.steps: found 9007199254740993; .* 1000000000",
    "training: {steps: null, epochs: null}": "training: found {.*}; epochs or steps must be set",
    "training: {ngram_weight: 0.6, teachers: {models: [a]}}": "training: .*; teacher_weight .* found 1.1; .*",
    "training: {teachers: {recip: a}}": ".*teachers.recip: .*; did you mean training.teachers.recipe?",
    "training: {teachers: {recipe: a, seds: [1]}}": ".*teachers.seds: .*; did you mean training.teachers.seeds?",
    "training: {teachers: {recipe: a, seeds: [1, 1]}}": "training.teachers: found .*; a seed occurs twice; .*",
    "training: {teachers: {}}": TEACHERS,
    "training: {teachers: {recipe: a}}": TEACHERS,
    "training: {teachers: {seeds: [1]}}": TEACHERS,
    "training: {teachers: {models: [a], seeds: [1]}}": TEACHERS,
    "training: {teachers: {recipe: a, seeds: []}}": TEACHERS,
}
"""A wrong config, and what is said of it: the key, what was found, and what is expected; .* stands for more words."""


def check_refused(text: str, message: str) -> None:
    """Check that a text is no config, with a message in which .* stands for more words."""
    with pytest.raises(CharlmError) as error:
        parse_config(parse_yaml(text, origin="yaml"), origin="test")
    pattern = re.escape(f"test: {message}").replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, str(error.value)), error.value


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_answered_with_what_is_expected(text: str) -> None:
    check_refused(text, MISTAKES[text])


def problems_of(values: dict[str, Any], origin: str = "test") -> tuple[str, ...]:
    """Return the lines of the error about a wrong config."""
    with pytest.raises(CharlmError) as error:
        parse_config(values, origin=origin)
    return error.value.lines


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("opt", "training.optimizer"),
        ("lr_schedule", "training.schedule"),
        ("scheduler", "training.schedule"),
        ("warmup", "training.schedule.warmup_steps"),
        ("grad_clip", "training.clip_norm"),
        ("patience", "training.early_stopping"),
        ("validation_split", "corpus.validation_fraction"),
        ("lr", "training.optimizer.learning_rate"),
        ("step_size", "training.optimizer.learning_rate"),
        ("hidden_size", "model.units"),
        ("rnn_size", "model.units"),
        ("n_layers", "model.layers"),
        ("depth", "model.layers"),
        ("embedding_dim", "model.embedding"),
        ("dropout", "model.layer_dropout"),
        ("batch", "training.batch_size"),
        ("block_size", "training.sequence_length"),
        ("bptt", "training.sequence_length"),
        ("num_epochs", "training.epochs"),
        ("max_iters", "training.steps"),
    ],
)
def test_a_usual_name_is_answered_with_the_setting(name: str, key: str) -> None:
    assert problems_of({name: 3}) == (
        f"test: {name}: found 3; there is no such key; did you mean {key}?",
    )


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        pytest.param("lr=0.1", "training.optimizer.learning_rate=0.1", id="usual name"),
        pytest.param(
            "training.lr=0.1", "training.optimizer.learning_rate=0.1", id="usual name in a section"
        ),
        pytest.param("epochs=3", "training.epochs=3", id="without its section"),
        pytest.param("optimizer=adam", "training.optimizer.name=adam", id="name of an optimizer"),
        pytest.param(
            "training.optimizer=adam",
            "training.optimizer.name=adam",
            id="name in place of a section",
        ),
        pytest.param("shuffel=true", "training.shuffle=true", id="truth value"),
        pytest.param(
            "lr=high", "training.optimizer.learning_rate", id="value that would be refused"
        ),
        pytest.param("optimizer=adm", "training.optimizer", id="unknown optimizer"),
        pytest.param("modell={units: 3}", "model", id="section"),
    ],
)
def test_a_wrong_override_is_answered_with_one_that_can_be_used(override: str, meant: str) -> None:
    (message,) = problems_of(file.parse_overrides(override), origin=file.OVERRIDE)
    assert message.endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    "override",
    [
        pytest.param("name=adam", id="name that two sections have"),
        pytest.param("training.teachers=tiny", id="teachers"),
        pytest.param("training.optimizer=adm", id="unknown optimizer"),
    ],
)
def test_a_wrong_override_gets_no_hint_that_would_be_refused(override: str) -> None:
    (message,) = problems_of(file.parse_overrides(override), origin=file.OVERRIDE)
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param("model.units=5", True, id="valid"),
        pytest.param("model.units=many", False, id="wrong value"),
        pytest.param("model.unit=5", False, id="unknown key"),
        pytest.param("seed=[", False, id="no YAML"),
        pytest.param("training.optimizer.momentum=0.5", False, id="not with the default optimizer"),
    ],
)
def test_overrides_are_valid_or_not(override: str, expected: bool) -> None:
    assert file.is_valid(override) == expected


def test_all_problems_of_a_config_are_told_in_their_order() -> None:
    values = {
        "sed": 1,
        "model": {"units": "x", "layers": 0},
        "training": {"optimizer": {"name": "adm"}},
    }
    first, *others = problems_of(values)
    assert first == "test: 4 errors"
    assert [problem.partition(":")[0] for problem in others] == [
        *("model.layers", "model.units"),
        *("training.optimizer.name", "sed"),
    ]
    with pytest.raises(CharlmError) as error:
        parse_config(values, origin="test")
    assert str(error.value) == f"test: 4 errors: {'; '.join(others)}"


@pytest.mark.parametrize(
    ("count", "last"),
    [pytest.param(10, "x9: ", id="ten"), pytest.param(1012, "and 1,002 more", id="more")],
)
def test_at_most_ten_problems_are_shown(count: int, last: str) -> None:
    first, *others = problems_of({f"x{number}": 1 for number in range(count)})
    assert first == f"test: {count:,} errors"
    assert others[9].startswith("x9: ")
    assert others[-1].startswith(last)


def test_a_wrong_value_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.errors.MAX_PROBLEMS", 1000)
    wrong: dict[str, Any] = {key: {"x": []} for key in flatten(Config())} | {"training.teachers": 1}
    keys = [problem.partition(":")[0] for problem in problems_of(file.nest(wrong.items()))[1:]]
    assert sorted(keys) == sorted(wrong)


@pytest.mark.parametrize("key", DECIDED_BY_THE_TASK)
def test_a_setting_that_the_task_decides_is_refused_with_the_reason(key: str) -> None:
    reason = DECIDED_BY_THE_TASK[key]
    check_refused(
        f"model: {{rnn: {{{key}: 1}}}}",
        f"model.rnn: found {{'{key}': 1}}; {key} is not a setting: {reason}",
    )


def test_a_long_value_is_cut_and_controls_are_escaped() -> None:
    with pytest.raises(CharlmError) as error:
        parse_config({"seed": 10**6 * "\x1b", "recipe": None}, origin="test")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*flatten(Config()), "x", ""]), json_values, max_size=3))
def test_any_mapping_is_a_config_or_refused_in_one_line(flat: dict[str, Any]) -> None:
    try:
        config = parse_config(file.nest(flat.items()), origin="test")
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
        assert (
            parse_config(parse_yaml(file.dump_config(config), origin="again"), origin="again")
            == config
        )
    assert re.fullmatch(r"test: [^\n]*", message)


# What a resume may change


RESUMABLE = {
    *(
        "training.epochs",
        "training.steps",
        "training.optimizer.learning_rate",
        "training.early_stopping",
    ),
    *(
        "training.schedule.name",
        "training.schedule.warmup_steps",
        "training.schedule.final_fraction",
    ),
    *("training.evaluations", "training.keep_checkpoints", "training.log_every"),
}


def change(section: Any, key: str, value: Any) -> Any:
    """Return a config with another value, which is not checked."""
    name, _, rest = key.partition(".")
    return section.model_copy(
        update={name: change(getattr(section, name), rest, value) if rest else value}
    )


@pytest.mark.parametrize("key", flatten(Config()))
def test_what_decided_the_steps_so_far_is_refused_and_the_rest_returned_with_both_values(
    key: str,
) -> None:
    before = flatten(Config())[key]
    if key in RESUMABLE or key.startswith("sampling."):
        assert file.check_resume(Config(), change(Config(), key, "new")) == {key: (before, "new")}
    else:
        with pytest.raises(CharlmError) as caught:
            file.check_resume(
                Config(), change(Config(), key, {"class_name": "L2"}), origin="a file"
            )
        assert str(caught.value).startswith(
            f"a file: {key}: found {{'class_name': 'L2'}}; must be "
        )
        assert str(caught.value).endswith("start a new run")


@pytest.mark.parametrize("is_added", [True, False], ids=["added", "removed"])
def test_a_section_that_a_resume_adds_or_removes_is_refused_with_both_values(
    is_added: bool,
) -> None:
    taught = Config(training=TrainingConfig(teachers=Teachers(models=("a",))))
    before, after = (Config(), taught) if is_added else (taught, Config())
    with pytest.raises(
        CharlmError,
        match=r"^override: training\.teachers.*: found .*; must be .* as before",
    ):
        file.check_resume(before, after)


def test_a_resume_without_changes_has_none_and_one_that_is_refused_says_both_values_as_yaml_has_them() -> (
    None
):
    assert file.check_resume(Config(), Config()) == {}
    changed = change(change(Config(), "training.shuffle", True), "training.steps", 3)
    with pytest.raises(
        CharlmError,
        match=r"^override: training\.shuffle: found true; must be false as before",
    ):
        file.check_resume(Config(), changed)


# YAML


def parse(text: str) -> Any:
    return parse_yaml(text, origin="test")


def test_plain_yaml_is_read() -> None:
    for text, value in (
        *(
            ("a: 1", {"a": 1}),
            ("[true, null, ~, 1.5, text]", [True, None, None, 1.5, "text"]),
            ("", None),
        ),
        *(("[no, On]", [False, True]), ("-9223372036854775808", -(2**63)), ("1: 2", {"1": 2})),
        *((" " * 99_999 + "1", 1), ("[" * 32 + "]" * 32, json.loads("[" * 32 + "]" * 32))),
        *((text, 0.001) for text in ("1e-3", "1E-3", "1.0e-3", "+1e-3", "0.001", "1.e-3", ".1e-2")),
    ):
        assert parse(text) == value


def test_the_problem_is_named_with_its_line_and_column() -> None:
    for text, problem in (
        ("seed: 1\nseed: 2", "line 2, column 1: not valid YAML: 'seed' occurs twice"),
        ("1: 1\n'1': 2", "line 2, column 1: not valid YAML: '1' occurs twice"),
        ("a: &x 1\nb: *x", "line 2, column 4: not valid YAML: aliases and tags"),
        ("seed: !!int 1", "line 1, column 7: not valid YAML: aliases and tags"),
        ("[" * 1000, "line 1, column 34: not valid YAML: more than 32 lists"),
        ("[a]: 1", "line 1, column 1: not valid YAML: found unhashable key"),
        *(
            (
                f"a: {number}",
                f"line 1, column 4: not valid YAML: '{number}' is not a decimal number; put a text",
            )
            for number in ("010", "0x1f", "1:30", "1_000", "0b11")
        ),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 1e999", "a: found inf; expected a finite number"),
        (
            "a: 2001-01-01",
            "found {'a': datetime.date(2001, 1, 1)}; must be a value that JSON can express; put a date",
        ),
        ("a: 2001-13-01", "not valid YAML: month must be in 1..12"),
        ('a: "\\ud800"', r"a: found '\ud800', which has an unpaired surrogate"),
        (" " * 100_001, "100,001 characters; a config has at most 100,000"),
    ):
        with pytest.raises(CharlmError) as error:
            parse(text)
        assert str(error.value).startswith(f"test: {problem}")


@pytest.mark.parametrize("text", ["1:30.5", "1_0.5", "1e", "e5", "1.2.3", "+", "."])
def test_a_number_of_yaml_1_1_and_what_is_nearly_one_is_a_text(text: str) -> None:
    assert parse(text) == text


LONG = (
    "9" * 99_000,
    "9" * 4000 + "e",
    "9" * 50_000 + "." + "9" * 49_000 + "e",
    "1." * 49_000,
    "1:" * 40_000 + "1.0",
)
"""With a pattern that backtracks, reading or writing one of them takes minutes."""


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:3] + text[-3:])
def test_a_long_text_that_begins_like_a_number_is_written_and_read_back(text: str) -> None:
    assert parse(file.dump_yaml({"a": text})) == {"a": text}


def test_a_value_of_a_program_is_taken_as_json_has_it_or_refused() -> None:
    twice: dict[str, Any] = {"a": (1, None, "x: y")}
    plain = file.as_json([twice, twice], origin="test")
    assert plain == parse(file.dump_yaml([twice, twice])) == 2 * [{"a": [1, None, "x: y"]}]
    twice["self"] = twice
    for value in (b"x", {1}, object, twice):
        with pytest.raises(
            CharlmError, match=r"^override a: found .*; must be a value that JSON can express"
        ):
            file.as_json(value, origin="override a")


def test_keys_are_written_in_their_order_and_letters_as_they_are() -> None:
    assert file.dump_yaml({"b": "\u00e9", "a": "x"}) == "b: \u00e9\na: x\n"


PARTS = [
    *(
        "!!int ",
        "!!set ",
        "! ",
        "'",
        '"',
        "maybe",
        "true",
        "~",
        "0x",
        "_",
        "-",
        "+",
        ".",
        ".inf",
        "1:",
    ),
    *(
        "1e",
        "e9",
        "9",
        "9",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "- ",
        "? ",
        "\n",
        " ",
        "&a ",
        "*a",
        "<<",
        "=",
    ),
    *(
        "|",
        ">",
        "#",
        "%",
        "---",
        "...",
        "\\x",
        "\\ud800",
        "\x00",
        "\x85",
        "\u2028",
        "\ufeff",
        "[" * 40,
    ),
    *("9" * 5000, "2001-01-01", ": {a: 1}", "010"),
]
fragments = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
texts = st.text(max_size=50) | st.text("{}[]:,-?!&*#|>'\"%@`<= \n\tab1", max_size=50) | fragments


@settings(max_examples=300)
@given(texts)
def test_any_text_is_yaml_or_refused_in_one_line(text: str) -> None:
    try:
        parse(text)
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
    assert message.startswith("test: ")
    assert len(message.splitlines()) == 1


@settings(max_examples=150)
@example(
    {
        text: text
        for text in (
            "1e5",
            "no",
            "~",
            "null",
            "0x1",
            "=",
            "<<",
            "2001-01-01",
            "1:30",
            "- x",
            "",
            "\x85",
        )
    }
)
@given(
    st.dictionaries(
        texts,
        texts
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.booleans(),
    )
)
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    text = file.dump_yaml(values)
    if len(text) <= 100_000:
        assert parse(text) == values
