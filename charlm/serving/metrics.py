"""Figures of the server, in the text format that Prometheus reads."""

import time
from collections import Counter
from collections.abc import Mapping

LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the buckets of waiting times, in seconds."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts since the start; only the thread of the event loop changes them."""

    def __init__(self) -> None:
        self.started = time.time()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._characters: Counter[tuple[str, str]] = Counter()
        self._latencies: Counter[float] = Counter()
        self._latency_sum = 0.0
        self._disconnected = 0

    def count_request(self, path: str, status: int) -> None:
        """Count an answer; the path is one of the server's own."""
        self._requests[path, status] += 1

    def count_characters(self, model: str, *, prompt: int, generated: int) -> None:
        """Count the characters of an answer that is done."""
        self._characters[model, "prompt"] += prompt
        self._characters[model, "generated"] += generated

    def count_disconnect(self) -> None:
        """Count a client that went before its answer was done."""
        self._disconnected += 1

    def observe_first_report(self, seconds: float) -> None:
        """Note how long a request waited: if it is streamed for its first character, else for its first text."""
        self._latencies[next((bound for bound in LATENCY_BOUNDS if seconds <= bound), float("inf"))] += 1
        self._latency_sum += seconds

    def render(self, gauges: Mapping[str, float]) -> str:
        """Return all figures as text; `gauges` are the figures of the moment by their names."""
        lines = ["# TYPE charlm_requests_total counter"]
        lines += [
            f'charlm_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self._requests.items())
        ]
        lines.append("# TYPE charlm_characters_total counter")
        lines += [
            f'charlm_characters_total{{model="{_escape(model)}",kind="{kind}"}} {count}'
            for (model, kind), count in sorted(self._characters.items())
        ]
        lines += ["# TYPE charlm_disconnects_total counter", f"charlm_disconnects_total {self._disconnected}"]
        lines += self._histogram("charlm_wait_seconds")
        for name, value in {"start_time_seconds": self.started, **gauges}.items():
            lines += [f"# TYPE charlm_{name} gauge", f"charlm_{name} {value:.15g}"]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str) -> list[str]:
        lines, total = [f"# TYPE {name} histogram"], 0
        for bound in (*LATENCY_BOUNDS, float("inf")):
            total += self._latencies[bound]
            label = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'{name}_bucket{{le="{label}"}} {total}')
        return [*lines, f"{name}_sum {self._latency_sum:.6f}", f"{name}_count {total}"]


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
