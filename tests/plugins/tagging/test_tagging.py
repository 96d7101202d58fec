"""The task of tagging, its model, its metrics and its corpus."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import seqx
from seqx.inference import Predictor
from seqx.testing.toy import Certain
from seqx_models.input_layers import Projection, StridedConvolution
from seqx_tagging import Conll, SpanF1, TagAccuracy, Tagger, Tagging
from seqx_tagging.command import _ConllSentences
from seqx_transformer import MultiHeadAttention, TransformerEncoder
from tests.letters import Letters, Rows

ENCODER = partial(TransformerEncoder, layers=1, attention=partial(MultiHeadAttention, heads=2), dropout=0.0)
ROWS = [("Anna saw a dog", "B-PER O O O"), ("Bob Dylan sleeps", "B-PER I-PER O")]


def tagging(folder: Path, **settings: Any) -> Tagging:
    corpus = Rows(train=ROWS, dev=ROWS, test=ROWS)
    task = Tagging(corpus=corpus, tokenizer=Letters(), metrics=[SpanF1(), TagAccuracy()], **settings)
    task.learn(folder, lambda *_: None)
    return task


def predictor(task: Tagging, model: seqx.Model) -> Predictor:
    return Predictor(task, model, None, device=torch.device("cpu"))


def test_tagging_target_has_one_tag_per_word(tmp_path: Path) -> None:
    task = tagging(tmp_path)
    example = task.example(("Bob Dylan sleeps", "B-PER I-PER O"), training=True)
    assert isinstance(example, seqx.Example)
    assert example.columns["target"] == [4, 5, 6]
    assert sum(example.columns[seqx.WORDS]) == 3
    assert len(example.columns["source"]) == len("BobDylansleeps") + 1
    loaded = Tagging(corpus=Rows(), tokenizer=Letters(), metrics=[TagAccuracy()])
    loaded.load(tmp_path)
    assert loaded.vocab_sizes["target"] == 7


class Uniterable(list[str]):
    """A list whose items are only read by index."""

    def __iter__(self) -> Any:
        raise AssertionError("all tags are read")


def test_tagging_does_not_read_all_tags_for_each_example(tmp_path: Path) -> None:
    task = tagging(tmp_path)
    task._tags = Uniterable(task._tags)
    row = ("Bob Dylan sleeps", "B-PER NEW O")
    example = task.example(row, training=False)
    assert isinstance(example, seqx.Example)
    assert example.columns["target"] == [4, seqx.UNK, 6]
    sampled = task.encode({"source": row[0], "target": row[1]}, random.Random(0))
    assert sampled["target"] == example.columns["target"]


def test_tagging_refuses_rows_with_other_numbers_of_words_and_tags() -> None:
    corpus = Rows(train=[("one two", "O")])
    task = Tagging(corpus=corpus, tokenizer=Letters(), metrics=[TagAccuracy()])
    with pytest.raises(seqx.UserError, match=r"row 1 of train: 2 words have 1 tags; each word needs one tag"):
        list(task.rows("train"))


def test_tagging_scores_only_one_tag_for_each_word(tmp_path: Path) -> None:
    task = tagging(tmp_path)
    assert isinstance(task.scored_example(("a b", "O B-PER")), seqx.Example)
    with pytest.raises(seqx.UserError, match="2 words have 3 tags; each word needs one tag"):
        task.scored_example(("a b", "O O O"))
    with pytest.raises(seqx.UserError, match="the model has no tag 'XYZ'; correct or remove the line"):
        task.scored_example(("a b", "O XYZ"))


def test_tagging_refuses_words_and_tags_in_one_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="words and tags are the same corpus column, 1; change one"):
        tagging(tmp_path, words=1)


def test_tagging_answers_with_the_tags_of_the_words(tmp_path: Path) -> None:
    task = tagging(tmp_path)
    (nbest,) = predictor(task, Certain(task.vocab_sizes, [4, 5, 6])).hypotheses(["Bob  Dylan sleeps"])
    assert nbest.text == "B-PER I-PER O"
    assert nbest[0].hypothesis.ids == [4, 5, 6]
    assert nbest[0].hypothesis.logprob == pytest.approx(0, abs=1e-6)


def test_long_sentence_is_tagged_in_parts(tmp_path: Path) -> None:
    task = tagging(tmp_path, max_length=9)
    (nbest,) = predictor(task, Certain(task.vocab_sizes, [4, 6])).hypotheses(["ab cd efghij kl"])
    assert nbest.text == "B-PER O B-PER O"


def test_tagger_reads_the_first_subword_of_each_word(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tagger({"source": 20, "target": 7}, d_model=16, encoder=ENCODER).eval()
    ids = torch.tensor([[4, 5, 6, 7, 2], [8, 9, 2, 0, 0]])
    starts = torch.tensor([[1, 0, 1, 1, 0], [1, 0, 0, 0, 0]])
    source = seqx.Column.of(ids, torch.tensor([5, 3]), starts)
    target = seqx.Column.of(torch.full((2, 3), seqx.UNK), torch.tensor([3, 1]))
    outputs = model(seqx.Batch.of(source=source, target=target))
    states = model.encoder(model.embedding(ids), source.layout)
    torch.testing.assert_close(outputs[0], states[0, [0, 2, 3]])
    torch.testing.assert_close(outputs[1, 0], states[1, 0])
    assert not outputs[1, 1:].any()


def test_tagger_learns_tags_of_words() -> None:
    """The tag of a word is its first subword."""
    torch.manual_seed(0)
    model = Tagger({"source": 8, "target": 8}, d_model=16, encoder=ENCODER, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        ids = torch.randint(4, 8, (16, 6))
        source = seqx.Column.of(ids, torch.full((16,), 6), torch.tensor([[1, 0] * 3]).expand(16, -1))
        target = seqx.Column.of(ids[:, ::2], torch.full((16,), 3))
        loss = -model.score(seqx.Batch.of(source=source, target=target)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss < 0.1


def test_tagging_refuses_models_that_do_not_tag(tmp_path: Path) -> None:
    from seqx.inference.loading import model_problem

    problem = model_problem(tagging(tmp_path), Certain({"target": 7}, [4]))
    assert problem is not None
    assert problem.startswith("model: the task needs a Tagger, and this model is not one; choose another")


@pytest.mark.parametrize(
    ("output", "reference", "f1"),
    [
        ("B-PER I-PER O", "B-PER I-PER O", 100.0),
        ("B-PER O O", "B-PER I-PER O", 0.0),
        ("B-PER I-PER B-LOC", "B-PER I-PER O", 100 * 2 / 3),
        ("I-PER I-LOC O", "B-PER B-LOC O", 100.0),
        ("B-LOC I-LOC O", "B-PER I-PER O", 0.0),
        ("B-PER", "B-PER B-LOC", 100 * 2 / 3),
        ("", "B-PER", 0.0),
    ],
)
def test_span_f1_counts_spans_with_label_and_both_ends(output: str, reference: str, f1: float) -> None:
    score = SpanF1()([output], [reference])["span_f1"]
    assert score.value == pytest.approx(f1)


def test_tag_accuracy_counts_words() -> None:
    score = TagAccuracy()(["A B", "A", ""], ["A C", "A B", "C"])["tag_accuracy"]
    assert (score.value, score.signature) == (40, "right:2|of:5")


def test_span_f1_warns_if_no_tag_is_a_span() -> None:
    assert "no spans to count" in SpanF1().warnings(["DT NN"])[0]
    assert not SpanF1().warnings(["O", "B-NP"])


def test_tagger_of_vectors_needs_an_input_layer_that_keeps_the_length() -> None:
    sizes = {"source": seqx.Features(3), "target": 7}
    model = Tagger(sizes, d_model=16, encoder=ENCODER, source_input=Projection).eval()
    source = seqx.Column.of(torch.randn(2, 4, 3), torch.tensor([4, 2]))
    target = seqx.Column.of(torch.full((2, 4), seqx.UNK), torch.tensor([4, 2]))
    outputs = model(seqx.Batch.of(source=source, target=target))
    assert outputs.shape == (2, 4, 16)
    with pytest.raises(ValueError, match=r"source_input: it shortens the source, .* such as projection"):
        Tagger(sizes, d_model=16, encoder=ENCODER, source_input=StridedConvolution)


def test_conll_reads_columns_and_skips_comments(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("-DOCSTART- O\n\n# text\nTime NN B-NP\nflies VBZ O\n\n\nNew York\tNNP\tB-NP\n")
    corpus = Conll(train=str(file))
    assert list(corpus.rows("train")) == [("Time flies", "B-NP O"), ("New_York", "B-NP")]
    assert next(Conll(train=str(file), tags=1).rows("train")) == ("Time flies", "NN VBZ")
    assert corpus.row_location("train", 1) == f"{file}:8"
    file.write_text("Time NN B-NP\nflies\n")
    with pytest.raises(seqx.UserError, match=r"words.txt:2: the line has no column 1 \(tags\): 'flies'"):
        list(Conll(train=str(file), tags=1).rows("train"))


CONLL_2000 = "only # 1.8 billion"
ROWS_2000 = ["only RB B-NP", "# # I-NP", "1.8 CD I-NP", "billion CD I-NP"]


def test_conll_reads_a_word_that_begins_like_a_comment(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    first = [ROWS_2000[1], *ROWS_2000[2:]]  # at the beginning of a sentence
    comments = ["# a sentence of CoNLL 2000", "-DOCSTART- -X- O"]
    sentences = [[*comments, *ROWS_2000], first, [*comments, *first], [ROWS_2000[1]], comments]
    tabs = [[line.replace(" ", "\t") for line in ROWS_2000], ["# one two", "Time\tNN\tO"]]
    file.write_text("\n\n".join("\n".join(lines) for lines in [*sentences, *tabs]))
    corpus = Conll(train=str(file))
    short = ("# 1.8 billion", "I-NP I-NP I-NP")
    full = (CONLL_2000, "B-NP I-NP I-NP I-NP")
    assert list(corpus.rows("train")) == [full, short, short, ("#", "I-NP"), full, ("Time", "O")]
    assert [corpus.row_location("train", row) for row in range(3)] == [f"{file}:{i}" for i in (3, 8, 14)]
    file.write_text("%% x\n# # I-NP\n")
    assert list(Conll(train=str(file), comment="%%").rows("train")) == [("#", "I-NP")]
    assert list(Conll(train=str(file), comment="").rows("train")) == [("%% #", "x I-NP")]


@pytest.mark.parametrize(
    ("comment", "header", "rows"),
    [("# ", "# from CoNLL 2000", ROWS_2000), ("# ", "# x y z", ROWS_2000[1:]), ("%%", "%% x", ROWS_2000)],
)
def test_tag_command_reads_the_words_of_conll_files_as_in_training(
    comment: str, header: str, rows: list[str], tmp_path: Path
) -> None:
    corpus: Any = Conll(comment=comment)
    sentences = _ConllSentences(0)
    sentences.use_task(Tagging(corpus=corpus, tokenizer=Letters(), metrics=[TagAccuracy()]))
    lines = [header, "", "", header, *rows, "", "a DT O", "", header]
    words = [row.split()[0] for row in rows]
    texts = [sentences.parse(text) for text in sentences.group(iter(lines))]
    assert texts == [" ".join(words), "a"]
    answers = [sentences.format(" ".join(words)), sentences.format("DT")]
    tagged = [f"{row} {word}" for row, word in zip(rows, words, strict=True)]
    expected = [header, "", "", header, *tagged, "", "a DT O DT", "", header]
    assert "\n".join([*answers, *sentences.rest]).split("\n") == expected


def test_tag_command_keeps_an_empty_last_column() -> None:
    sentences = _ConllSentences(0)
    (text,) = sentences.group(iter(["The\tDT", "dog\t", "a b "]))
    assert sentences.parse(text) == "The dog a"
    assert sentences.format("X Y Z").split("\n") == ["The\tDT\tX", "dog\t\tY", "a b Z"]


def test_examples_of_mistakes_mark_the_word_and_its_tags() -> None:
    answer = seqx.Answer(input="a big dog", output="DT NN NN", reference="DT JJ NN")
    (group,) = Tagging.mistakes(object.__new__(Tagging), [answer])
    (example,) = group.examples
    texts = {"input": answer.input, "output": answer.output, "reference": answer.reference}
    marked = {side: texts[side][a:b] for side, ((a, b),) in example.marks.items()}
    assert marked == {"input": "big", "output": "NN", "reference": "JJ"}
