"""A validated, frozen Config: every setting, its default and its meaning, in one place.

Reading a config from YAML and writing it is left to `charlm.config.file`. Whether Keras has the initializer,
regularizer or constraint that a value names is checked in `charlm.engine`, so that this module needs no TensorFlow. The
docstrings of the fields are the text of docs/settings.md.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

DEFAULT_EPOCHS = 10
"""The length of a run whose config gives none."""

Activation = Literal["tanh", "relu", "sigmoid", "linear"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""A larger number is taken for a mistake."""
NotNegative = Annotated[int, Field(ge=0, le=1_000_000_000)]
PositiveFloat = Annotated[float, Field(ge=1e-9, le=1e9)]
"""Also in float32 above 0 and finite."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
MAX_EVALUATIONS = 1000
"""The largest number of evaluations of a run."""
Evaluations = Annotated[int, Field(ge=1, le=MAX_EVALUATIONS)]
NotNegativeFloat = Annotated[float, Field(ge=0)]


def _check_named(value: Any) -> Any:
    """Refuse among other values a mapping with further keys, such as `module`, which Keras may import."""
    keys = {"class_name", "config"}
    is_class = (
        isinstance(value, dict)
        and value.keys() <= keys
        and isinstance(value.get("class_name"), str)
    )
    if not (is_class or value is None or isinstance(value, str)):
        raise ValueError("must be a name, null, or a mapping of class_name and, if need be, config")
    return value


Named = Annotated[
    str | dict[str, Any] | None,
    PlainValidator(_check_named),
    WithJsonSchema({"anyOf": [{"type": kind} for kind in ("string", "object", "null")]}),
]
"""A Keras object: its name, a mapping with `class_name` and `config`, or None."""

T = TypeVar("T")
RESUMABLE = "may change when a run is resumed"
Resumable = Annotated[T, RESUMABLE]
"""Marks a setting, or a section with all its settings, that a run may change when it is resumed.

A resumed run ends as if it had never stopped. So a setting may change only if it says when a run ends, is evaluated,
saved or reported, or which learning rates the coming steps have. Every other setting decided the steps that have been
taken, and another value would make a run that nobody could repeat.
"""


DECIDED_BY_THE_TASK = {
    "units": "the width is model.units",
    "return_sequences": "a language model needs the output of every step: always true",
    "return_state": "the state is carried from window to window: always true",
    "stateful": "the state is an explicit argument, nothing is kept inside the layer: always false",
    "go_backwards": "a language model reads forwards: always false",
}

_LENGTH_OF_A_TRIAL = "the length of a trial is a time, given when the search begins"
DECIDED_BY_THE_SEARCH = {
    "training.epochs": _LENGTH_OF_A_TRIAL,
    "training.steps": _LENGTH_OF_A_TRIAL,
    "training.early_stopping": "a search ends hopeless trials itself",
    "training.evaluations": "a search evaluates its trials itself",
}
"""Settings that a search space must not name, with the reason."""

USUAL_NAMES = {
    "opt": "training.optimizer",
    "lr_schedule": "training.schedule",
    "scheduler": "training.schedule",
    "warmup": "training.schedule.warmup_steps",
    "clip": "training.clip_norm",
    "grad_clip": "training.clip_norm",
    "patience": "training.early_stopping",
    "validation_split": "corpus.validation_fraction",
    **dict.fromkeys(["lr", "alpha", "step_size"], "training.optimizer.learning_rate"),
    **dict.fromkeys(
        ["hidden", "hidden_size", "hidden_dim", "hidden_units", "rnn_size"], "model.units"
    ),
    **dict.fromkeys(["num_layers", "n_layer", "n_layers", "depth"], "model.layers"),
    **dict.fromkeys(["embed", "embedding_size", "embedding_dim"], "model.embedding"),
    **dict.fromkeys(["dropout", "drop"], "model.layer_dropout"),
    **dict.fromkeys(["batch", "minibatch"], "training.batch_size"),
    **dict.fromkeys(
        ["seq_len", "seq_length", "block_size", "context", "context_length", "window", "bptt"],
        "training.sequence_length",
    ),
    **dict.fromkeys(["num_epochs", "n_epochs", "max_epochs"], "training.epochs"),
    **dict.fromkeys(
        ["max_steps", "num_steps", "iters", "max_iters", "iterations"], "training.steps"
    ),
}
"""The dotted key of a setting, or of a section, by the names that it has in other programs."""


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class CorpusConfig(_Section):
    """How a text is decoded, turned into ids and split.

    A corpus that `charlm tokenize` made brings its own settings; others that are given for it are refused.
    """

    encoding: str = "utf-8"
    """Encoding of the text files, by its name in Python. `latin-1` gives each byte an id."""
    min_count: Positive | None = None
    """Characters that occur less often than this share the unknown id; 1 keeps all. null = 1 for a text of at most 256
    different characters, else one for each million characters of the text, but less if more than 0.5% of it would be
    unknown."""
    validation_fraction: Fraction = 0.1
    """Share of the text on which the network is evaluated during training. The text is split by position: training,
    validation, test."""
    test_fraction: Fraction = 0.0
    """Share of the text that is kept for a final test."""

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> "CorpusConfig":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction must be less than 1")
        return self


class RnnConfig(_Section):
    """The arguments of `keras.layers.SimpleRNN`, the same for every layer of the stack."""

    activation: Activation = "tanh"
    """Function f of the recurrence h_t = f(x_t U + h_{t-1} V + b)."""
    use_bias: bool = True
    """Whether each layer has a bias b."""
    kernel_initializer: Named = "glorot_uniform"
    """How the kernel U, from the inputs to the units, is drawn at first; null = `glorot_uniform`.
    `model.input_initializer` can replace it for one-hot characters."""
    recurrent_initializer: Named = "orthogonal"
    """How the recurrent kernel V, from the units to the units, is drawn at first; null = `glorot_uniform`."""
    bias_initializer: Named = "zeros"
    """How the bias b is drawn at first; null = `glorot_uniform`."""
    kernel_regularizer: Named = None
    """Penalty on the kernel U, added to the loss."""
    recurrent_regularizer: Named = None
    """Penalty on the recurrent kernel V, added to the loss."""
    bias_regularizer: Named = None
    """Penalty on the bias b, added to the loss."""
    activity_regularizer: Named = None
    """Penalty on the outputs of a layer over a window, divided by the batch size and added to the loss."""
    kernel_constraint: Named = None
    """Constraint on the kernel U after each step."""
    recurrent_constraint: Named = None
    """Constraint on the recurrent kernel V after each step."""
    bias_constraint: Named = None
    """Constraint on the bias b after each step."""
    dropout: Fraction = 0.0
    """Share of the inputs of each layer that is dropped in training, one mask for a whole window."""
    recurrent_dropout: Fraction = 0.0
    """The same of the state h_{t-1}."""
    unroll: bool = False
    """Whether the graph of Keras has a node for each character of a window (slower to build, a little faster to run) or
    a loop."""

    @model_validator(mode="before")
    @classmethod
    def _leave_the_rest_to_the_task(cls, values: Any) -> Any:
        if isinstance(values, dict) and (found := DECIDED_BY_THE_TASK.keys() & values.keys()):
            raise ValueError(f"{min(found)} is not a setting: {DECIDED_BY_THE_TASK[min(found)]}")
        return values


class ModelConfig(_Section):
    """The network: one-hot characters or an embedding, a stack of SimpleRNN layers, and logits."""

    layers: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of SimpleRNN layers in the stack."""
    units: Annotated[int, Field(ge=1, le=65536)] = 512
    """Width of each layer: the length of its state."""
    embedding: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Width of a learnt embedding of the characters; null = one-hot characters."""
    input_initializer: Named = None
    """How the weights of the characters are drawn at first: their rows of the kernel (one-hot) or their embedding. null
    = `rnn.kernel_initializer` or `uniform`. With 512 units and 65 one-hot characters, `glorot_uniform` draws values of
    about 0.06, which the state outweighs at first."""
    skip_connections: bool = False
    """Whether every layer also receives the characters, and the logits the outputs of every layer (Graves 2013,
    figure 1)."""
    layer_dropout: Fraction = 0.0
    """Share of the units that is dropped between layers in training, one mask for a whole window (Gal and Ghahramani
    2016)."""
    output_dropout: Fraction = 0.0
    """Share of the units that is dropped before the logits in training, a new mask for each character."""
    rnn: RnnConfig = RnnConfig()


DEFAULT_OPTIMIZER: Literal["adam"] = "adam"


class OptimizerConfig(_Section):
    """A Keras optimizer; null = the default of Keras."""

    name: Literal["adam", "adamw", "muon", "sgd"] = DEFAULT_OPTIMIZER
    """The Keras optimizer."""
    learning_rate: Resumable[PositiveFloat] = 2e-3
    """Highest learning rate. `training.schedule` has a factor for each step."""
    weight_decay: NotNegativeFloat | None = None
    """Share of each weight, times the learning rate, that a step takes away."""
    momentum: Fraction | None = None
    """Momentum of the gradients, of `sgd` and `muon`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments beyond name and learning rate that are given."""
        return self.model_dump(exclude={"name", "learning_rate"}, exclude_none=True)

    @model_validator(mode="after")
    def _have_what_the_optimizer_takes(self) -> "OptimizerConfig":
        if self.momentum is not None and self.name not in {"sgd", "muon"}:
            raise ValueError(f"{self.name} has no momentum; leave it out, or take sgd or muon")
        return self


class ScheduleConfig(_Section):
    """How the learning rate depends on the step."""

    name: Literal["constant", "cosine"] = "cosine"
    """How the rate falls after the warm-up: not at all, or along half a cosine."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps over which the rate rises in a straight line at first; at most a tenth of the run."""
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Rate of the last step, as a share of the highest, by `cosine`."""


class Teachers(_Section):
    """Other networks to learn from: either `recipe` and `seeds`, or `models`.

    Their soft targets are the probabilities that the mean of their logits gives (Hinton et al. 2015).
    """

    recipe: str | None = None
    """Recipe of the teachers that the run trains before it begins, in its folder teachers/; no other setting reaches
    them."""
    seeds: Annotated[
        tuple[Seed, ...], Field(strict=False, json_schema_extra={"uniqueItems": True})
    ] = ()
    """Seed of each of them."""
    models: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Runs or model files in place of a recipe. They must have the vocabulary of the text."""

    @model_validator(mode="after")
    def _are_trained_or_named(self) -> "Teachers":
        given = self.recipe is not None, bool(self.seeds), bool(self.models)
        if given not in {(True, True, False), (False, False, True)}:
            raise ValueError("must be {recipe: NAME, seeds: [N, ...]} or {models: [FILE, ...]}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed occurs twice; each teacher needs its own")
        return self


class EarlierLength(_Section):
    """A length that a run had before its length was changed."""

    until: Positive
    """Step at which the length was changed."""
    steps: Positive
    """Length of the run until then, in steps from its start."""
    evaluations: Evaluations
    """Number of evaluations of the run until then."""

    @model_validator(mode="after")
    def _change_by_the_end(self) -> "EarlierLength":
        if self.until > self.steps:
            raise ValueError(f"until: found {self.until}; must be at most steps, {self.steps}")
        return self


class TrainingConfig(_Section):
    """How the network is trained, evaluated and saved."""

    initial_weights: str | None = None
    """SHA-256 of the weights that training begins with; `charlm train --init MODEL` sets it. null = random weights."""
    batch_size: Positive = 64
    """Streams of text that a step reads side by side. A text too short for one window in each gets fewer."""
    sequence_length: Positive = 64
    """Characters in a window. Gradients reach back to the start of the window; the state is carried further."""
    growing_windows: bool = False
    """Whether windows are short at first and long in the end: of the characters that a run reads, 10% are read in
    windows of a quarter of sequence_length, 30% in half of it, 40% in all of it, 20% in twice of it. The state starts
    anew where the length changes."""
    shuffle: bool = False
    """Whether each stream starts each epoch at a random window and wraps around, so that a step combines other windows
    in each epoch."""
    data_seed: Seed | None = None
    """Seed of the windows that each step reads; null = `seed`."""
    state_reset: Fraction = 0.0
    """Probability that a stream starts a window from the zero state, as every prompt does."""
    epochs: Resumable[Positive | None] = None
    """Passes over the training text. The run ends at the limit that comes first, epochs or steps; 10 epochs if neither
    is given. One that is given with -s replaces both of the recipe."""
    steps: Resumable[NotNegative | None] = None
    """Updates of the weights; see epochs. 0 = the network as it was initialised is evaluated once and saved, so that a
    trained network can be compared with it."""
    earlier_lengths: Annotated[tuple[EarlierLength, ...], Field(strict=False)] = ()
    """Lengths that the run had before it was lengthened or its time limit changed its length, each {until: STEP,
    steps: N, evaluations: N}. They are recorded so that the run can be repeated: every step keeps the learning rate and
    the window length that it had."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Resumable[ScheduleConfig] = ScheduleConfig()
    loss_temperature: PositiveFloat = 1.0
    """Training minimises the loss of softmax(logits / loss_temperature). A network that has memorised its text is too
    confident on other text; a value below 1 lowers that confidence (Guo et al. 2017)."""
    teachers: Teachers | None = None
    """What the network learns from beside the text."""
    teacher_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight w of the soft targets: training minimises (1 - w) times the loss on the text plus w times the cross
    entropy with the soft targets."""
    ngram_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The same for the soft targets that n-grams of up to 12 characters give (interpolated modified Kneser-Ney, for
    each tenth of the training text counted on the rest of it). They keep a network from learning a small text by heart
    (compare Xie et al. 2017). Both weights are 1 together at most."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest global norm of the gradients: larger ones are scaled down to it."""
    average_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Momentum of a moving average of the weights, which is evaluated, sampled and saved in their place."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Number format of the matrix products in training. auto = bfloat16 on a processor that multiplies it faster than
    float32, see `charlm info`. A processor that cannot multiply bfloat16 uses float32."""
    kernel: Literal["auto", "compiled", "keras"] = "auto"
    """What computes the gradients of training: a C program that is compiled for this processor, or Keras. auto =
    compiled, if there is a C compiler, and neither `rnn.dropout` nor an activity regularizer is used. Both round
    differently; only the bits of the compiled one are the same on any number of cores."""
    parts: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Parts into which a batch, or the rows of a worker, is cut; each is computed on one core. null = the number of
    cores when the run begins, or fewer, so that a part has at least 8 rows. It decides how sums are rounded, so a run
    keeps it."""
    until_recited: bool = False
    """Whether the run ends as soon as the network, always choosing the most likely character, generates the training
    text word for word. For texts of at most a few thousand characters."""
    early_stopping: Resumable[Positive | None] = None
    """Evaluations in a row without a new best validation loss after which the run ends."""
    evaluations: Resumable[Evaluations] = 20
    """Number of evaluations, evenly spaced over the steps: at each, the network is evaluated on the first 200,000 characters of the
    validation text, writes a text, and is saved. Between them it is saved once a minute."""
    keep_checkpoints: Resumable[bool] = False
    """Whether the run keeps every checkpoint, and one before the first step. They are three to four times as large as a
    model."""
    log_every: Resumable[Positive] = 50
    """Steps between two lines of training loss in metrics.jsonl and TensorBoard."""

    @property
    def is_untrained(self) -> bool:
        """Whether the run takes no step."""
        return self.steps == 0

    @property
    def used_teachers(self) -> Teachers:
        """The teachers that the run learns from; no seeds and no models if there are none, or their weight is 0."""
        return (
            self.teachers if self.teachers and self.teacher_weight else Teachers.model_construct()
        )

    @property
    def soft_weight(self) -> float:
        """The weight of all soft targets, 0 to 1; 0 = there are none."""
        return (self.teacher_weight if self.teachers else 0.0) + self.ngram_weight

    def with_steps(self, steps: int) -> "TrainingConfig":
        """Return the same settings for a run of so many steps."""
        return self.model_copy(update={"steps": steps, "epochs": None})

    def has_length_of(self, other: "TrainingConfig") -> bool:
        """Return whether other settings give a run the same length and evaluations."""
        return (self.steps, self.epochs, self.evaluations) == (
            other.steps,
            other.epochs,
            other.evaluations,
        )

    def after(self, other: "TrainingConfig", *, at: int, total: int) -> "TrainingConfig":
        """Return the same settings for a run that had other settings until a step.

        Args:
            other: The settings until then; of them, only the lengths count.
            at: The step at which the settings change. A length under which no step was taken is not recorded.
            total: The length that the other settings give, in steps from the start, at least `at`.

        """
        if not at:
            return self.model_copy(update={"earlier_lengths": ()})
        lengths = (
            *other.earlier_lengths,
            EarlierLength(until=total, steps=total, evaluations=other.evaluations),
        )
        earlier = [length for length in lengths if length.until < at]
        in_force = next(length for length in lengths if length.until >= at)
        earlier.append(in_force.model_copy(update={"until": at}))
        return self.model_copy(update={"earlier_lengths": tuple(earlier)})

    @model_validator(mode="before")
    @classmethod
    def _have_a_length(cls, values: Any) -> Any:
        is_without = isinstance(values, dict) and not values.keys() & {"epochs", "steps"}
        return {**values, "epochs": DEFAULT_EPOCHS} if is_without else values

    @model_validator(mode="after")
    def _end_somewhere_and_leave_a_weight_to_the_text(self) -> "TrainingConfig":
        if self.epochs is None and self.steps is None:
            raise ValueError("epochs or steps must be given")
        changes = [length.until for length in self.earlier_lengths]
        limits = [] if self.steps is None else [self.steps]
        for before, after in pairwise(changes + limits):
            if before >= after:
                raise ValueError(
                    f"earlier_lengths: found until {before} before {after}; must increase, up to steps"
                )
        if self.soft_weight > 1:
            raise ValueError(
                f"teacher_weight + ngram_weight: found {self.soft_weight:g}; must be at most 1"
            )
        return self


class Filters(_Section):
    """Which characters may be chosen, as `charlm.sampling.sampler.Sampler` has it."""

    top_k: Positive | None = None
    """Choose among this many most likely characters."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Choose among the fewest most likely characters whose probabilities add up to this."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Choose among the characters that are at least this many times as likely as the most likely one."""


class SamplingConfig(Filters):
    """The text that is generated at every evaluation, for the user and TensorBoard."""

    length: Annotated[int, Field(ge=0, le=100_000)] = 400
    """Characters to generate; 0 = no text during training, and no temperature is chosen."""
    prompt: str = ""
    """Text that the network reads first; characters that the vocabulary lacks are left out."""
    temperature: NotNegativeFloat | None = None
    """Divisor of the logits: 0 = always the most likely character, 1 = the probabilities of the network; null = what
    suits what the network writes, chosen at the end of training."""

    @property
    def chooses_temperature(self) -> bool:
        """Whether the temperature is chosen at the end of training."""
        return self.temperature is None and self.length > 0


class Config(_Section):
    """Everything that determines a run, except the text."""

    model_config = ConfigDict(
        title="Settings of charlm",
        json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"},
    )

    recipe: str | None = None
    """Name of the recipe that the run began with; `charlm train` sets it."""
    seed: Seed = 1
    """Seed of every random choice in a run: initial weights, dropout, generated text, windows."""
    corpus: CorpusConfig = CorpusConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: Resumable[SamplingConfig] = SamplingConfig()


def merge(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings, those of a config, with the values of `others` in place of the same keys.

    What belongs to a name does not outlive it: another optimizer, another class of Keras, or teachers of the other
    kind, replace the whole mapping of the one before, since its arguments would mean nothing. And a length of training
    replaces the one before, in whichever unit that was.
    """
    merged = dict(values)
    for length, other in (("epochs", "steps"), ("steps", "epochs")):
        if others.get(length) is not None and other in values:
            merged[other] = None
    for key, value in others.items():
        before: Any = merged.get(key)
        merged[key] = value
        if (
            isinstance(value, Mapping)
            and isinstance(before, Mapping)
            and _is_same_kind(key, before, value)
        ):
            merged[key] = merge(before, value)
    return merged


def _is_same_kind(key: str, before: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    if key == "teachers":
        return bool(before.get("models")) == bool(value.get("models"))
    name, default = ("name", DEFAULT_OPTIMIZER) if key == "optimizer" else ("class_name", None)
    named = before.get(name, default)
    return bool(value.get(name, named) == named)
