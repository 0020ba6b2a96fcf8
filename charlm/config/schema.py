"""Settings: their meaning, defaults and valid values, as frozen Pydantic models.

`charlm.config.file` reads and writes them as YAML. `charlm.engines` checks the names of
initializers, regularizers and constraints, because that needs Keras. The docstrings of the fields
are the text of docs/settings.md.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo

DEFAULT_EPOCHS = 20
"""Length of a run whose config sets neither epochs nor steps."""

Activation = Literal["tanh", "relu", "sigmoid", "linear"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Whole number of at least 1; the upper limit catches mistakes."""
NotNegative = Annotated[int, Field(ge=0, le=1_000_000_000)]
PositiveFloat = Annotated[float, Field(ge=1e-9, le=1e9)]
"""Positive, finite number that stays positive and finite in float32."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Evaluations = Annotated[int, Field(ge=1, le=1000)]
NotNegativeFloat = Annotated[float, Field(ge=0)]


def _check_keras_object(value: Any) -> Any:
    """Return the value if it can name a Keras object.

    A mapping must not have other keys, such as `module`, which Keras might import.
    """
    if value is None or isinstance(value, str):
        return value
    is_mapping = isinstance(value, dict) and value.keys() <= {"class_name", "config"}
    if is_mapping and isinstance(value.get("class_name"), str) and _is_json(value):
        return value
    raise ValueError("must be a name, null, or a mapping with class_name and optionally config")


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


KerasObject = Annotated[
    str | dict[str, Any] | None,
    PlainValidator(_check_keras_object),
    WithJsonSchema({"anyOf": [{"type": kind} for kind in ("string", "object", "null")]}),
]
"""Keras object: its name, a mapping with `class_name` and `config`, or None."""

DECIDED_BY_THE_TASK = {
    "units": "set model.units instead",
    "return_sequences": "always true, because a language model needs the output of every step",
    "return_state": "always true, because the state is carried from window to window",
    "stateful": "always false, because the state is an explicit argument; see training.state_reset",
    "go_backwards": "always false, because a language model reads forwards",
}
"""Arguments of SimpleRNN that cannot be set, with the reason."""


def _python_name(encoding: str) -> str:
    """Return Python's own name of an encoding: utf8 and UTF-8 are utf-8."""
    try:
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):  # `check_encoding` refuses it
        return encoding


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class CorpusConfig(_Section):
    """Decoding, vocabulary and splits of a text.

    A corpus made by `charlm tokenize` has these settings already; they cannot be changed later.
    """

    encoding: Annotated[str, AfterValidator(_python_name)] = "utf-8"
    """Encoding of the text files, as Python names it. `latin-1` gives each byte an id."""
    errors: Literal["strict", "replace"] = "strict"
    """Treatment of bytes that are not valid in the encoding: `strict` refuses their file, `replace`
    reads them as U+FFFD, as well as zero bytes in UTF-8. A file with more than 10% of them is
    refused."""
    min_count: Positive | None = None
    """Minimum number of occurrences of a character that gets its own id; rarer characters share the
    unknown id. 1 keeps all characters. null = 1 if the text has at most 256 different characters,
    otherwise 1 per million characters of the text, but less if more than 0.5% of the text would be
    unknown."""
    validation_fraction: Fraction = 0.1
    """Share of the text used to evaluate the network during training. Splits follow the order of
    the text: training, validation, test."""
    test_fraction: Fraction = 0.0
    """Share of the text reserved for a final test."""

    @model_validator(mode="after")
    def _check_fractions(self) -> "CorpusConfig":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction must be less than 1")
        return self


class RnnConfig(_Section):
    """Arguments of `keras.layers.SimpleRNN`, shared by all layers."""

    activation: Activation = "tanh"
    """Activation f in h_t = f(x_t U + h_{t-1} V + b)."""
    use_bias: bool = True
    """Whether each layer has a bias b."""
    kernel_initializer: KerasObject = "glorot_uniform"
    """Initializer of the kernel U, from inputs to units; null = `glorot_uniform`.
    `model.input_initializer` can replace it for one-hot characters."""
    recurrent_initializer: KerasObject = "orthogonal"
    """Initializer of the recurrent kernel V, from units to units; null = `glorot_uniform`."""
    bias_initializer: KerasObject = "zeros"
    """Initializer of the bias b; null = `glorot_uniform`."""
    kernel_regularizer: KerasObject = None
    """Penalty on the kernel U, added to the loss."""
    recurrent_regularizer: KerasObject = None
    """Penalty on the recurrent kernel V, added to the loss."""
    bias_regularizer: KerasObject = None
    """Penalty on the bias b, added to the loss."""
    activity_regularizer: KerasObject = None
    """Penalty on the outputs of a layer over a window, divided by the batch size and added to the
    loss."""
    kernel_constraint: KerasObject = None
    """Constraint on the kernel U after each step."""
    recurrent_constraint: KerasObject = None
    """Constraint on the recurrent kernel V after each step."""
    bias_constraint: KerasObject = None
    """Constraint on the bias b after each step."""
    dropout: Fraction = 0.0
    """Dropout rate of the inputs of each layer, with one mask per window."""
    recurrent_dropout: Fraction = 0.0
    """Dropout rate of the state h_{t-1}, with one mask per window."""
    unroll: bool = False
    """Whether Keras unrolls its graph over the characters of a window. This is slower to build and
    a little faster to run than a loop."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_fixed_arguments(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in sorted(DECIDED_BY_THE_TASK.keys() & values.keys()):
                raise ValueError(f"{name} is not a setting: {DECIDED_BY_THE_TASK[name]}")
        return values


class ModelConfig(_Section):
    """The network: one-hot characters or an embedding, a stack of SimpleRNN layers, and logits.

    There is no setting for the cell, such as LSTM: every layer is a SimpleRNN.
    """

    layers: Annotated[int, Field(ge=1, le=64)] = 4
    """Number of SimpleRNN layers."""
    units: Annotated[int, Field(ge=1, le=65536)] = 256
    """Number of units in each layer."""
    embedding: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Width of a learnt character embedding; null = one-hot characters."""
    input_initializer: KerasObject = {"class_name": "RandomNormal", "config": {"stddev": 0.5}}
    """Initializer of the character weights, which are rows of the kernel (one-hot) or the
    embedding. null = `rnn.kernel_initializer` or `uniform`. With 256 units and 65 one-hot
    characters, `glorot_uniform` draws values of about 0.08, which are small next to the state; a
    standard deviation above 0.5 learns faster at first, but ends with a higher loss."""
    skip_connections: bool = True
    """Whether every layer also reads the characters, and the logits read every layer (Graves 2013,
    figure 1)."""
    layer_dropout: Fraction = 0.0
    """Dropout rate between layers, with one mask per window (Gal and Ghahramani 2016)."""
    output_dropout: Fraction = 0.0
    """Dropout rate before the logits, with a new mask for each character."""
    rnn: RnnConfig = RnnConfig()


DEFAULT_OPTIMIZER: Literal["adam"] = "adam"


class OptimizerConfig(_Section):
    """A Keras optimizer; null = the default of Keras."""

    name: Literal["adam", "adamw", "muon", "sgd"] = DEFAULT_OPTIMIZER
    """Name of the Keras optimizer. `muon` trains the weights of characters by Adam, at eight times
    the learning rate."""
    learning_rate: PositiveFloat = 2e-3
    """Highest learning rate; `training.schedule` scales it."""
    weight_decay: NotNegativeFloat | None = None
    """Weight decay; each step subtracts this value times the learning rate times the weight. With
    `muon`, biases decay by at most 0.004."""
    momentum: Fraction | None = None
    """Momentum of the gradients, for `sgd` and `muon`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Other arguments of the Keras optimizer."""
        return self.model_dump(exclude={"name", "learning_rate"}, exclude_none=True)

    @model_validator(mode="after")
    def _check_momentum(self) -> "OptimizerConfig":
        if self.momentum is not None and self.name not in {"sgd", "muon"}:
            raise ValueError(f"{self.name} has no momentum; leave it out, or use sgd or muon")
        return self


class ScheduleConfig(_Section):
    """Schedule of the learning rate."""

    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 50
    """Number of warm-up steps, in which the learning rate rises linearly; at most a tenth of the
    run."""
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Learning rate of the last step, as a share of the highest learning rate. After the warm-up,
    the rate falls along half a cosine; with 1, it is constant."""


class TrainingConfig(_Section):
    """Training, evaluation and checkpoints."""

    initial_weights: str | None = None
    """SHA-256 of the initial weights, set by `charlm train`; null = random weights."""
    initial_model: str | None = None
    """Name of the model with the initial weights, set by `charlm train`."""
    batch_size: Positive = 16
    """Number of streams of text that each step reads in parallel. A short text gets fewer
    streams. Each stream starts every epoch at a random window and wraps around, so that batches
    differ between epochs."""
    sequence_length: Positive = 64
    """Window length in characters. Gradients end at the start of the window; the state is carried
    over from the previous window."""
    state_reset: Share = 0.15
    """Probability that a stream starts a window from the zero state, as a prompt does. 1 = every
    window starts from it, which Keras calls stateless (`stateful=False`); 0 = none does, as with
    `stateful=True`."""
    epochs: Positive | None = None
    """Passes over the training text, each without up to a window of each stream, whose length is no
    multiple of the window. With epochs and steps, the run ends at the limit reached first; with
    neither, after 20 epochs. Setting either with -s replaces both settings of the recipe."""
    steps: NotNegative | None = None
    """Number of training steps; see epochs. 0 = evaluate and save the untrained network, for
    comparison with a trained network."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss_temperature: PositiveFloat = 1.0
    """Temperature T of the loss: training minimises the cross-entropy of softmax(logits / T). A
    network that has memorised its text is too confident; a value below 1 makes it less confident
    (Guo et al. 2017)."""
    ngram_weight: Share = 0.0
    """Weight w of n-gram soft targets, which keep a network from memorising a small text (compare
    Xie et al. 2017): training minimises (1 - w) times the cross-entropy with the text plus w times
    the cross-entropy with the soft targets. They are interpolated modified Kneser-Ney probabilities
    of up to 12 characters; each tenth of the text is predicted from the other nine."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest global norm of the gradients; larger gradients are scaled down. null = no limit."""
    average_momentum: Annotated[float, Field(ge=0, lt=1)] | None = 0.99
    """Momentum of a moving average of the weights, which is evaluated, sampled and saved instead of
    the weights; null = no average."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of matrix products in training. auto = bfloat16 if the compiled kernel is used
    and multiplies it faster than float32, see `charlm info`. A processor without bfloat16 uses
    float32."""
    kernel: Literal["auto", "compiled", "keras"] = "auto"
    """Implementation of a step: a C program compiled for this processor, or Keras. auto = compiled,
    if there is a C compiler and the layers have no `dropout`, regularizer or constraint. The two
    implementations round differently and draw other dropout masks; only the compiled kernel gives
    the same bits on any number of cores."""
    parts: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of parts into which a worker splits its rows of a batch, one part per core. null = the
    number of cores, or fewer, so that a part has at least 4 rows. A run keeps this number, because
    it affects rounding."""
    target_loss: PositiveFloat | None = None
    """The run ends as soon as the training loss, in nats per character, is below this value; for a
    text to be memorised. null = no such value."""
    early_stopping: Positive | None = None
    """Number of evaluations in a row without a new best validation loss after which the run ends;
    null = never."""
    evaluations: Evaluations = 20
    """Number of evaluations, evenly spaced over the steps. Each evaluation scores the first 200,000
    characters of the validation text, generates a text, and saves a checkpoint. In between, the
    training loss is logged about five times, and a checkpoint is saved once a minute."""
    keep_checkpoints: bool = False
    """Whether to keep all checkpoints, including a checkpoint before the first step; otherwise the
    newest two are kept, and none of a finished run. Each checkpoint is three to four times as large
    as a model."""

    @property
    def is_untrained(self) -> bool:
        """Whether the run has no steps."""
        return self.steps == 0

    @model_validator(mode="before")
    @classmethod
    def _add_default_length(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("epochs") is values.get("steps") is None:
            return {**values, "epochs": DEFAULT_EPOCHS}
        return values


class Filters(_Section):
    """Limits on the characters to sample from; see `charlm.core.sampler.Sampler`."""

    top_k: Positive | None = None
    """Number of most likely characters to sample from; null = all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Sample from the smallest set of characters whose probabilities add up to this value; null =
    all."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Leave out characters whose probability is below this share of the highest; null = none."""


class SamplingConfig(Filters):
    """Text generated at every evaluation, for the user and TensorBoard."""

    length: Annotated[int, Field(ge=0, le=100_000)] = 400
    """Number of characters; 0 = generate no text during training, and choose no temperature."""
    prompt: Annotated[str, Field(max_length=100_000)] = ""
    """Text that the network reads first."""
    temperature: NotNegativeFloat | None = None
    """Divisor of the logits; 0 = always the most likely character; null = chosen at the end of
    training, so that generated text repeats itself about as much as the training text."""

    @property
    def chooses_temperature(self) -> bool:
        """Whether the temperature is chosen at the end of training."""
        return self.temperature is None and self.length > 0


class Config(_Section):
    """All settings of a run; together with the text, they determine it."""

    model_config = ConfigDict(
        title="Settings of charlm",
        json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"},
    )

    recipe: str | None = None
    """Name of the recipe, set by `charlm train`."""
    seed: Seed = 1
    """Seed of all random choices in a run: initial weights, dropout, generated text, windows."""
    corpus: CorpusConfig = CorpusConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()

    def with_training(self, **settings: Any) -> "Config":
        """Return the config with other values in the section `training`, which are not checked."""
        training = self.training.model_copy(update=settings)
        return self.model_copy(update={"training": training})


def walk(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted key and the field of each setting and section, a section before its fields.

    Args:
        model: A config or a section.
        before: Start of the dotted keys.

    """
    for name, field in model.model_fields.items():
        yield before + name, field
        section = section_of(field)
        if section is not None:
            yield from walk(section, f"{before}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section type of a field; None for a plain setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def merge(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mappings of a config, updated with other values.

    A new name drops the arguments of the old one: a different optimizer or Keras class replaces the
    whole mapping. New epochs drop old steps, and new steps drop old epochs.
    """
    merged = dict(values)
    for length, other in (("epochs", "steps"), ("steps", "epochs")):
        if others.get(length) is not None and other in values:
            merged[other] = None
    for key, value in others.items():
        before: Any = merged.get(key)
        merged[key] = value
        are_mappings = isinstance(value, Mapping) and isinstance(before, Mapping)
        if are_mappings and _is_same_kind(key, before, value):
            merged[key] = merge(before, value)
    return merged


def _is_same_kind(key: str, before: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    if key == "optimizer":
        name = before.get("name", DEFAULT_OPTIMIZER)
        return bool(value.get("name", name) == name)
    name = before.get("class_name")
    return bool(value.get("class_name", name) == name)
