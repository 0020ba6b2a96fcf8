"""Train an ordinary character LSTM in PyTorch within a time limit, to compare charlm with it.

    python tests/bench/lstm.py TEXT --minutes 1 --units 256 --learning-rate 2e-3

charlm itself reads and splits the text, so both learn from the same ids: one for each character,
though rare ones may share one. There is no end_of_text id, because the text is a single file.
The time limit covers the whole command, including imports and evaluations. An evaluation reads the
validation text (its first 200,000 characters, as in charlm) as one stream that begins with the zero
state, and scores every character but the first. During training, charlm estimates the same mean by
reading up to 64 segments of that text side by side.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

STARTED = time.perf_counter()  # before the slow imports, because they count toward the limit

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from charlm.config.schema import CorpusConfig  # noqa: E402
from charlm.core.evaluating import EVALUATED_CHARACTERS  # noqa: E402
from charlm.hardware import core_count, multiplies_bfloat16  # noqa: E402
from charlm.text.tokenization import tokenize  # noqa: E402

EXIT_SECONDS = 0.8  # from the last line to the end of the process
EVALUATION_SHARE = 0.2  # of the time, about as in charlm; slow evaluations become fewer
BLOCK = 10_000  # characters of the validation text in memory at a time
LAYERS, DROPOUT, EVALUATIONS = 2, 0.2, 10
State = tuple[Tensor, Tensor]


def elapsed_seconds() -> float:
    """Return the seconds since the process began."""
    return time.perf_counter() - STARTED


class CharLstm(nn.Module):  # type: ignore[misc]
    """An embedding, LSTM layers and a linear layer, with dropout after each LSTM layer."""

    def __init__(self, vocabulary: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, units)
        self.lstm = nn.LSTM(units, units, LAYERS, dropout=DROPOUT, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.logits = nn.Linear(units, vocabulary)

    def forward(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """Return the mean loss in nats over ids [B, T], and the detached state after them."""
        outputs, (hidden, cell) = self.lstm(self.embedding(ids), state)
        logits = self.logits(self.dropout(outputs)).float()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return loss, (hidden.detach(), cell.detach())


def load_text(path: Path) -> tuple[Tensor, Tensor, int]:
    """Return the training and the validation ids of a text, and the size of its vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = tokenize([str(path)], Path(folder) / "corpus", CorpusConfig())
        training = torch.tensor(corpus.split("train").tolist())
        validation = torch.tensor(corpus.split("validation")[:EVALUATED_CHARACTERS].tolist())
    return training, validation, len(corpus.vocabulary)


def windows(
    ids: Tensor,
    batch: int,
    window: int,
) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield inputs [B, T] that continue the last ones, the targets, and whether an epoch begins."""
    length = (len(ids) - 1) // batch
    if length < window:
        raise SystemExit(f"the training text is shorter than {batch * window + 1:,} characters")
    inputs = ids[: batch * length].view(batch, length)
    targets = ids[1 : batch * length + 1].view(batch, length)
    while True:
        for start in range(0, length - window + 1, window):
            end = start + window
            yield inputs[:, start:end], targets[:, start:end], start == 0


def evaluate(model: CharLstm, ids: Tensor) -> float:
    """Return the mean nats per character of a text that is read as one stream, in float32."""
    total, state = 0.0, None
    model.eval()
    with torch.no_grad():
        for start in range(0, len(ids) - 1, BLOCK):
            block = ids[None, start : start + BLOCK + 1]
            loss, state = model(block[:, :-1], block[:, 1:], state)
            total += loss.item() * (block.numel() - 1)
    model.train()
    return total / (len(ids) - 1)


def train(
    model: CharLstm,
    training: Tensor,
    validation: Tensor,
    given: argparse.Namespace,
) -> None:
    """Train until the time limit, and print the validation losses."""
    optimizer = torch.optim.Adam(model.parameters())
    begin = elapsed_seconds()
    limit = end = 60 * given.minutes - EXIT_SECONDS
    interval = next_evaluation = limit / EVALUATIONS
    evaluation_seconds, losses, state = 0.0, list[float](), None
    batches = windows(training, given.batch, given.window)
    for step, (inputs, targets, is_new_epoch) in enumerate(batches, start=1):
        progress = min(1.0, elapsed_seconds() / end)
        decay = (1 + math.cos(math.pi * progress)) / 2
        optimizer.param_groups[0]["lr"] = given.learning_rate * decay
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            loss, state = model(inputs, targets, None if is_new_epoch else state)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        now = elapsed_seconds()
        step_seconds = (now - begin) / step
        end = limit - step_seconds - evaluation_seconds
        if now < min(next_evaluation, end):
            continue
        losses.append(evaluate(model, validation))
        evaluation_seconds = elapsed_seconds() - now
        next_evaluation = now + max(interval, evaluation_seconds / EVALUATION_SHARE)
        print(f"{now:.1f} s, step {step:,}: {losses[-1]:.4f} nats per character", flush=True)
        if now >= end:
            break
    name = f"lstm {LAYERS} x {given.units} lr {given.learning_rate:g}: best {min(losses):.4f}"
    last = f"nats per character (last {losses[-1]:.4f})"
    print(f"{name} {last}, {step:,} steps in {elapsed_seconds():.0f} s")


def main() -> None:
    """Train on the text, and print the validation losses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("text", type=Path, help="a text file in UTF-8")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the whole command")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="at the start")
    counts = {"units": 256, "batch": 64, "window": 128, "seed": 1}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(core_count())
    torch.manual_seed(given.seed)
    training, validation, vocabulary = load_text(given.text)
    model = CharLstm(vocabulary, given.units)
    train(model, training, validation, given)


if __name__ == "__main__":
    main()
