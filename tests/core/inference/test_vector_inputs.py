"""A predictor answers inputs that are arrays, not text."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import seqx
from seqx.inference.decoding import longest_source, padded
from seqx_models import EncoderDecoder, StridedConvolution
from seqx_search import Beam, Greedy, Sampling
from seqx_transformer import Learned, MultiHeadAttention, TransformerDecoder, TransformerEncoder
from tests.core.inference.task_without_data import TaskWithoutData

STACK: dict[str, Any] = {"layers": 1, "attention": partial(MultiHeadAttention, heads=2)}


class Signals(TaskWithoutData):
    """A task whose inputs are arrays [T, 3]."""

    input_type: ClassVar[type] = np.ndarray

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        return {"source": seqx.Features(3), "target": 9}

    def read(self, source: Any) -> Mapping[str, seqx.Values]:
        return {"source": source}

    def write(self, ids: Sequence[int], source: Any, labels: Mapping[str, Sequence[int]]) -> str:
        return " ".join(map(str, ids))


def predictor(search: seqx.Search | None = None, **encoder: Any) -> seqx.Predictor:
    torch.manual_seed(3)
    task = Signals()
    model = EncoderDecoder(
        task.vocab_sizes,
        d_model=16,
        source_input=StridedConvolution,
        encoder=partial(TransformerEncoder, **STACK, **encoder),
        decoder=partial(TransformerDecoder, **STACK),
    )
    search = search or Greedy(ratio=0.2, extra=3)
    return seqx.Predictor(task, model, search, device=torch.device("cpu"))


def signals(*lengths: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=(length, 3)) for length in lengths]


def test_arrays_are_answered_alike_alone_and_in_a_batch() -> None:
    predict, inputs = predictor(), signals(12, 30, 1, 17)
    together = predict(inputs)
    assert together == [predict([value])[0] for value in inputs]
    assert all(together)
    assert predict([seqx.Request(input=value) for value in inputs]) == together


def test_answers_to_arrays_have_n_best_lists() -> None:
    (nbest,) = predictor(Beam(size=4, nbest=4, ratio=0.2, extra=3)).hypotheses(signals(9))
    assert len({candidate.text for candidate in nbest}) == len(nbest) == 4


def test_empty_array_has_an_empty_answer() -> None:
    assert predictor()([np.zeros((0, 3)), *signals(4)])[0] == ""


def test_input_of_another_type_is_refused() -> None:
    with pytest.raises(seqx.UserError, match=r"a model answers inputs of type ndarray, not str: 'a text'"):
        predictor()(["a text"])


def test_log_probabilities_of_targets_depend_on_the_array() -> None:
    examples = [
        seqx.Example(columns={"source": value, "target": [4, 5, seqx.EOS]}) for value in signals(8, 5)
    ]
    predict = predictor()
    values = predict.logprobs(examples)
    assert values == pytest.approx([*predict.logprobs(examples[:1]), *predict.logprobs(examples[1:])])
    assert values[0] != values[1]


def test_limit_of_an_encoder_counts_embeddings() -> None:
    predict = predictor(positions=partial(Learned, limit=5))
    assert longest_source(predict.model) == predict.max_length == 20
    assert predict(signals(20))
    with pytest.raises(
        seqx.UserError, match=r"21 tokens, but the model reads at most 20; .*<float64 \[21, 3\]"
    ):
        predict(signals(21))


def test_attention_weights_need_a_source_of_ids() -> None:
    assert predictor().attention(signals(8)[0], [4]) is None


@pytest.mark.parametrize(
    ("rows", "dtype", "shape"),
    [
        ([[1, 2], [3]], torch.int64, (2, 2)),
        ([np.array([1, 2], np.uint8), np.array([3], np.uint8)], torch.int64, (2, 2)),
        ([[0.5, 1.0], [2.0]], torch.float32, (2, 2)),
        ([np.ones((2, 3)), np.ones((1, 3))], torch.float32, (2, 2, 3)),
        ([[[1, 2]], [[3, 4], [5, 6]]], torch.float32, (2, 2, 2)),
    ],
)
def test_padded_rows_are_ids_floats_or_vectors(rows: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values, layout = padded(rows)
    assert (values.dtype, values.shape) == (dtype, shape)
    for i, row in enumerate(rows):
        assert values[i][layout.keep[i]].tolist() == np.asarray(row).tolist()
    assert not values[~layout.keep].any()


def test_vectors_are_answered_by_sampling_alike_alone_and_in_a_batch() -> None:
    predict, inputs = predictor(Sampling(ratio=0.5, extra=3, seed=1)), signals(12, 30, 1)
    assert predict(inputs) == [predict([value])[0] for value in inputs]


@pytest.mark.parametrize("shape", [(5, 4), (5,), (5, 3, 1)])
def test_vectors_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    message = rf"an input has the shape {re.escape(str(list(shape)))}, but the model reads vectors of 3"
    with pytest.raises(seqx.InputError, match=message):
        predictor()([np.zeros(shape)])


class WithoutSource(Signals):
    """A task that reads no source."""

    def read(self, source: Any) -> Mapping[str, seqx.Values]:
        return {}


def test_task_that_reads_no_source_is_named() -> None:
    predict = predictor()
    predict.task = WithoutSource()
    with pytest.raises(seqx.UserError, match=r"test_vector_inputs.py:\d+: `read` must return a column"):
        predict(signals(3))
