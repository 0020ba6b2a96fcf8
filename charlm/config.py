"""A validated, frozen Config. Every setting and its default live here, once.

How a config is read from a file and written to one is left to `charlm.config_file`. What the values mean to
TensorFlow (is there such an optimizer, such an initializer) is checked where they are used, in
`charlm.training`; this module imports nothing heavier than pydantic.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAMED_KEYS = {"class_name", "config"}
MAX_RECURRENT_WEIGHTS = 1 << 32
"""16 GiB in float32: more is a slip of the hand."""

Activation = Literal[
    "tanh", "relu", "sigmoid", "linear", "softsign", "softplus", "elu", "selu", "silu", "leaky_relu",
    "relu6", "hard_tanh", "hard_sigmoid", "exponential",
]  # fmt: skip
ACTIVATIONS: tuple[str, ...] = get_args(Activation)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
NotNegativeFloat = Annotated[float, Field(ge=0)]


def _check_named(value: Any) -> Any:
    """Refuse further keys of a mapping, such as `module`, which Keras may import."""
    if isinstance(value, dict) and not (isinstance(value.get("class_name"), str) and value.keys() <= NAMED_KEYS):
        raise ValueError("a mapping should have class_name and config, and nothing else")
    return value


Named = Annotated[str | dict[str, Any] | None, AfterValidator(_check_named)]
"""A Keras object: its name, a mapping with `class_name` and `config`, or none."""

DECIDED_BY_THE_TASK = {
    "units": "the width is model.units",
    "return_sequences": "a language model needs the output of every step: always true",
    "return_state": "the state is carried from window to window: always true",
    "stateful": "the state is an explicit argument, nothing is kept inside the layer: always false",
    "go_backwards": "a language model reads forwards: always false",
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CorpusConfig(_Section):
    """How a text becomes ids."""

    encoding: str = "utf-8"
    level: Literal["char", "byte"] = "char"
    normalize: Literal["none", "NFC", "NFKC"] = "none"
    min_count: Positive = 1
    """Characters seen less often than this become the unknown id."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.0

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> "CorpusConfig":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction should be less than 1")
        return self


class RnnConfig(_Section):
    """The arguments of `keras.layers.SimpleRNN`, for every layer of the stack."""

    activation: Activation = "tanh"
    use_bias: bool = True
    kernel_initializer: Named = "glorot_uniform"
    recurrent_initializer: Named = "orthogonal"
    bias_initializer: Named = "zeros"
    kernel_regularizer: Named = None
    recurrent_regularizer: Named = None
    bias_regularizer: Named = None
    activity_regularizer: Named = None
    kernel_constraint: Named = None
    recurrent_constraint: Named = None
    bias_constraint: Named = None
    dropout: Fraction = 0.0
    recurrent_dropout: Fraction = 0.0
    unroll: bool = True
    """True builds one graph node per step of a window (slower to build, faster to run), False a loop."""


class ModelConfig(_Section):
    """The network."""

    layers: Annotated[int, Field(ge=1, le=64)] = 1
    units: Annotated[int, Field(ge=1, le=65536)] = 512
    embedding: Annotated[int, Field(ge=1, le=65536)] | None = None
    """None feeds one-hot characters, a number a learnt embedding of that width."""
    input_initializer: Named = None
    """Draws what a character enters by: its row of the kernel (one-hot) or its embedding; None = as Keras does.

    Keras's default suits dense inputs: of a one-hot vector it makes a drive of 0.06, which drowns in the state.
    """
    skip_connections: bool = False
    """True feeds the input to every layer and every layer to the logits (Graves 2013, figure 1)."""
    layer_dropout: Fraction = 0.0
    """Share of units dropped between layers, one mask for a whole window (Gal and Ghahramani 2016)."""
    output_dropout: Fraction = 0.0
    """Share of units dropped before the logits, a new mask at every step."""
    weight_dropout: Fraction = 0.0
    """Share of the recurrent kernel's weights dropped, one mask for a whole window (Merity et al. 2017)."""
    activation_penalty: NotNegativeFloat = 0.0
    """Times the mean square of the last layer's outputs, added to the loss (AR of Merity et al. 2017)."""
    temporal_activation_penalty: NotNegativeFloat = 0.0
    """Times the mean square of their change from step to step (TAR)."""
    rnn: RnnConfig = RnnConfig()

    @model_validator(mode="after")
    def _fit_into_some_memory(self) -> "ModelConfig":
        if self.layers * self.units**2 > MAX_RECURRENT_WEIGHTS:
            raise ValueError(
                f"{self.layers} layers of {self.units} units; layers * units * units should be "
                f"{MAX_RECURRENT_WEIGHTS:,} at most"
            )
        return self


class OptimizerConfig(BaseModel):
    """Any Keras optimizer by name; further keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    name: str = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments beyond name and learning rate, as written in the YAML file."""
        return dict(self.model_extra or {})


class ScheduleConfig(_Section):
    """How the learning rate follows the step."""

    name: Literal["constant", "cosine", "exponential"] = "cosine"
    warmup_steps: NotNegative = 0
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.01
    """The rate of the last step, as a share of optimizer.learning_rate (cosine, exponential)."""


class EarlyStoppingConfig(_Section):
    """When to stop because the validation loss no longer falls."""

    patience: Positive = 5
    """Evaluations without a new best before training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Nats per character by which a new best must be lower."""


class DivergenceConfig(_Section):
    """When training has gone astray, and what is done then: back to a checkpoint, on with a lower rate.

    A loss or a gradient norm that is not finite always counts as astray.
    """

    tolerance_nats: Annotated[float, Field(gt=0)] | None = 1.0
    """How far the mean training loss of `patience_steps` steps may lie above the lowest one; None = any."""
    patience_steps: Positive = 200
    """The loss is compared once in so many steps: a peak that soon passes does no harm."""
    rate_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """By which the learning rates are multiplied each time."""
    max_rollbacks: NotNegative = 3
    """After so many, training fails."""


class TrainingConfig(_Section):
    """The optimisation."""

    batch_size: Positive = 64
    sequence_length: Positive = 64
    """Characters a window: the gradient reaches that far back, the state further."""
    shuffle: bool = False
    """True begins each stream of the text at a random window of its own, another in each epoch: other windows meet
    in a step each time, and one of them follows on the end of its stream instead of the window before it."""
    state_reset: Fraction = 0.0
    """Share of windows that a stream begins from the zero state, as every prompt will, instead of going on."""
    epochs: Positive | None = None
    steps: Positive | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss_temperature: Annotated[float, Field(gt=0)] = 1.0
    """Training makes softmax(logits / loss_temperature) likely. A network that knows its text by heart is too sure
    of other text; one that has learnt at a temperature below 1 is less sure by that factor (Guo et al. 2017)."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """The global norm to which a larger gradient is scaled down; None = never."""
    undecayed: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Weights that the optimizer's weight decay leaves alone: parts of their names in weights.safetensors."""
    average_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Evaluate, sample and save a moving average of the weights with this momentum; None = the weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    early_stopping: EarlyStoppingConfig | None = None
    divergence: DivergenceConfig = DivergenceConfig()
    evaluate_every: Positive = 500
    checkpoint_every: Positive = 500
    evaluate_characters: Annotated[int, Field(ge=2)] = 200_000
    """Characters of the validation text that an evaluation during training reads, at most."""
    log_every: Positive = 50
    steps_per_call: Annotated[int, Field(ge=1, le=1000)] = 10
    """Steps that one call of the compiled function runs: fewer returns to Python."""

    @model_validator(mode="after")
    def _end_somewhere(self) -> "TrainingConfig":
        if self.epochs is None and self.steps is None:
            raise ValueError("epochs or steps should be given (max_minutes only ends a run early)")
        return self


class SamplingConfig(_Section):
    """The text written at every evaluation, for TensorBoard."""

    length: NotNegative = 400
    """Characters; 0 = no samples during training."""
    prompt: str = ""
    temperature: Annotated[float, Field(ge=0)] = 0.8
    top_k: Positive | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None


class Config(_Section):
    """Everything that decides a run, but for the text."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    corpus: CorpusConfig = CorpusConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig(epochs=10)
    sampling: SamplingConfig = SamplingConfig()
