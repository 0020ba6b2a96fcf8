"""Changes of single lines, and the list of those that no test has to notice."""

import json
from pathlib import Path

import pytest
from bench.mutate import ACCEPTED, Accepted, name_of_test, read_accepted, report, sources_of
from bench.mutations import Mutation, draw, mutations_of, names_of

REPOSITORY = Path(__file__).parents[2]


def changes_of(file: str, source: str) -> list[tuple[str, str]]:
    """Return what can be changed in a file, and what takes its place."""
    found = mutations_of(file, source.encode(), names_of({file: source.encode()}))
    return [(mutation.before, mutation.after) for mutation in found]


@pytest.mark.parametrize(
    ("statement", "before", "after"),
    [
        ("return a < b", "a < b", "(a <= b)"),
        ("return a and b", "a and b", "(a or b)"),
        ("return a / b", "a / b", "(a * b)"),
        ("return not a", "not a", "a"),
        ("return 3", "3", "4"),
        ("return 300", "300", "600"),
        ("return 300", "300", "30"),
        ("say(f'{a + 3}')", "f'{a + 3}'", "(f'{a + 4}')"),
        ("say(f'{a:.2f} of 9')", "f'{a:.2f} of 9'", "(f'{a:.3f} of 9')"),
        ("say(f'{a:.2f} of 9')", "f'{a:.2f} of 9'", "(f'{a:.2f} of 10')"),
        ("raise ValueError(3)", "3", "4"),
        ("return 0.0", "0.0", "1.0"),
        ("return True", "True", "False"),
        ("return a[1:b]", "1:b", ":b"),
        ("return a[1:b]", "1:b", "1:"),
        ("return a == 'x'", "'x'", "'x_'"),
        ("return a.startswith('x')", "'x'", "'x_'"),
        ("return a, b", "a, b", "((b, a))"),
        ("return a, b, c", "a, b, c", "((a, b))"),
        ("return [a, b]", "[a, b]", "([a])"),
        ("return f(a, key=b)", "f(a, key=b)", "(f(a))"),
        ("f(a)", "f(a)", "pass"),
        ("return a", "return a", "return None"),
    ],
)
def test_a_line_of_python_can_be_changed(
    statement: str,
    before: str,
    after: str,
) -> None:
    assert (before, after) in changes_of("a.py", f"def function(a, b, c):\n    {statement}\n")


@pytest.mark.parametrize(
    "statement",
    [
        "assert a < 3",
        "return cast(3, 4)",
        "'text 3'",
        "x: dict[str, int] = a",
    ],
)
def test_assertions_and_types_are_left_unchanged(statement: str) -> None:
    changed = {before for before, _ in changes_of("a.py", f"def function(a):\n    {statement}\n")}
    assert changed <= {statement, statement.removeprefix("return ")}


def test_the_order_of_values_that_are_looked_up_is_left_unchanged() -> None:
    changes = changes_of("a.py", "def function(a):\n    return a in ('x', 'y')\n")
    assert ("('x', 'y')", "(('x',))") in changes
    assert ("('x', 'y')", "(('y', 'x'))") not in changes


@pytest.mark.parametrize("file", ["a.c", "a.js"])
def test_c_and_javascript_can_be_changed(file: str) -> None:
    source = """
        #include <a>
        /* a < 1 */
        // c + 2
        const d = "e - 3";
        float *f = g * 4 + 0x0f - 1.5e3;
        if (h <= 250 && i->j) return k++;
    """
    assert changes_of(file, source) == [
        ("*", "+"),
        ("4", "5"),
        ("+", "-"),
        ("0x0f", "0x10"),
        ("-", "+"),
        ("1.5e3", "3000.0"),
        ("<=", "<"),
        ("250", "500"),
        ("250", "25"),
        ("&&", "||"),
        ("++", "--"),
    ]


def test_a_constant_is_noticed_where_it_is_used() -> None:
    sources = {
        "a.py": b"LIMIT = 3\n",
        "b.py": b"from a import LIMIT\ndef f(x):\n    return x\ndef g(x):\n    return x > LIMIT\n",
    }
    (mutation,) = mutations_of("a.py", sources["a.py"], names_of(sources))
    assert (mutation.before, mutation.after) == ("3", "4")
    assert ("b.py", 5) in mutation.places
    assert ("b.py", 3) not in mutation.places


SOURCE = "def f(a):\n    return 'é', a[2:] + 1\n"


def test_a_mutation_is_applied_at_its_bytes() -> None:
    mutations = mutations_of("a.py", SOURCE.encode(), {})
    (mutation,) = [each for each in mutations if each.before == "1"]
    assert mutation.apply(SOURCE.encode()).decode() == SOURCE.replace("1", "2")


def test_a_seed_draws_the_same_mutations() -> None:
    sources = {"a.py": SOURCE.encode(), "b.py": b"def g(a):\n    return a + 5\n"}
    drawn = draw(sources, seed=1, count=4)
    assert len({*drawn}) == 4
    assert draw(sources, seed=1, count=4) == drawn
    assert draw(sources, seed=2, count=4) != drawn


@pytest.mark.parametrize(
    ("context", "test"),
    [
        ("", ""),
        ("tests.cli.test_a.test_b", "tests/cli/test_a.py::test_b"),
        ("tests/cli/test_a.py::test_b[x y] (call)", "tests/cli/test_a.py::test_b"),
        ("tests/cli/test_a.py::test_b (setup)|a.b", "tests/cli/test_a.py::test_b"),
    ],
)
def test_a_context_of_coverage_names_a_test(context: str, test: str) -> None:
    assert name_of_test(context) == test


def test_only_survivors_that_are_not_accepted_count(capsys: pytest.CaptureFixture[str]) -> None:
    def mutation(before: str) -> Mutation:
        return Mutation("charlm/a.py", 1, "return 1 + 2", before, "9", 0, 1, ())

    results = {
        mutation("1"): {"survived": True, "tests": 5},
        mutation("2"): {"survived": True, "tests": 5},
        mutation("+"): {"survived": False, "tests": 5},
    }
    accepted = {
        Accepted("charlm/a.py", "return 1 + 2", "2", "9"): "both are large",
        Accepted("charlm/b.py", "return 1 + 2"): "in another file",
    }
    assert report(results, accepted) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "charlm/a.py:1  1  ->  9  (5 tests)"
    assert lines[1] == "charlm/a.py:1  2  ->  9  (accepted: both are large)"
    assert "charlm: 2 of 3 survive, 67%" in lines


def test_every_change_of_a_line_can_be_accepted() -> None:
    mutation = Mutation("charlm/a.py", 1, "return 1 + 2", "1", "9", 0, 1, ())
    results = {mutation: {"survived": True, "tests": 5}}
    assert report(results, {Accepted("charlm/a.py", "return 1 + 2"): "the look"}) == 0


def test_every_accepted_survivor_is_still_a_change_of_the_code() -> None:
    sources = sources_of(REPOSITORY, "charlm/**/*")
    names = names_of(sources)
    known: set[Accepted] = set()
    for file in {accepted.file for accepted in read_accepted(ACCEPTED)}:
        for mutation in mutations_of(file, sources[file], names):
            known.add(Accepted(file, mutation.code, mutation.before, mutation.after))
            known.add(Accepted(file, mutation.code))
    missing = [json.dumps(each) for each in read_accepted(ACCEPTED) if each not in known]
    assert missing == []
