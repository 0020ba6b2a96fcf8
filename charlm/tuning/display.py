"""What the user sees of a search: a bar over its time, the best loss so far, and a line for each trial.

Losses are in nats per character. A line that cannot be written is dropped: the search goes on.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn

from tqdm import tqdm

from charlm.training.display import Say, above_bar


class Display:
    """A bar over the time of a search, and lines above it; a context manager.

    Args:
        seconds: The time that the search has.
        say: Takes a line for the user.
        show_progress: Whether to show the bar on standard error.
        clock: Returns the time in seconds.

    """

    def __init__(
        self, seconds: float, *, say: Say, show_progress: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock, self._started = above_bar(say), clock, clock()
        self._best, self._seconds = "", round(seconds)
        self._bar: tqdm[NoReturn] | None = None
        with contextlib.suppress(OSError):
            self._bar = tqdm(
                total=self._seconds,
                disable=not show_progress,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} s{postfix}",
            )

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.close()

    def show_start(self, number: int, values: Mapping[str, Any]) -> None:
        """Say that a trial begins."""
        tried = ", ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in values.items())
        self._say(f"trial {number}: {tried}")
        self._update(f"trial {number}")

    def show_evaluation(self, number: int, share: float, nats: float) -> None:
        """Show how far a trial is, and its present loss."""
        self._update(f"trial {number} at {share:.0%}: {nats:.3f}")

    def show_end(self, number: int, result: str) -> None:
        """Say how a trial ended."""
        self._say(f"trial {number}: {result}{f'; {self._best}' if self._best else ''}")
        self._update("")

    def show_best(self, number: int, nats: float) -> None:
        """Keep the best trial so far."""
        self._best = f"best {nats:.4f} (trial {number})"

    def _update(self, present: str) -> None:
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.set_postfix_str(", ".join(filter(None, (present, self._best))), refresh=False)
                self._bar.n = min(round(self._clock() - self._started), self._seconds)
                self._bar.refresh()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
