"""What training minimises, apart from regularization.

    (1 - w) * H(text, p) + w * H(q, p),  p = softmax(logits / temperature)

H is the cross entropy, w the weight of the soft targets q, which are the probabilities of the teachers (Hinton et al.
2015). H is linear in its first argument, so that both terms are one cross entropy.

Axes: T time, B batch, V vocabulary.
"""

from dataclasses import dataclass

import tensorflow as tf

from charlm.config.schema import TrainingConfig
from charlm.engine.recurrence import Tensor


def mean_nats(targets: Tensor, logits: Tensor) -> Tensor:
    """Return the loss in nats per character: targets int32 [T, B], logits float32 [T, B, V] -> float32 []."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


@dataclass(frozen=True)
class Objective:
    """The function that training minimises."""

    temperature: float = 1.0
    """Divisor of the logits, more than 0."""
    soft_weight: float = 0.0
    """w, the weight of the soft targets, 0 to 1."""

    @property
    def is_loss(self) -> bool:
        """Whether it is the loss itself."""
        return self.temperature == 1 and not self.soft_weight

    def soft_width(self, vocabulary_size: int) -> int:
        """Return the size of the last axis of the soft targets: V, or 0 if they are not used."""
        return vocabulary_size if self.soft_weight else 0

    def __call__(self, targets: Tensor, soft_targets: Tensor, logits: Tensor) -> Tensor:
        """Return the value to minimise.

        Args:
            targets: The ids that follow, int32 [T, B].
            soft_targets: The probabilities q, float16 [T, B, V], or [T, B, 0] if they are not used.
            logits: float32 [T, B, V].

        Returns:
            The mean over the characters in nats, float32 [].

        """
        logits = logits * (1 / self.temperature)
        if not self.soft_weight:
            return mean_nats(targets, logits)
        hard = tf.one_hot(targets, logits.shape[-1])
        mixed = (1 - self.soft_weight) * hard + self.soft_weight * tf.cast(soft_targets, tf.float32)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(mixed, logits))


def make_objective(settings: TrainingConfig) -> Objective:
    """Return the objective that the settings ask for."""
    weight = settings.teacher_weight if settings.has_soft_targets else 0.0
    return Objective(settings.loss_temperature, weight)
