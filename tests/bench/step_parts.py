"""Where the time of a recipe's training step goes.

    PYTHONPATH=tests python tests/bench/step_parts.py -c shakespeare
    PYTHONPATH=tests python tests/bench/step_parts.py -c shakespeare --kernel keras

The gradients, the optimizer and the average run alone. The rest is what a whole step takes longer: clipping, norms, the
loop.
"""

from collections.abc import Callable
from typing import Any

from bench.rounds import Figures, parser, per_second, print_table

VOCABULARY = 65
PARTS = ("gradients", "optimizer", "average")


def step(*, recipe: str, kernel: str) -> Figures:
    """Measure the milliseconds of a step and of each part of it, with random weights and characters."""
    from charlm.config.file import load_config
    from charlm.config.recipes import find_recipe
    from charlm.engine import runtime
    from charlm.hardware import core_count, multiplies_bfloat16

    settings = {"training.parts": core_count(), "training.kernel": kernel}
    if not multiplies_bfloat16():
        settings["training.precision"] = "float32"
    runtime.start()
    pieces = make_pieces(load_config(find_recipe(recipe), overrides=settings))

    def milliseconds(piece: Callable[[], Any]) -> float:
        def run(turns: int) -> None:
            for _ in range(turns):
                piece()

        return 1000 / per_second(run, min_turns=1)

    return {name: milliseconds(piece) for name, piece in pieces.items()}


def make_pieces(config: Any) -> dict[str, Callable[[], Any]]:
    """Return a recipe's step and the parts of it; each runs to its end."""
    import numpy as np
    import tensorflow as tf

    from charlm.engine.keras_engine import KerasEngine
    from charlm.engine.step import GradientsOfParts, make_objective, part_sizes
    from charlm.text.batches import Batches

    settings, rng = config.training, np.random.default_rng(0)
    batch, time = settings.batch_size, settings.sequence_length
    batches = Batches(length=batch * time + 1, batch_size=batch, sequence_length=time, seed=0)
    engine = KerasEngine(config, batches, vocabulary_size=VOCABULARY)
    sizes = part_sizes(batch, settings.parts or 1)
    windows = rng.integers(0, VOCABULARY, (1, time + 1, batch), np.int32)
    soft_targets = engine.blank_soft_targets(windows)[0]
    weights, iterations = engine.model.trainable_variables, engine.optimizer.iterations
    updates = [tf.Variable(1e-3 * rng.standard_normal(weight.shape, np.float32)) for weight in weights]
    of_parts = GradientsOfParts(
        engine.model,
        sizes,
        make_objective(settings),
        machines=engine.machines,
        compiled=settings.kernel == "compiled",
    )

    def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
        graph = tf.function(function, autograph=False).get_concrete_function()
        return lambda: [result.numpy() for result in tf.nest.flatten(graph())]

    def optimizer() -> Any:
        engine.optimizer.apply([update.read_value() for update in updates], weights)
        return iterations.value

    def average() -> Any:
        if engine.average is not None:
            engine.average.update(iterations)
        return iterations.value

    return {
        "gradients": compiled(lambda: of_parts(tf.constant(windows[0]), engine.state, soft_targets)),
        "optimizer": compiled(optimizer),
        "average": compiled(average),
        "step": lambda: engine.take_steps(windows, np.full(1, 1e-3, np.float32), reset_state=False),
    }


def main() -> None:
    """Print the table: milliseconds of a step and of each part."""
    options = parser(__doc__, step)
    options.add_argument("-c", "--config", default="shakespeare", help="a recipe")
    options.add_argument("--kernel", choices=["compiled", "keras"], default="compiled")
    given = options.parse_args()

    def derive(_label: str, pieces: Figures) -> Figures:
        return pieces | {"rest": pieces["step"] - sum(pieces[part] for part in PARTS)}

    workload = (step, {"recipe": given.config, "kernel": given.kernel})
    columns = dict.fromkeys(("step", *PARTS, "rest"), ".2f")
    print_table({f"{given.config}, ms": [workload]}, columns=columns, rounds=given.rounds, derive=derive)


if __name__ == "__main__":
    main()
