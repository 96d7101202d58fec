"""Batches of the inputs of several requests, which are decoded together in one thread."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import seqx

_MAX_DELAY = 0.05  # seconds
_DELAY = 0.1  # fraction of the time of the last batch
_TOKENS = 32  # mean tokens of a text in a full batch: a batch has at most `max_batch` times as many
_CHARACTERS = 4  # number of characters of a token, for estimates
_LONGER = 2  # a text may have at most this many times the tokens of the first text of its batch ...
_SHORT = 64  # ... or at most this many tokens

Decode = Callable[[Sequence[Any]], Sequence[Any]]
"""A function that answers texts or requests. Texts with equal functions can be decoded together."""


def characters_of(text: str | seqx.Request) -> int:
    """Return the number of characters of an input."""
    return len(text if isinstance(text, str) else text.input)


def estimated_tokens(text: str | seqx.Request) -> int:
    """Return an estimate of the number of tokens of an input."""
    return 1 + characters_of(text) // _CHARACTERS


class QueueFullError(Exception):
    """An error: too many inputs are waiting."""


class StoppedError(Exception):
    """An error: the batcher accepts no more inputs."""


@dataclass(eq=False)
class Job:
    """The inputs of one request."""

    decode: Decode  # called in the thread of the batcher
    inputs: Sequence[Any]  # texts or requests
    lengths: Sequence[int]  # number of tokens of each text
    future: Future[list[Any]] = field(default_factory=Future)
    turn: int = 0  # the jobs with the lowest numbers are in the next batch
    taken: int = 0  # number of texts that were decoded or are being decoded
    answers: list[Any] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """The number of texts that wait; 0 if the job has failed or was cancelled."""
        return 0 if self.future.done() else len(self.inputs) - self.taken

    def add(self, answer: object) -> None:
        """Add the answer to the next text."""
        self.answers.append(answer)
        if len(self.answers) == len(self.inputs):
            with suppress(InvalidStateError):  # the job was cancelled at the same moment
                self.future.set_result(self.answers)

    def fail(self, error: Exception) -> None:
        """End the job with an error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class Batcher:
    """A queue of inputs, and a thread that decodes them in batches.

    A batch takes one text of each waiting job in turn, so that a long job does not delay short ones. After
    each batch, its jobs with further texts move behind the jobs that arrived meanwhile. So a job with one
    text waits only for the batch that is being decoded, and then for its own batch. To keep that batch short,
    it takes one text of each job if the first job has only one text left, and no text that is much longer
    than the first one.

    If the last batch had several jobs, their clients may soon send their next requests. So the thread waits
    until as many jobs have arrived, but at most a tenth of the time that the last batch took, and at most
    50 ms.

    Args:
        max_batch: the maximum number of texts of a batch. All texts of a batch together have at most
            `_TOKENS * max_batch` tokens, unless there is only one text
        max_waiting: the maximum number of texts that wait
        observe: called after each batch with its number of texts and its duration in seconds
    """

    def __init__(
        self,
        *,
        max_batch: int,
        max_waiting: int,
        observe: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._observe = observe
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._is_stopping = False
        self._turns = itertools.count()
        self._last_jobs, self._last_seconds = 0, 0.0
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of texts that wait."""
        with self._changed:
            return self._count()

    def submit(
        self,
        decode: Decode,
        texts: Sequence[Any],
        *,
        lines: int | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Future[list[Any]]:
        """Add the texts of a request, and return the future of their answers. Cancel it to remove the texts.

        Args:
            decode: answers the texts
            texts: the texts
            lines: the number of texts for which the queue must have room; None: all of `texts`. It is smaller
                if some of `texts` are parts of one line
            lengths: the number of tokens of each text; None: estimate them

        Raises:
            QueueFullError: too many texts are waiting
            StoppedError: the batcher is stopping
        """
        job = Job(decode, texts, lengths or [*map(estimated_tokens, texts)])
        if not texts:
            job.future.set_result([])
            return job.future
        with self._changed:
            if self._is_stopping:
                raise StoppedError
            self._jobs = [job for job in self._jobs if job.waiting]
            if self._count() + (len(texts) if lines is None else lines) > self._max_waiting:
                raise QueueFullError
            job.turn = next(self._turns)
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def stop(self) -> None:
        """Answer all waiting texts, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def _count(self) -> int:
        return sum(job.waiting for job in self._jobs)

    def _run(self) -> None:
        while batch := self._take():
            start = time.perf_counter()
            self._answer(batch)
            self._last_seconds = time.perf_counter() - start
            self._last_jobs = len({id(job) for job in batch})
            with self._changed:
                for job in dict.fromkeys(batch):
                    job.turn = next(self._turns)
            self._observe(len(batch), self._last_seconds)

    def _take(self) -> list[Job]:
        """Wait for jobs, and return the job of each text of the next batch; none if the batcher stops."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._count() or self._is_stopping)
                if self._last_jobs > 1:
                    self._changed.wait_for(
                        lambda: len(self._jobs) >= self._last_jobs or self._is_stopping,
                        timeout=min(_MAX_DELAY, _DELAY * self._last_seconds),
                    )
                if self._count():
                    return self._next_batch()
                if self._is_stopping:
                    return []

    def _next_batch(self) -> list[Job]:
        """Return the job of each text of the next batch. All have the same `decode` as the first job."""
        self._jobs = sorted((job for job in self._jobs if job.waiting), key=lambda job: job.turn)
        first = self._jobs[0]
        is_filled = first.waiting > 1
        longest = max(_SHORT, _LONGER * first.lengths[first.taken])
        same = [job for job in self._jobs if job.decode == first.decode]
        batch: list[Job] = []
        tokens = _TOKENS * self._max_batch
        while same and len(batch) < self._max_batch:
            job = same.pop(0)
            length = job.lengths[job.taken]
            if length > longest and batch.count(job) < len(batch):
                continue
            tokens -= length
            if batch and tokens < 0:
                break
            batch.append(job)
            job.taken += 1
            if job.waiting and is_filled:
                same.append(job)
        self._jobs = [job for job in self._jobs if job.waiting]
        return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        """Decode the next text of each job. A job that occurs n times in the batch gets n answers."""
        texts, decoded = list[Any](), dict[Job, int]()
        for job in batch:
            index = decoded.get(job, len(job.answers))
            texts.append(job.inputs[index])
            decoded[job] = index + 1
        jobs = list(batch)
        while jobs:
            try:
                answers = jobs[0].decode(texts)
            except seqx.InputError as error:  # decode the texts of the other jobs without this one
                refused = jobs[error.index]
                refused.fail(error)
                kept = [(job, text) for job, text in zip(jobs, texts, strict=True) if job is not refused]
                jobs, texts = [job for job, _ in kept], [text for _, text in kept]
            except Exception as error:
                logging.getLogger(__name__).exception("decoding failed")
                for job in jobs:
                    job.fail(error)
                return
            else:
                for job, answer in zip(jobs, answers, strict=True):
                    job.add(answer)
                return
