"""The lines that tell the user about each event."""

from pathlib import Path

import pytest

from charlm import events
from charlm.cli.progress import describe
from charlm.events import Event

RUN = Path("runs/a")
LINES: list[tuple[Event, list[str]]] = [
    (events.EngineStarting(), ["loading TensorFlow, which takes a few seconds"]),
    (
        events.ThreadsKept(),
        [
            "training will be slower: this program is already using TensorFlow, which keeps its "
            "number of threads"
        ],
    ),
    (events.WaitingForWorkers(0, 2), ["TF_CONFIG: this is worker 0; waiting for 2 other workers"]),
    (events.WaitingForWorkers(1, 1), ["TF_CONFIG: this is worker 1; waiting for 1 other worker"]),
    (
        events.KernelCompiling("cc", 60),
        ["kernel: compiling with cc, once per processor, at most 60 s"],
    ),
    (events.KernelNotKept("no room"), ["kernel: compiled for this process only: no room"]),
    (
        events.SettingReplaced("training.kernel", "keras", "no compiler", False),
        ["training.kernel: using keras, because no compiler"],
    ),
    (
        events.SettingReplaced("training.kernel", "keras", "no compiler", True),
        ["training.kernel: using keras, because no compiler; results will not be bit-identical"],
    ),
    (events.Decided("tiny", "it is small", None, None, 9, 1.0, 2), ["recipe tiny: it is small"]),
    (events.Decided("tiny", "", None, None, 9, 1.0, 2), []),
    (
        events.Decided("shakespeare", "", "shakespeare-15m", None, 9, 1.0, 2),
        ["-c shakespeare-15m scores better but takes several times as long"],
    ),
    (
        events.Decided("tiny", "", None, 2.5, 1, 0.25, 1),
        ["training for 2.5 min: 1 step (0.25 epochs), 1 evaluation"],
    ),
    (
        events.Decided("tiny", "", None, 10.0, 1234, 3.14159, 20),
        ["training for 10 min: 1,234 steps (3.14 epochs), 20 evaluations"],
    ),
    (
        events.NgramsLeftOut(None, 2_345_000_000),
        ["training without n-grams: their predictions would need 2.3 GB"],
    ),
    (
        events.NgramsLeftOut(90.0, None),
        ["training without n-grams: counting them would take 1m30s"],
    ),
    (events.NgramsLeftOut(0.0, None), ["training without n-grams: counting them would take 0s"]),
    (
        events.FewSteps(1, 200, 1.5),
        ["1 step will teach the network little; 200 would need --minutes 1.5"],
    ),
    (
        events.FewSteps(150, 1200, 20.0),
        ["150 steps will teach the network little; 1,200 would need --minutes 20"],
    ),
    (
        events.BatchesReduced(1, 2, 32, 64),
        ["short text: 1 window of 2 characters per step instead of 32 of 64"],
    ),
    (
        events.BatchesReduced(3, 16, 32, 64),
        ["short text: 3 windows of 16 characters per step instead of 32 of 64"],
    ),
    (
        events.InitialWeightsAdapted(RUN, 5, 6),
        ["initial weights from runs/a: 5 known characters, 6 new"],
    ),
    (
        events.LeftoverRemoved(RUN),
        ["runs/a: a run was killed here before its first step; starting again"],
    ),
    (events.Resuming(RUN), ["resuming runs/a"]),
    (events.LengthAdded(1.0, 1), ["training for 1 min: 1 more step"]),
    (events.LengthAdded(2.5, 1200), ["training for 2.5 min: 1,200 more steps"]),
    (
        events.CheckpointSkipped("a.safetensors: damaged"),
        ["a.safetensors: damaged; trying the checkpoint before it"],
    ),
    (
        events.KernelChanged(),
        ["kernel: recompiled since this run was saved; results will not be bit-identical"],
    ),
    (
        events.BestModelLost(RUN / "best.safetensors", 1200, RUN / "last.safetensors"),
        [
            "runs/a/best.safetensors: the best model (step 1,200) is lost; the next evaluation "
            "replaces the file; until then use runs/a/last.safetensors"
        ],
    ),
    (events.LogDamaged(RUN, 1, "line"), ["runs/a: 1 damaged line removed"]),
    (events.LogDamaged(RUN, 2, "byte"), ["runs/a: 2 damaged bytes removed"]),
    (events.SettingChanged("training.steps", 1, None), ["training.steps: 1 is now null"]),
    (
        events.SettingChanged("training.shuffle", False, True),
        ["training.shuffle: false is now true"],
    ),
    (events.Resumed(1, 2000), ["resumed at step 1 of 2,000"]),
    (
        events.Resumed(2000, 2000),
        [
            "resumed at step 2,000 of 2,000: the run is complete; extend it with "
            "--epochs or --minutes"
        ],
    ),
    (events.TeacherStarted(1, 2, RUN), ["teacher 1 of 2: runs/a"]),
    (events.TeachersReading(1), ["1 teacher: reading the training text"]),
    (events.TeachersReading(2), ["2 teachers: reading the training text"]),
    (events.NgramProgress(0, 10), ["n-grams: counting the training text in 10 parts"]),
    (events.NgramProgress(1, 10), []),
    (events.SoftTargetsDamaged(RUN), ["runs/a: damaged; computing it again"]),
    (
        events.NoValidationText(),
        ["no validation text: the best model is the one with the lowest training loss"],
    ),
    (
        events.BaselinesScored({"5-gram": 1.5, "lzma": 2.25}),
        ["nats per character (lower is better): 5-gram 1.500, lzma 2.250"],
    ),
    (events.LengthChanged(9, 8), ["this machine has become slower: 8 steps instead of 9"]),
    (events.LengthChanged(8, 1234), ["this machine has become faster: 1,234 steps instead of 8"]),
    (events.TemperatureChosen(0.5, ""), ["sampling temperature 0.5"]),
    (events.TemperatureChosen(0.7, "why"), ["sampling temperature 0.7 (why)"]),
    (
        events.SearchStarted("tiny", 1234.4, 20),
        ["recipe tiny; 1,234 s per trial, time for 20 trials"],
    ),
    (
        events.TrialStarted(0, {"model.units": 8, "training.optimizer.learning_rate": 0.00123456}),
        ["trial 0: units 8, learning_rate 0.001235"],
    ),
    (events.TrialStarted(3, {"model.rnn.activation": "relu"}), ["trial 3: activation relu"]),
    (
        events.TrialTooShort(3, events.FewSteps(16, 1200, 2.5)),
        ["trial 3: 16 steps will teach the network little; 1,200 would need --trial-minutes 2.5"],
    ),
    (events.TrialFailed(0, "diverged"), ["trial 0: failed: diverged"]),
    (
        events.TrialEnded(4, 1.5, 1.25, 2),
        ["trial 4: 1.5000 nats per character; best 1.2500 (trial 2)"],
    ),
    (events.TrialEnded(0, None, 1.4, 2), ["trial 0: pruned; best 1.4000 (trial 2)"]),
    (events.NewestRunTaken(RUN), ["using the newest run, runs/a"]),
    (events.LastModelTaken(RUN), ["runs/a: no best model yet; using the model of the last step"]),
    (
        events.ServerListening("http://127.0.0.1:1", ("a", "b"), False),
        [
            "serving a, b at http://127.0.0.1:1/v1, with a page for browsers at "
            "http://127.0.0.1:1; Ctrl-C stops it"
        ],
    ),
    (
        events.ServerListening("http://127.0.0.1:1", ("a",), True),
        ["serving a at http://127.0.0.1:1/v1; Ctrl-C stops it"],
    ),
    (
        events.OpenToNetwork("0.0.0.0"),
        ["--host 0.0.0.0: other machines can use the server without a key; set CHARLM_API_KEY"],
    ),
    (events.ModelReloaded("mine"), ["mine: the file was replaced; serving the new model"]),
    (
        events.ModelNotReloaded("mine", "damaged"),
        ["mine: the file was replaced, but the old model is still served: damaged"],
    ),
    (events.ServerProblem("Too many open files"), ["server: Too many open files"]),
    (
        events.Started(
            RUN,
            "plays",
            "9 characters",
            ("a problem", "another"),
            "tiny",
            2,
            64,
            12345,
            "keras",
            1,
            0.5,
            6,
            (8, 16),
        ),
        [
            "training on plays with the recipe tiny:",
            "9 characters",
            "2 x 64 units, 12,345 weights; kernel: keras",
            "1 step of 6 windows of 8, 16 characters, 0.5 epochs",
            "a problem",
            "another",
        ],
    ),
    (
        events.Started(
            RUN, "plays", "9 characters", (), "tiny", 1, 8, 3, "compiled", 1000, 12.5, 1, (7,)
        ),
        [
            "training on plays with the recipe tiny:",
            "9 characters",
            "1 x 8 units, 3 weights; kernel: compiled",
            "1,000 steps of 1 window of 7 characters, 12.5 epochs",
        ],
    ),
]
BARS = (
    events.TextProgress,
    events.StepsTaken,
    events.ScoringProgress,
    events.ReportProgress,
    events.TeacherEvent,
)
"""Events that only move a progress bar, or whose lines have tests of their own."""
ELSEWHERE = (events.Evaluated, events.RequestAnswered)
"""Events whose lines have tests in test_progress.py and test_models.py."""
SILENT = (events.Saved, events.Ended)
"""Events that need no line: another event, or the end of the command, tells the same."""


@pytest.mark.parametrize(("event", "lines"), LINES, ids=lambda value: type(value).__name__)
def test_an_event_is_told_in_these_lines(event: Event, lines: list[str]) -> None:
    assert describe(event) == lines


def test_every_event_has_an_example() -> None:
    kinds = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    }
    told = {type(event) for event, _ in LINES}
    assert kinds == told | {*BARS, *ELSEWHERE, *SILENT}
