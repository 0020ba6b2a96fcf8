"""Training one run on several machines: the chief trains it, the others follow."""

import contextlib
import dataclasses
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.api.preparation import Overrides, Preparation, Text, as_several, as_sources, prepare
from charlm.config.file import load_config, parse_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.engine.kernel import settle_kernel
from charlm.errors import CharlmError
from charlm.hardware import usable_precision
from charlm.runs.folder import CORPUS, RUNS, find_run, new_folder, newest_unfinished_run
from charlm.runs.initial import Parent, read_initial, read_parent
from charlm.runs.run import Run, begin_run, discarded_if_refused, folder_aside, open_run
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import parse_vocabulary
from charlm.training import loop
from charlm.training.cluster import (
    AgreementError,
    Cluster,
    Followed,
    WorkerLostError,
    check_agreement,
    facts_to_agree_on,
)
from charlm.training.loop import Outcome, new_engine
from charlm.training.signals import Say, Session, Stopped, stop_on_signal

if TYPE_CHECKING:
    from charlm.engine.distribution import Machines
    from charlm.engine.leader import Commander


class PeerFailedError(CharlmError):
    """Another machine could not begin."""


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator["Machines"]:
    """Connect the machines of a cluster for the length of a block.

    Ctrl-C ends the program while it waits for the others; TensorFlow's own handler of SIGTERM is replaced by the one
    before.

    Raises:
        CharlmError: the address of this machine cannot be used.

    """
    from charlm.engine import runtime

    connections: list[Machines] = []

    def connect() -> None:
        """Connect; the modules of the engine can be imported only now."""
        from charlm.engine.distribution import Machines

        connections.append(Machines(cluster))

    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        runtime.start(connect)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with contextlib.closing(connections[0]) as machines:
        yield machines


def train(
    cluster: Cluster,
    text: Text = None,
    *,
    recipe: str | Path = "default",
    overrides: Overrides = (),
    init: str | Path | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    say: Say = lambda _: None,
    show_progress: bool = False,
) -> Outcome | Followed:
    """Train a model on several machines, each of which calls this with the same arguments but for `cluster.task`.

    Args:
        cluster: The machines, and which of them this is.
        text: As in `charlm.api.training.train`; on a resume, where the other machines find their copy of the text. If
            it is None then, they read the corpus in `run`.
        recipe: A name in configs/, or a YAML file.
        overrides: Values that replace those of the recipe, or on a resume those of the run.
        init: As in `charlm.api.training.train`; every machine reads its own copy of the model. None on a resume.
        run: The folder of the run, which only the chief writes; None = a new one under runs/, or on a resume the newest
            that has not ended.
        resume: Whether to continue the run from its newest checkpoint.
        say: Takes a line for the user.
        show_progress: Whether to show bars on standard error.

    Returns:
        On the chief how the training has ended, on the others why.

    Raises:
        WorkerLostError: another machine is lost or never came.
        PeerFailedError: another machine could not begin.
        CharlmError: the machines do not agree, or as in `charlm.api.training.train`.

    """
    given = as_several(overrides)
    if not resume:
        load_config(find_recipe(str(recipe)), overrides=given)  # a mistake is found before the others are waited for
    parent = None if init is None else read_parent(Path(init))
    folder = None if run is None else Path(run)
    with connected(cluster) as machines, stop_on_signal(say, show_progress=show_progress) as session:
        prepare_here = partial(
            prepare,
            text,
            recipe=recipe,
            overrides=given,
            parent=parent,
            workers=len(cluster.addresses),
            session=session,
        )
        if not cluster.is_chief:
            with tempfile.TemporaryDirectory() as aside:
                return _follow(machines, prepare_here, text, folder, Path(aside), resume=resume, session=session)
        if resume:
            return _lead_on(machines, folder, given, session=session)
        return _lead(machines, prepare_here, folder, parent, session=session)


def _lead(
    machines: "Machines",
    prepare_here: Callable[..., Preparation],
    folder: Path | None,
    parent: Parent | None,
    *,
    session: Session,
) -> Outcome:
    """Begin a run as the chief, and train it."""
    with _telling_of_failure(machines), folder_aside(folder or RUNS / "new") as aside:
        prepared = prepare_here(aside=aside)
        _agree(machines, prepared.corpus, prepared.config)
        place = folder or new_folder(str(prepared.config.recipe))
        run = begin_run(place, prepared.config, prepared.corpus, aside=aside, first=prepared.first)
    with discarded_if_refused(run):
        return _train(machines, run, resume=False, session=session)


def _lead_on(machines: "Machines", folder: Path | None, overrides: Any, *, session: Session) -> Outcome:
    """Continue a run as the chief."""
    with _telling_of_failure(machines):
        run = open_run(newest_unfinished_run() if folder is None else find_run(folder), overrides=overrides)
        run = dataclasses.replace(run, config=settle_kernel(run.config, say=session.say, is_recorded=True))
        _exchange(machines, {"corpus": run.config.corpus.model_dump(), "vocabulary": run.corpus.vocabulary.to_json()})
        _agree(machines, run.corpus, run.config)
    return _train(machines, run, resume=True, session=session)


def _train(machines: "Machines", run: Run, *, resume: bool, session: Session) -> Outcome:
    """Train a run as the chief."""
    from charlm.engine.leader import Commander, LeaderEngine

    commander = Commander(machines, session, steps_per_call=run.config.training.steps_per_call)
    with _telling_the_end(commander):
        engine = new_engine(
            run.config,
            run.corpus,
            partial(LeaderEngine, commander=commander),
            first_weights=read_initial(run.folder, run.config),
            say=session.say,
        )
        outcome = loop.train(run, engine, resume=resume, session=session)
        commander.end(Followed(outcome.reason, 0 if outcome.signal is None else 128 + outcome.signal))
    return outcome


def _follow(
    machines: "Machines",
    prepare_here: Callable[..., Preparation],
    text: Text,
    folder: Path | None,
    aside: Path,
    *,
    resume: bool,
    session: Session,
) -> Followed:
    """Train a run as another machine than the chief."""
    from charlm.engine.keras_engine import KerasEngine
    from charlm.engine.leader import follow

    with _telling_of_failure(machines):
        if resume:
            corpus, config = _own_corpus(machines, text, folder, aside), None
        else:
            prepared = prepare_here(aside=aside)
            corpus, config = prepared.corpus, prepared.config
        chiefs = _agree(machines, corpus, config)
    engine = new_engine(chiefs, corpus, partial(KerasEngine, machine=machines), say=lambda _: None)
    assert isinstance(engine, KerasEngine)
    with session.deferred():
        return follow(engine, machines, corpus, session=session)


def _own_corpus(machines: "Machines", text: Text, folder: Path | None, aside: Path) -> Corpus:
    """Return the text of a resumed run on this machine, which the user names or which is in the folder of the run."""
    sources = [find_run(folder) / CORPUS] if text is None else as_sources(text)
    chiefs = _exchange(machines, {})[0]
    if len(sources) == 1 and is_corpus(Path(sources[0])):
        return open_corpus(Path(sources[0]))
    settings = Config().corpus.model_validate(chiefs["corpus"])
    known = parse_vocabulary(chiefs["vocabulary"], origin=machines.cluster.name(0))
    return tokenize([str(source) for source in sources], aside / CORPUS, settings, known=known)


def _agree(machines: "Machines", corpus: Corpus, config: Config | None) -> Config:
    """Check that all machines would train the same; return the config of the chief."""
    facts = facts_to_agree_on(corpus, config=config, precision=usable_precision("bfloat16")[0])
    everyones = _exchange(machines, facts)
    check_agreement(machines.cluster, everyones)
    chiefs = parse_config(everyones[0]["config"], origin=machines.cluster.name(0))
    if chiefs.training.has_soft_targets:
        raise CharlmError(
            "training.teachers: several machines cannot learn from teachers; leave out --cluster, or set "
            "training.teacher_weight=0"
        )
    return chiefs


def _exchange(machines: "Machines", facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what every machine has passed; raise PeerFailedError if one of them says that it could not begin."""
    everyones = machines.exchange_facts(facts)
    for task, found in enumerate(everyones):
        if "error" in found:
            raise PeerFailedError(f"{machines.cluster.name(task)} could not begin: {found['error']}")
    return everyones


@contextlib.contextmanager
def _telling_of_failure(machines: "Machines") -> Iterator[None]:
    """Tell the other machines if this one cannot begin; they wait for what it passes next."""
    try:
        yield
    except (WorkerLostError, PeerFailedError, AgreementError):
        raise
    except (CharlmError, Stopped) as error:
        with contextlib.suppress(CharlmError):
            machines.exchange_facts({"error": str(error)})
        raise


@contextlib.contextmanager
def _telling_the_end(commander: "Commander") -> Iterator[None]:
    """Tell the other machines if an error ends the run."""
    try:
        yield
    except WorkerLostError:
        raise
    except BaseException as error:
        with contextlib.suppress(CharlmError):
            code = getattr(error, "exit_code", 1)
            commander.end(Followed(f"{commander.machines.cluster.name(0)} has ended the run: {error}", code))
        raise
