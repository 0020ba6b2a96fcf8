"""What a run trains with on this machine: the precision, and what computes the gradients."""

from charlm.config.schema import Config
from charlm.engine.kernel import load_kernel
from charlm.errors import CharlmError
from charlm.events import OnEvent, SettingReplaced, ignore
from charlm.hardware import multiplies_bfloat16


def resolve_precision(config: Config, *, on_event: OnEvent, is_recorded: bool) -> Config:
    """Return the config with a precision that this machine multiplies in; see `resolve_kernel`."""
    if config.training.precision != "bfloat16" or multiplies_bfloat16():
        return config
    problem = "this processor cannot multiply bfloat16"
    on_event(SettingReplaced("training.precision", "float32", problem, changes_bits=is_recorded))
    return _with_training(config, precision="float32")


def resolve_kernel(
    config: Config, *, on_event: OnEvent = ignore, is_recorded: bool = False
) -> Config:
    """Return the config with what computes the gradients on this machine: the compiled kernel, or Keras.

    Args:
        config: Every setting of a run.
        on_event: Called with KernelCompiling, KernelNotKept and SettingReplaced.
        is_recorded: Whether the config is that of a run which has begun: then Keras takes over if there is no
            kernel here.

    Raises:
        CharlmError: the config asks for the kernel, which is missing here or does not cover a setting.

    """
    asked = config.training.kernel
    if asked == "keras":
        return config
    uncovered = [
        name for name in ("dropout", "activity_regularizer") if getattr(config.model.rnn, name)
    ]
    problems = [f"the compiled kernel lacks model.rnn.{name}" for name in uncovered]
    problem = problems[0] if problems else _find_problem(config.training.precision, on_event)
    if problem is None:
        return _with_training(config, kernel="compiled")
    is_asked_for = asked == "compiled"
    if is_asked_for and not is_recorded:
        raise CharlmError(f"training.kernel: found compiled; must be keras: {problem}")
    if is_asked_for or not uncovered:
        on_event(SettingReplaced("training.kernel", "keras", problem, changes_bits=is_asked_for))
    return _with_training(config, kernel="keras")


def _find_problem(precision: str, on_event: OnEvent) -> str | None:
    """Return why this machine has no kernel for a precision, or None if it has one."""
    try:
        kernel = load_kernel(on_event)
    except CharlmError as error:
        return str(error)
    if precision == "bfloat16" and not kernel.has_bfloat16:
        return "it was compiled without bfloat16, which this processor has; see $CHARLM_CFLAGS"
    return None


def _with_training(config: Config, **settings: str) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=settings)})
