"""Batches of the inputs of several jobs."""

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import pytest

import seqx
from seqx_serve.batching import Batcher, Decode, QueueFullError, StoppedError


def answer(text: str) -> seqx.NBest:
    hypothesis = seqx.Hypothesis(ids=[], score=0.0, logprob=0.0)
    return seqx.NBest([seqx.Candidate(text.upper(), hypothesis)])


class Decoder:
    """Answers in capital letters; the first batch waits until `release` is called."""

    def __init__(self) -> None:
        self.batches: list[tuple[Any, list[str]]] = []
        self._functions: dict[str, Decode] = {}
        self.begun, self.released = threading.Event(), threading.Event()
        self._passed = threading.Semaphore(0)

    def hold(self, number: int) -> None:
        """Let the waiting batch pass, and wait until batch `number` (from 0) has begun and waits."""
        self._passed.release()
        for _ in range(3000):
            if len(self.batches) > number:
                return
            time.sleep(0.01)
        pytest.fail("no batch was begun")

    def __getitem__(self, key: str) -> Decode:
        """Return the function of a key, always the same."""
        return self._functions.setdefault(key, functools.partial(self, key))

    def __call__(self, key: Any, texts: Sequence[str]) -> list[seqx.NBest]:
        self.batches.append((key, [*texts]))
        self.begun.set()
        while not self.released.wait(0.01) and not self._passed.acquire(blocking=False):
            pass
        for index, text in enumerate(texts):
            if text == "refused":
                raise seqx.InputError("the input is refused", index)
            if text == "broken":
                raise ZeroDivisionError
        return [answer(text) for text in texts]


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def batcher(decoder: Decoder) -> Iterator[Batcher]:
    """Return a batcher whose thread decodes the text `first` until the decoder is released."""
    batcher = Batcher(max_batch=4, max_waiting=10)
    batcher.submit(decoder["a"], ["first"])
    assert decoder.begun.wait(30)
    yield batcher
    decoder.released.set()
    batcher.stop()


def texts_of(future: Any) -> list[str]:
    return [nbest.text for nbest in future.result(30)]


def test_batcher_decodes_waiting_jobs_together_and_in_order(batcher: Batcher, decoder: Decoder) -> None:
    futures = [batcher.submit(decoder["a"], [text, text + "!"]) for text in ("x", "y")]
    decoder.released.set()
    assert [texts_of(future) for future in futures] == [["X", "X!"], ["Y", "Y!"]]
    assert decoder.batches[1:] == [("a", ["x", "y", "x!", "y!"])]


def test_batcher_does_not_let_short_jobs_wait_for_long_ones(batcher: Batcher, decoder: Decoder) -> None:
    long = batcher.submit(decoder["a"], [str(number) for number in range(7)])
    other = batcher.submit(decoder["b"], ["z"])
    short = batcher.submit(decoder["a"], ["x"])
    decoder.released.set()
    assert texts_of(long) == [str(number) for number in range(7)]
    assert texts_of(short) == ["X"]
    assert texts_of(other) == ["Z"]
    assert decoder.batches[1:] == [("a", ["0", "x", "1", "2"]), ("b", ["z"]), ("a", ["3", "4", "5", "6"])]


def test_batcher_limits_the_tokens_of_a_batch(batcher: Batcher, decoder: Decoder) -> None:
    texts = [letter * 300 for letter in "UVW"]
    long, short = batcher.submit(decoder["a"], texts), batcher.submit(decoder["a"], ["X", "Y"])
    huge = batcher.submit(decoder["b"], ["Z" * 9_000])
    decoder.released.set()
    assert [texts_of(each) for each in (long, short, huge)] == [texts, ["X", "Y"], ["Z" * 9_000]]
    sizes = [[len(text) for text in batch] for _, batch in decoder.batches[1:]]
    assert sizes == [[300, 1], [9_000], [300, 1], [300]]


def test_short_text_waits_only_for_the_running_batch_of_a_long_job(
    batcher: Batcher, decoder: Decoder
) -> None:
    long = batcher.submit(decoder["a"], ["W" * 400] * 3)
    decoder.hold(1)
    short = batcher.submit(decoder["a"], ["x"])
    decoder.released.set()
    assert texts_of(short) == ["X"]
    assert len(texts_of(long)) == 3
    assert [[len(text) for text in batch] for _, batch in decoder.batches[1:]] == [[400], [1], [400], [400]]


def test_short_text_is_decoded_with_one_text_of_each_other_job(batcher: Batcher, decoder: Decoder) -> None:
    long = batcher.submit(decoder["a"], [str(number) for number in range(9)])
    decoder.hold(1)
    shorts = [batcher.submit(decoder["a"], [text]) for text in "xy"]
    decoder.released.set()
    assert [texts_of(short) for short in shorts] == [["X"], ["Y"]]
    assert texts_of(long) == [str(number) for number in range(9)]
    assert [batch for _, batch in decoder.batches[1:]] == [
        ["0", "1", "2", "3"],
        ["x", "y", "4"],
        ["5", "6", "7", "8"],
    ]


def test_long_job_is_not_delayed_by_a_stream_of_short_ones(batcher: Batcher, decoder: Decoder) -> None:
    long = batcher.submit(decoder["a"], ["W" * 400] * 2)
    for number in range(1, 4):
        decoder.hold(number)
        batcher.submit(decoder["a"], ["x"])
    decoder.released.set()
    assert len(texts_of(long)) == 2
    sizes = [[len(text) for text in batch] for _, batch in decoder.batches[1:]]
    assert sizes[:3] == [[400], [1], [400, 1]]


def test_batcher_forgets_cancelled_jobs(batcher: Batcher, decoder: Decoder) -> None:
    cancelled, kept = batcher.submit(decoder["a"], ["x"] * 5), batcher.submit(decoder["a"], ["y"])
    assert batcher.waiting == 6
    assert cancelled.cancel()
    assert batcher.waiting == 1
    decoder.released.set()
    assert texts_of(kept) == ["Y"]
    assert decoder.batches[1:] == [("a", ["y"])]
    with pytest.raises(CancelledError):
        cancelled.result(30)


def test_batcher_keeps_running_if_all_jobs_are_cancelled(batcher: Batcher, decoder: Decoder) -> None:
    assert batcher.submit(decoder["a"], ["x"]).cancel()
    decoder.released.set()
    time.sleep(0.05)
    assert texts_of(batcher.submit(decoder["a"], ["y"])) == ["Y"]


def test_batcher_refuses_more_texts_than_may_wait(batcher: Batcher, decoder: Decoder) -> None:
    first = batcher.submit(decoder["a"], ["x"] * 9)
    with pytest.raises(QueueFullError):
        batcher.submit(decoder["a"], ["y"] * 2)
    batcher.submit(decoder["a"], ["y"])
    first.cancel()
    batcher.submit(decoder["a"], ["z"] * 9)
    first.cancel()
    batcher.submit(decoder["a"], ["part"] * 99, lines=0)


@pytest.mark.promise("server-answers-are-direct")
def test_batcher_fails_only_the_job_with_a_refused_input(batcher: Batcher, decoder: Decoder) -> None:
    refused, kept = batcher.submit(decoder["a"], ["x", "refused"]), batcher.submit(decoder["a"], ["y", "z"])
    decoder.released.set()
    with pytest.raises(seqx.InputError):
        refused.result(30)
    assert texts_of(kept) == ["Y", "Z"]


def test_batcher_survives_errors_of_the_model(
    batcher: Batcher, decoder: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    broken = batcher.submit(decoder["a"], ["broken"])
    decoder.released.set()
    with pytest.raises(ZeroDivisionError):
        broken.result(30)
    assert "decoding failed" in caplog.text
    assert texts_of(batcher.submit(decoder["a"], ["x"])) == ["X"]


def test_batcher_finishes_accepted_jobs_when_it_stops(batcher: Batcher, decoder: Decoder) -> None:
    futures = [batcher.submit(decoder[key], ["x", "y"]) for key in "abc"]
    decoder.released.set()
    batcher.stop()
    assert all(future.done() for future in futures)
    assert [texts_of(future) for future in futures] == [["X", "Y"]] * 3
    with pytest.raises(StoppedError):
        batcher.submit(decoder["a"], ["z"])


def test_batcher_waits_for_as_many_jobs_as_the_last_batch_had(decoder: Decoder) -> None:
    decoder.released.set()
    batcher = Batcher(max_batch=4, max_waiting=10)
    batcher._last_jobs, batcher._last_seconds = 2, 1e9
    vars(batcher)["_last_seconds"] = 10.0
    first = batcher.submit(decoder["a"], ["x"])
    second = batcher.submit(decoder["a"], ["y"])
    assert texts_of(first) + texts_of(second) == ["X", "Y"]
    batcher.stop()
    assert decoder.batches == [("a", ["x", "y"])]
