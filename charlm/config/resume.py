"""Which settings a run may change when it is resumed: one table with a place for every key of the schema.

A resumed run ends as if it had never stopped. So a setting may change only if it says when a run ends, is evaluated,
saved or reported, or which learning rates the coming steps have. Every other setting decided the steps that have been
taken, and another value would make a run that nobody could repeat.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from charlm.config.schema import Config
from charlm.config.yaml import show_value
from charlm.errors import CharlmError

MAY_CHANGE = None
"""In place of a reason in RESUME."""

_GROUPS: tuple[tuple[str | None, str], ...] = (
    (
        MAY_CHANGE,
        "training.epochs training.steps training.max_minutes"
        " training.early_stopping training.early_stopping.patience training.early_stopping.min_delta"
        " training.early_stopping.min_weights_per_character"
        " training.divergence.tolerance_nats training.divergence.patience_steps"
        " training.divergence.rate_factor training.divergence.max_rollbacks"
        " training.evaluate_every training.evaluate_characters training.checkpoint_every training.log_every"
        " training.steps_per_call"
        " training.optimizer.learning_rate"
        " training.schedule.name training.schedule.warmup_steps training.schedule.final_fraction"
        " sampling.length sampling.prompt sampling.temperature sampling.top_k sampling.top_p sampling.min_p",
    ),
    (
        "the text has been turned into ids and split",
        "corpus.encoding corpus.level corpus.normalize corpus.min_count corpus.validation_fraction"
        " corpus.test_fraction",
    ),
    (
        "it belongs to the network",
        "model.layers model.units model.embedding model.input_initializer model.skip_connections"
        " model.layer_dropout model.output_dropout model.weight_dropout"
        " model.activation_penalty model.temporal_activation_penalty"
        " model.rnn.activation model.rnn.use_bias model.rnn.kernel_initializer model.rnn.recurrent_initializer"
        " model.rnn.bias_initializer model.rnn.kernel_regularizer model.rnn.recurrent_regularizer"
        " model.rnn.bias_regularizer model.rnn.activity_regularizer model.rnn.kernel_constraint"
        " model.rnn.recurrent_constraint model.rnn.bias_constraint model.rnn.dropout model.rnn.recurrent_dropout"
        " model.rnn.unroll",
    ),
    (
        "training has begun with these weights",
        "training.first_weights",
    ),
    (
        "it decides which characters a step reads, and other random choices",
        "seed training.batch_size training.sequence_length training.shuffle training.state_reset",
    ),
    (
        "it decides what a step does to the weights",
        "training.optimizer training.optimizer.name training.loss_temperature training.clip_norm"
        " training.average_momentum training.teachers training.teacher_seeds"
        " training.teacher_settings training.teacher_weight training.teacher_temperature",
    ),
    ("another value changes the last bits of sums", "training.precision training.parts training.device"),
)
RESUME: dict[str, str | None] = {key: reason for reason, keys in _GROUPS for key in keys.split()}
"""For each key, why a resume may not change it, or MAY_CHANGE. A key without a place may not change."""
_ARGUMENTS = "training.optimizer"
"""The place of the arguments of an optimizer, which have no keys in the schema."""


def changed_settings(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of each setting that differs, by dotted keys; a missing one is None.

    An argument of an optimizer that is missing on one side differs even from None.
    """
    old, new = dict(_settings(before)), dict(_settings(after))
    differing = (key for key in {**old, **new} if (key in old, old.get(key)) != (key in new, new.get(key)))
    return {key: (old.get(key), new.get(key)) for key in differing}


def check_resume(before: Config, after: Config, *, origin: str = "") -> dict[str, tuple[Any, Any]]:
    """Refuse to resume a run with settings that a resume may not change.

    Args:
        before: The settings that the run has.
        after: The settings to continue with.
        origin: What the message of an error starts with, for instance a file and a colon.

    Returns:
        The old and the new value of each setting that changes, by dotted keys.

    Raises:
        CharlmError: a setting differs that RESUME does not allow to change.

    """
    changes = changed_settings(before, after)
    for key, (old, new) in changes.items():
        reason = _reason(key)
        if reason is not MAY_CHANGE:
            raise CharlmError(
                f"{origin}{key}: found {show_value(new)}; must be {show_value(old)}, as at the start of the run: "
                f"{reason}; leave it as it was, or start a new run"
            )
    return changes


def _settings(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each setting, arguments of the optimizer included."""
    for name in (*type(section).model_fields, *(section.model_extra or {})):
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _reason(key: str) -> str | None:
    is_argument = key not in RESUME and key.startswith(f"{_ARGUMENTS}.")
    return RESUME.get(_ARGUMENTS if is_argument else key, "it has no place in the table of what a resume may change")
