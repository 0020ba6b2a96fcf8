"""Small networks with random weights from a fixed seed, and one small trained run.

Without TensorFlow, the tests of the engine and those that train are left out.
"""

import fcntl
import itertools
import os
import signal
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path

# NumPy reads this when it is imported. The pytest workers already use all cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import fake_runs
import pytest
from commands import charlm
from corpora import ABBA, write_plays
from hypothesis import HealthCheck, settings
from javascript import Node, start_node
from models import make_random_model

from charlm.core.model_file import TrainedModel, write_model
from charlm.core.vocabulary import Vocabulary

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
CAN_TRAIN = find_spec("tensorflow") is not None
collect_ignore = [] if CAN_TRAIN else ["engines"]


def pytest_report_header() -> list[str]:
    """Report the tests that are left out."""
    if CAN_TRAIN:
        return []
    return ["without TensorFlow, the tests of the engine and those that train are left out"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, which installs what the tests need, fail a test that skips for a missing package.

    Without TensorFlow, skip a test that was told so.
    """
    report = yield
    if not CAN_TRAIN and report.failed and "TensorFlow is needed for this" in str(report.longrepr):
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, "Skipped: it trains")
    fail_if_missing(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips as a whole because something is missing, if this is CI."""
    report = yield
    fail_if_missing(report)
    return report


def fail_if_missing(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip because something is missing into a failure, if this is CI."""
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if "missing: " in reason and os.environ.get("CI") == "true":
        report.outcome, report.longrepr = "failed", f"{report.nodeid}: {reason}"


for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if (
        signal.getsignal(number) is signal.SIG_IGN
    ):  # in the background of a shell, or under nohup; it is inherited
        signal.signal(number, handler)

# A busy machine is no failure.
settings.register_profile(
    "charlm",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "random", parent=settings.get_profile("charlm"), derandomize=False
)  # for the night
settings.load_profile("charlm")  # unless pytest --hypothesis-profile names another
FOLDERS = itertools.count()


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty folder, so that files in the checkout have no effect."""
    # A number of our own: pytest's would list all folders so far before each test.
    monkeypatch.chdir(tmp_path_factory.mktemp(f"empty-{next(FOLDERS)}", numbered=False))


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Return a function that makes a file once for all workers, and returns its path."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def make(name: str, write: Callable[[Path], object]) -> Path:
        path, unfinished = folder / f"once-{name}", folder / f"once-{name}.tmp"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                write(unfinished)
                unfinished.rename(path)
        return path

    return make


@pytest.fixture(scope="session")
def node() -> Generator[Node, None, None]:
    """Start Node once for each worker."""
    with start_node() as process:
        yield process


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Return a vocabulary of three characters and two reserved ids."""
    return Vocabulary(characters=("\n", "a", "b", None, None), unknown_id=3, end_of_text_id=4)


@pytest.fixture
def trained(vocabulary: Vocabulary) -> TrainedModel:
    """Return a model with random weights: 2 layers of 4 units over the vocabulary."""
    facts = {"step": 7, "epoch": 1, "score": {"nats_per_char": 1.5}}
    return make_random_model(vocabulary=vocabulary, layers=2, facts=facts)


@pytest.fixture
def model_file(trained: TrainedModel, tmp_path: Path) -> Path:
    """Return the same model as a file."""
    write_model(tmp_path / "model.safetensors", trained)
    return tmp_path / "model.safetensors"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text of which the random model knows all characters."""
    (tmp_path / "text.txt").write_text(ABBA, encoding="utf-8")
    return tmp_path / "text.txt"


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the recipe tiny on the start of the plays; the run is shared by all tests."""
    folder = tmp_path_factory.mktemp("trained")
    text = write_plays(folder / "text.txt")
    if not CAN_TRAIN:
        overrides = ("corpus.test_fraction=0.1", "model.units=16", "training.steps=60")
        return fake_runs.train(
            folder / "fake", *overrides, text=text.read_text(encoding="utf-8")
        ).folder
    command = charlm(
        "train", text, "-c", "tiny", "-s", "corpus.test_fraction=0.1", "-r", folder / "run"
    )
    assert command.exit_code == 0, command.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> fake_runs.Trained:
    """Train a run with the fake engine, without interruption, which tests only read."""
    return fake_runs.train(tmp_path_factory.mktemp("reference") / "run")
