"""Whatever joins and leaves a batch, and whenever: each text is the one that is written alone, to the bit."""

from dataclasses import replace

import numpy as np
from bundles import make_random_parameters
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from numpy.typing import NDArray

from charlm.sampling.batch import Batch, Chunk, Job
from charlm.sampling.generation import generate, read_prompt
from charlm.sampling.sampler import Sampler

PARAMETERS = make_random_parameters(vocabulary_size=9, layers=2, units=21, scale=0.3, skip_connections=True)
SAMPLERS = [Sampler(), Sampler(temperature=0), Sampler(temperature=1.5, top_k=6), Sampler(top_p=0.8, min_p=0.01)]
Ids = NDArray[np.int64]
TEXTS = st.tuples(
    st.lists(st.integers(0, 8), min_size=1, max_size=9).map(np.array),
    st.integers(1, 20) | st.just(10**30),
    st.sampled_from(SAMPLERS),
    st.integers(0, 9),
    st.sampled_from([3, None, 0, 9]),
)
"""The ids of a prompt, the length, the sampler, the seed and how many of the likeliest to report."""


class Writing(RuleBasedStateMachine):
    """A batch, and what it has reported of each text."""

    @initialize(slots=st.integers(1, 9), window=st.sampled_from([64, 7]), end_id=st.sampled_from([None, None, 4]))
    def begin(self, slots: int, window: int, end_id: int | None) -> None:
        self.batch, self.end_id = Batch(PARAMETERS, slots=slots, window=window, end_id=end_id), end_id
        self.prompts = dict[Job, Ids]()
        self.steps = dict[Job, int]()
        self.reported = dict[Job, list[Chunk]]()

    @rule(texts=st.lists(TEXTS, min_size=1, max_size=5))
    def add(self, texts: list[tuple[Ids, int, Sampler, int, int | None]]) -> None:
        for prompt, length, sampler, seed, likeliest in texts[: self.batch.slots - len(self.batch)]:
            job = Job(read_prompt(PARAMETERS, prompt), length, sampler, (seed, 0), likeliest)
            self.batch.add(job)
            self.prompts[job], self.steps[job], self.reported[job] = prompt, 0, []

    @precondition(lambda self: len(self.batch) > 0)
    @rule(number=st.integers(0, 8))
    def remove(self, number: int) -> None:
        job = self.batch.jobs()[number % len(self.batch)]
        self.batch.remove(job)
        del self.reported[job]  # so that a later report of it is an error

    @rule(steps=st.integers(1, 9), everything=st.booleans())
    def step(self, steps: int, everything: bool) -> None:
        for _ in range(steps if len(self.batch) else 0):
            for job in self.batch.jobs():
                self.steps[job] += 1
            self.batch.step()
            self.take(everything=everything)

    def take(self, *, everything: bool) -> None:
        for job, chunk in self.batch.take_reports(everything=everything):
            self.reported[job].append(chunk)

    def check(self, job: Job) -> None:
        """Compare what is reported of a text with what is generated from its prompt, and with a batch of its own."""
        length = min(self.steps[job], job.length)
        expected = [*generate(PARAMETERS, self.prompts[job], sampler=job.sampler, length=length, seed=job.seed[0])]
        reason = "length" if length == job.length else None
        if self.end_id in expected:
            expected, reason = expected[: expected.index(self.end_id) + 1], "end of text"
        chunks = self.reported[job]
        assert [index for chunk in chunks for index in chunk.ids] == expected
        assert [chunk.reason for chunk in chunks if chunk.reason] == ([reason] if reason else [])
        if job.likeliest is not None and expected:
            alone = Batch(PARAMETERS, slots=1)
            alone.add(replace(job, length=len(expected)))
            for _ in expected:
                alone.step()
            lone = [chunk for _, chunk in alone.take_reports()]
            for field in ("logprobs", "likeliest_ids", "likeliest_logprobs"):
                found, wanted = (np.concatenate([getattr(chunk, field) for chunk in each]) for each in (chunks, lone))
                np.testing.assert_array_equal(found, wanted)

    def teardown(self) -> None:
        self.take(everything=True)
        for job in self.reported:
            self.check(job)


TestWriting = Writing.TestCase
TestWriting.settings = settings(max_examples=50, stateful_step_count=30)
