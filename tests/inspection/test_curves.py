"""Learning curves of runs whose metrics.jsonl was written by hand."""

from pathlib import Path

from run_folders import make_run, metrics_line

from charlm.inspection.curves import read_curves

METRICS = "".join(
    metrics_line(step=step, epoch=step / 10, nats_per_char=nats, split=split)
    for step, split, nats in (
        *((5, "train", 3.0), (10, "train", 2.5), (10, "validation", 2.8), (15, "train", 2.0)),
        *((20, "train", 1.5), (20, "validation", 2.25), (30, "train", 1.0), (30, "validation", 2.5)),
    )
)


def test_losses_are_read_split_by_split(tmp_path: Path) -> None:
    found = read_curves(make_run(tmp_path / "run", metrics=METRICS), baselines={})
    assert found.training.steps.tolist() == [5, 10, 15, 20, 30]
    assert found.training.nats_per_char.tolist() == [3, 2.5, 2, 1.5, 1]
    assert found.validation.nats_per_char.tolist() == [2.8, 2.25, 2.5]


def test_a_line_that_is_no_loss_is_left_out_and_the_last_of_a_step_counts(tmp_path: Path) -> None:
    lines = (
        metrics_line(step=1, nats_per_char=None),
        metrics_line(step="2", nats_per_char=1.0),
        metrics_line(step=3, nats_per_char=-1e99),
        metrics_line(step=4, nats_per_char=1.0, event="rollback"),
        metrics_line(step=4, nats_per_char=2.0),
        metrics_line(step=5, split="test", nats_per_char=2.0),
    )
    found = read_curves(make_run(tmp_path / "run", metrics="".join(lines)), baselines={})
    assert (found.training.steps.tolist(), found.training.nats_per_char.tolist()) == ([4], [2])


def test_a_long_run_keeps_points_spread_over_all_of_it(tmp_path: Path) -> None:
    lines = (metrics_line(step=step, nats_per_char=1 / step) for step in range(1, 1001))
    found = read_curves(make_run(tmp_path / "run", metrics="".join(lines)), baselines={}, max_points=4)
    assert found.training.steps.tolist() == [1, 334, 667, 1000]
