"""Training one run on several machines: the chief trains it, the others follow."""

import contextlib
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.api.sources import Overrides, Text, as_several, as_sources
from charlm.config.file import parse_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.hardware import core_count, usable_precision
from charlm.runs.folder import CORPUS, find_run, new_folder
from charlm.runs.initial import Parent, load_run_config, read_initial, read_parent
from charlm.runs.run import Run, begin_run, discard_run, open_run
from charlm.training import loop
from charlm.training.cluster import Cluster, WorkerLostError, check_agreement, facts_to_agree_on, settle_cluster_parts
from charlm.training.engine import beginning_with
from charlm.training.loop import Outcome
from charlm.training.signals import stop_on_signal
from charlm.training.steps import WindowReader, fit_training_batches

if TYPE_CHECKING:
    from charlm.engine.distribution import Machines
    from charlm.engine.leader import Commander


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
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> Outcome | str:
    """Train a model on several machines, each of which calls this with the same arguments but for `cluster.task`.

    Args:
        cluster: The machines, and which of them this is.
        text: As in `charlm.api.training.train`; on a resume, where the other machines find their copy of the text. If
            it is None then, they read the corpus in `run`.
        recipe: A name in configs/, or a YAML file.
        overrides: Values that replace those of the recipe, or on a resume those of the run.
        init: As in `charlm.api.training.train`; every machine reads its own copy of the model. None on a resume.
        run: The folder of the run, which only the chief writes; None = a new one under runs/, or the newest.
        resume: Whether to continue the run from its newest checkpoint.
        say: Takes a line for the user.
        show_progress: Whether to show bars on standard error.

    Returns:
        On the chief how the training has ended, on the others why.

    Raises:
        WorkerLostError: another machine is lost or never came.
        CharlmError: the machines do not agree, or as in `charlm.api.training.train`.

    """
    path = find_recipe(str(recipe))
    parent = None if init is None else read_parent(Path(init))
    config = None if resume else load_run_config(path, parent, overrides=as_several(overrides))
    if not cluster.is_chief:
        if not resume or text is not None:
            return join(cluster, as_sources(text), config=config, parent=parent)
        folder = find_run(None if run is None else Path(run))
        return join(cluster, [folder / CORPUS], config=config)

    def begin() -> Run:
        """Begin the run, or open it."""
        if config is None:
            return open_run(find_run(None if run is None else Path(run)), overrides=as_several(overrides))
        settled = settle_cluster_parts(config, workers=len(cluster.addresses), cores=core_count())
        folder = new_folder(path.stem) if run is None else Path(run)
        return begin_run(folder, settled, *as_sources(text), parent=parent, say=say, progress=show_progress)

    return lead(cluster, begin, resume=resume, say=say, show_progress=show_progress)


def lead(
    cluster: Cluster,
    begin: Callable[[], Run],
    *,
    resume: bool,
    say: Callable[[str], None],
    show_progress: bool,
) -> Outcome:
    """Train a run as the chief of a cluster.

    Args:
        cluster: The machines; this is the first.
        begin: Begins the run, or opens it if `resume`; called when all machines are connected.
        resume: Whether to continue from the newest checkpoint.
        say: Takes a line for the user.
        show_progress: Whether to show a bar on standard error.

    Raises:
        WorkerLostError: another machine is lost or never came.
        CharlmError: the machines do not agree, or as in `charlm.api.training.train`.

    """
    with connected(cluster) as machines, stop_on_signal() as request:
        from charlm.engine.leader import Commander, LeaderEngine

        run = begin()
        try:
            _agree(machines, run, config=run.config)
            commander = Commander(machines, request, steps_per_call=run.config.training.steps_per_call)
            make_engine = beginning_with(
                partial(LeaderEngine, commander=commander), read_initial(run.folder, run.config)
            )
            with _telling_the_end(commander) as tell:
                outcome = loop.train(
                    run, make_engine, resume=resume, request=request, say=say, show_progress=show_progress
                )
                tell(outcome.reason)
        except Exception:
            discard_run(run)
            raise
    return outcome


def join(
    cluster: Cluster, sources: Sequence[str | Path], *, config: Config | None, parent: Parent | None = None
) -> str:
    """Train a run as another machine of a cluster than the chief.

    Args:
        cluster: The machines; this is not the first.
        sources: The text of this machine: what `tokenize` takes, or one folder that it wrote.
        config: Every setting; None = those of the chief, as on a resume.
        parent: The model whose weights the run begins with. It decides the vocabulary; its weights come from the chief.

    Returns:
        Why the run has ended, for the user.

    Raises:
        WorkerLostError: another machine is lost or never came.
        CharlmError: the machines do not agree, or the text cannot be read.

    """
    with connected(cluster) as machines, stop_on_signal() as request, tempfile.TemporaryDirectory() as folder:
        from charlm.engine.keras_engine import KerasEngine
        from charlm.engine.leader import follow

        run = begin_run(Path(folder) / "run", config or Config(), *sources, parent=parent)
        settled = None if config is None else _settle(config, run.config)
        chiefs = _agree(machines, run, config=settled)
        batches, _ = fit_training_batches(run.corpus, chiefs)
        engine = KerasEngine(
            chiefs,
            batches,
            vocabulary_size=len(run.corpus.vocabulary),
            precision=usable_precision(chiefs.training.precision)[0],
            machine=machines,
        )
        with request.deferred():
            return follow(engine, machines, WindowReader(run.corpus, batches, engine.rows), request=request)


def _agree(machines: "Machines", run: Run, *, config: Config | None) -> Config:
    """Check that all machines would train the same; return the config of the chief."""
    facts = facts_to_agree_on(run, config=config, precision=usable_precision("bfloat16")[0])
    everyones = machines.exchange_facts(facts)
    check_agreement(machines.cluster, everyones)
    chiefs = parse_config(everyones[0]["config"], origin=machines.cluster.name(0))
    if chiefs.training.has_soft_targets:
        raise CharlmError(
            "training.teachers: several machines cannot learn from teachers; leave out --cluster, or set "
            "training.teacher_weight=0"
        )
    return chiefs


def _settle(config: Config, begun: Config) -> Config:
    """Return a config with what `begin_run` has settled, except `training.parts`, which the chief decides."""
    training = begun.training.model_copy(update={"parts": config.training.parts})
    return begun.model_copy(update={"training": training})


@contextlib.contextmanager
def _telling_the_end(commander: "Commander") -> Iterator[Callable[[str], None]]:
    """Tell the other machines why the run has ended, also if that is an error of the block.

    Yields:
        A function that takes the reason.

    """
    try:
        yield commander.end
    except WorkerLostError:
        raise
    except BaseException as error:
        with contextlib.suppress(CharlmError):
            commander.end(f"{commander.machines.cluster.name(0)} has ended the run: {error}")
        raise
