"""`evaluate` and `compare`: what they return, and what they refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.api.evaluation import compare
from charlm.errors import CharlmError
from charlm.evaluation.dynamic_rule import dynamic_rule
from charlm.network.bundle import Bundle, write_bundle

TEXT = "abba\nab\n" * 5


@pytest.fixture
def model(bundle_folder: Path) -> charlm.Model:
    """Load the random bundle."""
    return charlm.load(bundle_folder)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text that the random bundle knows all characters of."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


# evaluate


@pytest.mark.parametrize("settings", [{}, {"protocol": "windows", "window": 7}])
def test_the_score_is_the_mean_of_the_scores_of_the_model(
    settings: dict[str, Any], model: charlm.Model, text: Path
) -> None:
    evaluation = charlm.evaluate(model, text, **settings)
    assert evaluation.score.nats_per_char == pytest.approx(model.score(TEXT, **settings).mean(), abs=1e-6)
    assert evaluation.score.characters == len(TEXT) - 1
    assert (evaluation.text, evaluation.baselines) == (str(text), None)


def test_without_a_text_the_validation_text_of_the_run_is_scored(trained_run: Path) -> None:
    evaluation = charlm.evaluate(charlm.load(trained_run))
    assert evaluation.text == "validation text of the run"
    assert evaluation.score.characters == 2000 - 1


def test_a_split_scores_a_part_of_the_text(model: charlm.Model, text: Path) -> None:
    assert charlm.evaluate(model, str(text), split="validation").score.characters == 4 - 1


def test_baselines_are_added_if_they_are_asked_for(model: charlm.Model, text: Path) -> None:
    baselines = charlm.evaluate(model, text, baselines=True).baselines
    assert baselines is not None
    assert {"zlib", "bz2", "lzma"} <= set(baselines.nats_per_char)


def test_the_loss_of_each_character_is_written_if_it_is_asked_for(model: charlm.Model, text: Path) -> None:
    written: list[bytes] = []
    charlm.evaluate(model, text, write_surprise=written.append)
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert [line["character"] for line in lines] == [*TEXT[1:]]
    assert [line["nats"] for line in lines] == pytest.approx(model.score(TEXT).tolist(), rel=1e-5)


@pytest.mark.parametrize("dynamic", ["sgd", dynamic_rule("sgd", rate=0.05, segment=20)])
def test_a_dynamic_rule_is_given_by_itself_or_by_its_name(dynamic: Any, trained_run: Path, text: Path) -> None:
    fixed, adapted = (charlm.evaluate(charlm.load(trained_run), text, dynamic=rule).score for rule in (None, dynamic))
    assert adapted.characters == fixed.characters
    assert adapted.nats_per_char < fixed.nats_per_char


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ("layers: 3, units: 4", "layers 3 instead of 2"),
        ("layers: 2, units: 5", "units 5 instead of 4"),
        ("layers: 1, units: 65536", "layers 1 instead of 2, units 65536 instead of 4"),
        ("layers: 2, units: 4, embedding: 65536", "embedding 65536 instead of None"),
        ("layers: 2, units: 4, skip_connections: true", "skip_connections True instead of False"),
        ("layers: 2, units: 4, rnn: {use_bias: false}", "use_bias False instead of True"),
        ("layers: 2, units: 4, rnn: {activation: relu}", "activation relu instead of tanh"),
    ],
)
def test_a_config_of_another_network_is_refused_by_dynamic_evaluation(
    settings: str, difference: str, bundle: Bundle, text: Path, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "other", replace(bundle, config=f"model: {{{settings}}}"))
    with pytest.raises(
        CharlmError, match=rf"other/config\.yaml: not the config of this model: {difference}; --dynamic"
    ):
        charlm.evaluate(charlm.load(tmp_path / "other"), text, dynamic="sgd")


def test_settings_that_only_training_uses_do_not_change_dynamic_evaluation(
    bundle: Bundle, text: Path, tmp_path: Path
) -> None:
    initializer = "input_initializer: {class_name: VarianceScaling, config: {scale: -1}}"
    write_bundle(tmp_path / "same", bundle)
    write_bundle(tmp_path / "other", replace(bundle, config=f"model: {{layers: 2, units: 4, {initializer}}}"))
    same, other = (charlm.evaluate(charlm.load(tmp_path / name), text, dynamic="sgd") for name in ("same", "other"))
    assert other.score == same.score


def test_dynamic_evaluation_comes_with_the_score_of_the_trained_weights(trained_run: Path, text: Path) -> None:
    model = charlm.load(trained_run)
    static = charlm.evaluate(model, text)
    adapted = charlm.evaluate(model, text, dynamic="sgd")
    assert (adapted.static, static.static) == (static.score, None)


@pytest.mark.parametrize(("rate", "is_harmed"), [(0.0, False), (1e-3, False), (10.0, True)])
def test_a_rule_does_harm_if_it_makes_the_score_worse(rate: float, is_harmed: bool, trained_run: Path) -> None:
    rule = dynamic_rule("sgd", rate=rate, decay=0.0)
    assert charlm.evaluate(charlm.load(trained_run), dynamic=rule).is_harmed == is_harmed


def test_weights_that_diverge_are_refused_with_what_to_lower(trained_run: Path, text: Path) -> None:
    with pytest.raises(CharlmError, match="the weights are too large; use a lower --dynamic-rate"):
        charlm.evaluate(charlm.load(trained_run), text, dynamic=dynamic_rule("sgd", rate=1e39))


def test_the_rule_rms_needs_the_training_text(trained_run: Path, text: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run / "best", tmp_path / "bundle")
    with pytest.raises(CharlmError, match="--dynamic-rule rms needs the training text"):
        charlm.evaluate(charlm.load(tmp_path / "bundle"), text, dynamic="rms")


SGD = dynamic_rule("sgd")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "backwards"}, "protocol: found 'backwards'; must be stream or windows"),
        ({"split": "dev"}, "split: found 'dev'; must be train, validation or test"),
        ({"unknown": "ignore"}, "unknown: found 'ignore'; must be error or skip"),
        ({"dynamic": "adam"}, "dynamic: found 'adam'; must be rms or sgd"),
        ({"dynamic": "sgd", "protocol": "windows"}, "protocol: found windows; dynamic evaluation reads the text as a"),
        ({"dynamic": replace(SGD, segment=0)}, "dynamic: found .* segment from 1 to 10,000"),
        ({"dynamic": replace(SGD, rate=-1)}, "dynamic: found .* rate must be 0 or more"),
        ({"dynamic": replace(SGD, rate=float("nan"))}, "dynamic: found .* rate must be 0 or more"),
        ({"dynamic": replace(SGD, decay=2)}, "dynamic: found .* decay from 0 to 1"),
    ],
)
def test_an_argument_out_of_range_is_refused(
    settings: dict[str, Any], message: str, model: charlm.Model, text: Path
) -> None:
    with pytest.raises(CharlmError, match=f"^{message}"):
        charlm.evaluate(model, text, **settings)


def test_a_text_that_is_not_a_file_is_refused(model: charlm.Model, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"missing\.txt: no such file"):
        charlm.evaluate(model, tmp_path / "missing.txt")


# compare


def test_runs_are_compared_in_the_order_that_is_asked_for(trained_run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(trained_run)
    summaries = compare([tmp_path / "b", str(tmp_path / "a")], sort="name")
    assert [summary.folder.name for summary in summaries] == ["a", "b"]
    assert summaries[0].nats_per_char == summaries[1].nats_per_char is not None


def test_without_names_all_runs_under_runs_are_compared(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/one").symlink_to(trained_run)
    monkeypatch.chdir(tmp_path)
    assert [summary.folder for summary in compare()] == [Path("runs/one")]


def test_an_unknown_order_is_refused(trained_run: Path) -> None:
    with pytest.raises(CharlmError, match=r"^sort: found 'beauty'; must be score, name or time$"):
        compare([trained_run], sort="beauty")  # type: ignore[arg-type]
