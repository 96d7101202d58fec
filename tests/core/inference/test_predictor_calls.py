"""Counts of the predictor: stack frames, passes of the encoder, reads of the development set."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

import seqx
from seqx.inference import Predictor, evaluate
from seqx_search import Greedy
from tests.core.inference.test_predictor import CPU, Letters, RecordingModel

MAX_FRAMES = 7


class StackRecorder(Greedy):
    """A greedy search that records the stack frames of its call, innermost first."""

    frames: Sequence[inspect.FrameInfo] = ()

    def __call__(self, *arguments: object) -> list[list[seqx.Hypothesis]]:
        object.__setattr__(self, "frames", inspect.stack())
        return super().__call__(*arguments)  # type: ignore[arg-type]


def test_predictor_reaches_the_search_in_seven_frames() -> None:
    search = StackRecorder()
    Predictor(Letters(), RecordingModel(), search, device=CPU)(["abc", "a"])
    names = [frame.frame.f_code.co_qualname for frame in search.frames]
    frames = names[: names.index("Predictor.__call__") + 1]
    assert len(frames) <= MAX_FRAMES, frames


class LabelingModel(RecordingModel):
    """A model that labels each token, and counts how often it encodes a batch."""

    encoded = 0

    def encode(self, source: seqx.Column) -> seqx.State:
        self.encoded += 1
        return super().encode(source)

    def labels(self, memory: seqx.State) -> Mapping[str, Tensor]:
        return {"next": nn.functional.one_hot(self.source + 1, 9).float()}


def test_predictor_encodes_the_source_of_a_labeling_model_once() -> None:
    model = LabelingModel()
    assert model.has_token_labels
    Predictor(Letters(), model, Greedy(), device=CPU)(["abc", "ab"])
    assert model.encoded == 1


class CountingReads(Letters):
    """A task with two rows of text, which counts how often they are read."""

    reads = 0

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        self.reads += 1
        return iter([("abc", "a"), ("b", "c")])

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        return seqx.Example(columns={"source": [4, seqx.EOS], "target": [5, seqx.EOS]})

    def inputs(self, split: seqx.Split) -> list[str]:
        return [text for text, _ in split.rows]

    def evaluate(self, model: seqx.TextModel, split: seqx.Split) -> seqx.Evaluation:
        model(self.inputs(split))
        return seqx.Evaluation(scores={})


def test_evaluation_reads_a_split_once() -> None:
    task = CountingReads()
    evaluation = evaluate(Predictor(task, RecordingModel(), Greedy(), device=CPU), task.read_split("dev"))
    assert evaluation.perplexity is not None
    assert task.reads == 1


def test_predictor_turns_gradients_off() -> None:
    class Model(RecordingModel):
        def encode(self, source: seqx.Column) -> seqx.State:
            assert not torch.is_grad_enabled()
            return super().encode(source)

    Predictor(Letters(), Model(), Greedy(), device=CPU)(["abc"])
