"""Where the time of a recipe's training step goes.

    PYTHONPATH=tests python tests/bench/step_parts.py -c shakespeare
    PYTHONPATH=tests python tests/bench/step_parts.py -c shakespeare --kernel keras

The gradients, the optimizer and the average run alone. What dropout takes is a difference: the gradients, less those of
a network without it; and the rest is what a whole step takes longer: clipping, norms, the loop.
"""

from collections.abc import Callable
from typing import Any

from bench.rounds import Figures, parser, per_second, print_table

VOCABULARY = 65
PARTS = {
    "step": ("step",),
    "gradients": ("gradients_without_dropout",),
    "dropout": ("gradients", "gradients_without_dropout"),
    "optimizer": ("optimizer",),
    "average": ("average",),
    "rest": ("step", "gradients", "optimizer", "average"),
}
"""Each part of a step: a piece of `step`, and the pieces to subtract from it."""


def step(*, recipe: str, kernel: str) -> Figures:
    """Measure the milliseconds of every piece of a step, with random weights and characters."""
    from charlm.config.file import load_config
    from charlm.config.recipes import find_recipe
    from charlm.engine import runtime
    from charlm.hardware import core_count, multiplies_bfloat16

    settings = {"training.parts": core_count(), "training.kernel": kernel}
    if not multiplies_bfloat16():
        settings["training.precision"] = "float32"
    plain = {f"model.{name}": 0 for name in ("layer_dropout", "output_dropout", "rnn.dropout", "rnn.recurrent_dropout")}
    config, without_dropout = (load_config(find_recipe(recipe), overrides={**settings, **more}) for more in ({}, plain))
    runtime.start()
    pieces = make_pieces(config, without_dropout)

    def milliseconds(piece: Callable[[], Any]) -> float:
        def run(turns: int) -> None:
            for _ in range(turns):
                piece()

        return 1000 / per_second(run, min_turns=1)

    return {name: milliseconds(piece) for name, piece in pieces.items()}


def make_pieces(config: Any, without_dropout: Any) -> dict[str, Callable[[], Any]]:
    """Return the pieces of a recipe's step, by the names in PARTS; each runs to its end."""
    import numpy as np
    import tensorflow as tf

    from charlm.engine.keras_engine import KerasEngine
    from charlm.engine.model import build_model
    from charlm.engine.step import GradientsOfParts, make_objective, part_sizes
    from charlm.text.batches import Batches

    settings, rng = config.training, np.random.default_rng(0)
    batch, time = settings.batch_size, settings.sequence_length
    batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    engine = KerasEngine(config, batches, vocabulary_size=VOCABULARY)
    plain = build_model(without_dropout, VOCABULARY, precision=settings.precision)
    sizes = part_sizes(batch, settings.parts or 1)
    windows = rng.integers(0, VOCABULARY, (1, time + 1, batch), np.int32)
    soft_targets = engine.blank_soft_targets(windows)[0]
    weights, iterations = engine.model.trainable_variables, engine.optimizer.iterations
    updates = [tf.Variable(1e-3 * rng.standard_normal(weight.shape, np.float32)) for weight in weights]

    def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
        graph = tf.function(function, autograph=False).get_concrete_function()
        return lambda: [result.numpy() for result in tf.nest.flatten(graph())]

    def gradients(model: Any) -> Callable[[], Any]:
        is_compiled, objective = settings.kernel == "compiled", make_objective(settings)
        of_parts = GradientsOfParts(model, sizes, objective, machines=engine.machines, compiled=is_compiled)
        return compiled(lambda: of_parts(tf.constant(windows[0]), engine.state, soft_targets))

    def optimizer() -> Any:
        engine.optimizer.apply([update.read_value() for update in updates], weights)
        return iterations.value

    def average() -> Any:
        if engine.average is not None:
            engine.average.update(iterations)
        return iterations.value

    return {
        "gradients_without_dropout": gradients(plain),
        "gradients": gradients(engine.model),
        "optimizer": compiled(optimizer),
        "average": compiled(average),
        "step": lambda: engine.take_steps(windows, np.full(1, 1e-3, np.float32), reset_state=False),
    }


def main() -> None:
    """Print the table: milliseconds of each part, and its share of the step."""
    options = parser(__doc__, step)
    options.add_argument("-c", "--config", default="shakespeare", help="a recipe")
    options.add_argument("--kernel", choices=["compiled", "keras"], default="compiled")
    given = options.parse_args()

    def derive(_label: str, pieces: Figures) -> Figures:
        figures: Figures = {}
        for part, (whole, *removed) in PARTS.items():
            milliseconds = pieces[whole] - sum(pieces[name] for name in removed)
            figures |= {f"{part}, ms": milliseconds, f"{part}, share": milliseconds / pieces["step"]}
        return figures

    columns = {f"{part}, {unit}": form for unit, form in (("ms", ".2f"), ("share", ".2f")) for part in PARTS}
    workload = (step, {"recipe": given.config, "kernel": given.kernel})
    print_table({given.config: [workload]}, columns=columns, rounds=given.rounds, derive=derive)


if __name__ == "__main__":
    main()
