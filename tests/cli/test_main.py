"""The command `charlm`: its commands, their help, errors as exit codes, and where all of them print."""

import errno
import platform
import re
import shlex
import signal
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from unittest.mock import Mock

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from commands import all_commands, charlm, run_line
from pages import parse_command
from run_folders import make_run

from charlm import __version__
from charlm.cli import output
from charlm.cli.command import Command, Commands, quiet_option
from charlm.cli.main import main
from charlm.config.file import load_config, parse_yaml
from charlm.config.recipes import describe_recipe, find_recipe, recipe_names
from charlm.errors import CharlmError
from charlm.hardware import fastest_precision, memory_bytes
from charlm.training.signals import Stopped
from charlm.wording import as_argument

# Help


def test_the_help_names_every_command_and_the_defaults() -> None:
    command = charlm("--help")
    assert command.exit_code == 0
    listed = command.stdout.partition("Train:\n")[2].partition("Examples:\n")[0]
    assert set(re.findall(r"^  (\w+) ", listed, re.MULTILINE)) == {
        name.split()[0] for name in all_commands()
    }
    assert "[default: 8000;" in re.sub(r"\s+", " ", charlm("serve", "--help").stdout)
    assert charlm("--version").stdout == f"charlm, version {__version__}\n"


@pytest.mark.parametrize("name", all_commands())
def test_every_command_has_help_on_a_screen_with_examples_that_can_be_parsed(name: str) -> None:
    found, command = all_commands()[name], charlm(*name.split(), "--help")
    assert isinstance(found, Command)
    assert (command.exit_code, command.stderr) == (0, "")
    assert command.stdout.startswith(f"Usage: main {name} ")
    assert not re.search(r"\d{8}|RANGE|INTEGER|FLOAT", command.stdout)  # which nobody can read
    assert command.stdout.count("\n") <= 50
    assert (found.help or "").partition("\n")[0].endswith(".")
    assert all(argument.help for argument in found.params if isinstance(argument, click.Argument))
    assert all(f"\n{line}\n" in command.stdout for line in found.examples)  # however long
    for example in found.examples[::2]:
        program, *arguments = shlex.split(example)
        assert program == "charlm"
        parse_command(arguments)
    assert any(example.startswith(f"  charlm {name}") for example in found.examples)


def test_a_group_without_a_command_prints_its_help() -> None:
    for line in ("", "config"):
        command, asked = run_line(line), run_line(f"{line} --help")
        assert (command.exit_code, command.stdout, command.stderr) == (2, "", asked.stdout)


def test_a_shell_completes_commands_recipes_runs_and_models_where_each_is_meant() -> None:
    make_run(Path("runs/rill"))
    models = {"rill", "river-plays"}
    for line, expected in (
        *(
            ("sample ri", models),
            ("train --init ri", models),
            ("train -r ri", {"rill"}),
            ("runs ri", {"rill"}),
        ),
        *(("train -c ti", {"tiny"}), ("eval", {"evaluate"})),
    ):
        *words, last = line.split()
        found = ShellComplete(main, {}, "charlm", "_CHARLM_COMPLETE").get_completions(words, last)
        assert {item.value for item in found if item.type == "plain"} == expected


@pytest.fixture(scope="module")
def info() -> dict[str, str]:
    """Return what `charlm info` shows."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in charlm("info").stdout.splitlines())


def test_info_has_the_version_of_charlm(info: dict[str, str]) -> None:
    assert info["charlm"] == __version__


def test_info_has_the_version_of_python(info: dict[str, str]) -> None:
    assert info["python"] == platform.python_version()


@pytest.mark.parametrize("name", ["click", "numpy", "tensorflow", "keras"])
def test_info_has_the_version_of_a_package(name: str, info: dict[str, str]) -> None:
    installed = {distribution.name: distribution.version for distribution in distributions()}
    assert info[name] == installed.get(name, "-")


def test_info_has_the_memory_of_the_machine(info: dict[str, str]) -> None:
    assert info["memory bytes"] == str(memory_bytes())


def test_info_has_the_precision_with_its_reason(info: dict[str, str]) -> None:
    precision = fastest_precision()
    assert precision.reason
    assert info["precision"] == f"{precision.name}: {precision.reason}"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        pytest.param("package", "cli/main.py", id="package"),
        pytest.param("recipes", "default.yaml", id="recipes"),
    ],
)
def test_info_has_a_folder_of_charlm(name: str, file: str, info: dict[str, str]) -> None:
    assert (Path(info[name]) / file).is_file()


def test_info_has_the_folder_of_runs() -> None:
    lines = charlm("info").stdout.splitlines()
    assert re.split(r"  +", lines[-1]) == ["runs", str(Path.cwd() / "runs")]


def test_every_recipe_is_listed_with_what_it_is_for_and_shown_with_every_value() -> None:
    shown = " ".join(charlm("config", "list").stdout.split())
    assert all(f"{name} {describe_recipe(name)}" in shown for name in recipe_names())
    assert shown.count(" For ") == len(recipe_names())
    config = load_config(find_recipe("tiny"), overrides=["model.units=3"]).model_dump(mode="json")
    assert (
        parse_yaml(charlm("config", "show", "tiny", "-s", "model.units=3").stdout, origin="test")
        == config
    )


def test_the_script_of_each_shell_asks_charlm_what_completes_a_word() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert f"_CHARLM_COMPLETE={shell}_complete" in charlm("completion", shell).stdout


NOT_INSTALLED = "is not installed: pip install absl-py"


def run_command(call: Callable[[], object], *options: str) -> Result:
    """Run a command of a group that does nothing else."""
    command = quiet_option(Command("call", callback=call))
    group = Commands("group", sections={"": ["call"]}, commands={"call": command})
    return CliRunner().invoke(group, ["call", *options], catch_exceptions=False)


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (CharlmError("text.txt: no such file"), 1, "charlm: text.txt: no such file\n"),
        (
            OSError(errno.EACCES, "Permission denied", "text.txt"),
            1,
            "charlm: text.txt: Permission denied\n",
        ),
        (
            ModuleNotFoundError(name="absl.logging"),
            1,
            f"charlm: absl: this package {NOT_INSTALLED}\n",
        ),
        (output.OutputClosedError(), 0, ""),  # a reader of standard output that has gone
        *(
            (KeyboardInterrupt(), 130, ""),
            (Stopped(signal.SIGTERM), 143, ""),
            (Stopped(signal.SIGHUP), 129, ""),
        ),
        (click.UsageError("found \x1b[31m"), 2, "found \\x1b[31m\n"),
        (click.UsageError("x" * 50_000), 2, f"{'x' * 750} ... {'x' * 750}\n"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_an_error_is_a_line_and_an_exit_code_and_a_defect_not_hidden(
    error: BaseException, exit_code: int, message: str
) -> None:
    command = run_command(Mock(side_effect=error))
    assert (command.exit_code, command.stdout) == (exit_code, "")
    assert command.stderr.rpartition("Error: ")[2] == message
    for defect in (ZeroDivisionError(), ModuleNotFoundError(name="charlm.missing")):
        with pytest.raises(type(defect)):
            run_command(Mock(side_effect=defect))


def test_results_and_what_is_said_have_no_control_characters_and_a_quiet_command_says_its_errors_alone() -> (
    None
):
    def talk() -> None:
        output.say("a\x1b[31m")
        output.print_result("runs/\x1b[31mred: 1.5", "\u202eb")
        raise CharlmError("why it failed")

    for options, said in (((), "charlm: a\\x1b[31m\n"), (("-q",), "")):
        command = run_command(talk, *options)
        assert command.stdout == "runs/\\x1b[31mred: 1.5\n\\u202eb\n"
        assert (command.exit_code, command.stderr) == (1, f"{said}charlm: why it failed\n")


def test_something_can_be_said_outside_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("from a thread")
    assert capsys.readouterr().err == "charlm: from a thread\n"


def test_bars_are_shown_on_a_terminal_that_moves_its_cursor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look() -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        output.print_result(str(output.shows_progress()))

    for options, terminal, is_shown in (
        ((), "xterm", True),
        ((), "dumb", False),
        (("-q",), "xterm", False),
    ):
        monkeypatch.setenv("TERM", terminal)
        assert run_command(look, *options).stdout == f"{is_shown}\n"


def test_tables_are_aligned() -> None:
    rows = [["日本", "1"], ["e\u0301te\u0301", "22"], ["abcd", "3"], ["😀", "4"]]
    expected = ["日本   1", "e\u0301te\u0301   22", "abcd   3", "😀     4"]
    assert output.align(rows, text_columns={0}) == expected


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        pytest.param("abcde", 5, "abcde", id="fits"),
        pytest.param("abcde", 4, "abc…", id="letters"),
        pytest.param("abcde", 1, "…", id="one column"),
        pytest.param("日本語", 6, "日本語", id="wide fits"),
        pytest.param("日本語", 5, "日本…", id="wide"),
        pytest.param("日本語", 4, "日…", id="half of a wide character"),
        pytest.param("e\u0301" * 9, 3, "e\u0301e\u0301…", id="combining"),
        pytest.param("ab" * 500_000, 3, "ab…", id="long"),
        pytest.param("", 1, "", id="empty"),
    ],
)
def test_a_text_is_cut_to_a_width(text: str, width: int, expected: str) -> None:
    assert output.cut(text, width) == expected


@pytest.mark.parametrize(
    ("items", "width", "indent", "lines"),
    [
        pytest.param([], 9, 2, [], id="none"),
        pytest.param(["a 1", "b 2", "c 3"], 9, 0, ["a 1, b 2,", "c 3"], id="whole items"),
        pytest.param(
            ["a 1", "two words and more", "c 3"],
            12,
            2,
            ["  a 1, two", "  words and", "  more, c 3"],
            id="words",
        ),
        pytest.param(["abcdefgh", "c"], 7, 2, ["  abcde", "  fgh,", "  c"], id="long word"),
        pytest.param(["日本語", "中文"], 9, 1, [" 日本語,", " 中文"], id="wide"),
        pytest.param(["日本語中文"], 8, 1, [" 日本語", " 中文"], id="long wide word"),
    ],
)
def test_lines_are_filled(items: list[str], width: int, indent: int, lines: list[str]) -> None:
    assert output.fill(items, width=width, indent=indent) == lines


@pytest.mark.parametrize(("columns", "width"), [("200", 200), ("39", 40)])
def test_output_is_as_wide_as_the_terminal(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert output.terminal_width() == width


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("generate", "sample"),
        ("generat", "sample"),
        ("chat", "sample"),
        ("eval", "evaluate"),
        ("perplexity", "evaluate"),
        ("ls", "runs"),
        ("status", "runs"),
        ("run", "train"),
        ("fit", "train"),
        ("trian", "train"),
        ("resume", "train --resume"),
        ("dry-run", "plan"),
        ("preprocess", "tokenize"),
        ("sweep", "tune"),
        ("analyze", "inspect"),
        ("server", "serve"),
        ("convert", "export"),
        ("exprot", "export"),
        ("tb", "tensorboard"),
        ("recipes", "config list"),
        ("show", "config show"),
        ("version", "--version"),
        ("help", "--help"),
    ],
)
def test_a_usual_or_misspelt_name_is_answered_with_a_command(name: str, meant: str) -> None:
    command = charlm(name)
    assert command.exit_code == 2
    assert command.stderr.endswith(f"{name}: no such command; did you mean charlm {meant}?\n")


@pytest.mark.parametrize("name", ["remove", "start", "verify", "merge", "setup"])
def test_a_name_that_only_resembles_a_command_is_answered_without_a_hint(name: str) -> None:
    command = charlm(name)
    assert command.exit_code == 2
    assert command.stderr.endswith(f"{name}: no such command\n")


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        pytest.param(
            "train --dropout s.txt", "use -s model.layer_dropout=VALUE", id="text is no number"
        ),
        pytest.param("train --dropout 0.2 s.txt", "use -s model.layer_dropout=0.2", id="number"),
        pytest.param("train --prompt s.txt", "use -s sampling.prompt=s.txt", id="text"),
        pytest.param(
            "train --until-recited s.txt", "use -s training.until_recited=true", id="flag"
        ),
        pytest.param(
            "train --shuffle false s.txt", "use -s training.shuffle=false", id="flag with a value"
        ),
        pytest.param(
            "train --no-shuffle s.txt", "use -s training.shuffle=false", id="negated flag"
        ),
        pytest.param("train --no-clip-norm", "use -s training.clip_norm=null", id="negated limit"),
        pytest.param("train --no-units 5", "use -s model.units=VALUE", id="negated number"),
        pytest.param(
            "train --optimizer adm", "use -s training.optimizer.name=VALUE", id="unknown optimizer"
        ),
        pytest.param("train --seeds 3", "use -s seed=3", id="seeds of teachers"),
        pytest.param("train --recipe -q", "use --config VALUE", id="option without a value"),
        pytest.param(
            "tune space --minutes 1 --epochs 3",
            "training.epochs cannot be set for a search: the length of a trial is a time, chosen when the search begins",
            id="decided by the search",
        ),
    ],
)
def test_an_unknown_option_is_answered_with_a_setting_that_is_valid(line: str, advice: str) -> None:
    command = run_line(line)
    assert command.exit_code == 2
    assert command.stderr.endswith(f": no such option; {advice}\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("train --model x", "No such option '--model'.", id="section"),
        pytest.param("train --teachers tiny", "No such option '--teachers'.", id="teachers"),
        pytest.param("plan --out x", "No such option '--out'.", id="similar only in its dashes"),
        pytest.param(
            "train --epoch 3",
            "No such option '--epoch'. Did you mean '--epochs'?",
            id="misspelt option",
        ),
    ],
)
def test_an_unknown_option_that_no_setting_answers_is_left_to_click(
    line: str, message: str
) -> None:
    assert run_line(line).stderr.endswith(f"Error: {message}\n")


@pytest.mark.parametrize(
    "line", ["config show mybook", "sample mybook", "runs mybook", "tune mybook --minutes 1"]
)
@pytest.mark.parametrize(
    "has_run", [pytest.param(False, id="no runs"), pytest.param(True, id="a run")]
)
def test_a_text_is_not_proposed_for_a_recipe_a_model_or_a_run(line: str, *, has_run: bool) -> None:
    Path("mybook.txt").touch()
    if has_run:
        make_run(Path("runs/rill"))
    command = run_line(line)
    assert (command.exit_code, command.stdout) == (1, "")
    assert "mybook.txt" not in command.stderr


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        pytest.param("config show mybook", "mybook.yaml", id="recipe"),
        pytest.param("sample mybook.safetensor", "mybook.safetensors", id="model"),
        pytest.param("runs mybok.safetensor", None, id="model in place of a run"),
        pytest.param("runs books", "books2", id="folder in place of a run"),
    ],
)
def test_a_missing_file_is_answered_with_one_of_its_kind(line: str, meant: str | None) -> None:
    make_run(Path("runs/rill"))
    Path("books2").mkdir()
    for suffix in ("txt", "yaml", "safetensors"):
        Path(f"mybook.{suffix}").touch()
    hint = run_line(line).stderr.strip().partition("; did you mean ")[2]
    assert hint == (f"{meant}?" if meant else "")


def test_each_problem_of_a_file_is_a_line() -> None:
    Path("wrong.yaml").write_text('sed: 1\nmodel: {units: many}\n"\\e[31m": 2', encoding="utf-8")
    command = charlm("config", "show", "wrong.yaml")
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr.splitlines() == [
        "charlm: wrong.yaml: 3 errors",
        "  model.units: found 'many'; must be a valid integer",
        "  sed: found 1; there is no such key; did you mean seed?",
        "  \\x1b[31m: found 2; there is no such key",
    ]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("runs/a", "runs/a"),
        ("-dash", "./-dash"),
        ("a b", "'a b'"),
        ("-a 'b'", "'./-a '\"'\"'b'\"'\"''"),
    ],
)
def test_a_path_in_an_advice_is_one_argument_and_not_an_option(name: str, argument: str) -> None:
    assert as_argument(Path(name)) == argument
    assert [str(Path(part)) for part in shlex.split(argument)] == [name]
