"""The task of parsing: from treebank rows to ids and back to trees, on real trees."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx.testing import FixedPredictor
from seqx_parsing import Evalb, InOrder, Parsing, TopDown
from seqx_parsing.running_text import ATTACHED
from seqx_parsing.words import MAX_SUBWORDS, encode_words, split_sentence, untagged_leaves
from seqx_text import SentencePiece
from tests.letters import Letters
from tests.plugins.parsing.treebank import trees


class Trees(seqx.Corpus):
    """A corpus of the trees that are passed to it."""

    def __init__(self, **splits: list[str]) -> None:
        self.splits = splits

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None: ...

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        return ((tree,) for tree in self.splits[split])

    def identity(self) -> Mapping[str, object]:
        return {"trees": str(self.splits)}


def report_nothing(message: str, share: float | None) -> None: ...


def learned(folder: Path, rows: list[str], **settings: Any) -> Parsing:
    """Return a task with the vocabulary of trees, of which the last ten are both dev and test trees."""
    tokenizer = SentencePiece(size=600, model="unigram")
    chosen: dict[str, Any] = {
        "linearisation": TopDown(),
        "metrics": [Evalb()],
        "tokenizer": tokenizer,
    } | settings
    task = Parsing(
        corpus=Trees(train=rows[:-10], dev=rows[-10:], test=rows[-10:]),
        **chosen,
    )
    folder.mkdir(exist_ok=True)
    task.learn(folder, report_nothing)
    task.load(folder)
    return task


@pytest.fixture
def rows(data: Callable[[str], Path]) -> list[str]:
    return [str(tree) for tree in trees(data("ptb_nltk_sample"), 200)]


def scores_of_answers(
    task: Parsing,
    answer: Callable[[seqx.Example, str], str],
    warnings: Sequence[seqx.AnswerWarning] = (),
) -> Mapping[str, seqx.Score]:
    """Return the scores of a model that answers each test sentence from its gold example."""

    examples = (task.example(row, training=False) for row in task.rows("test"))

    def known(text: str) -> str:
        example = next(examples)
        assert isinstance(example, seqx.Example)
        return answer(example, text)

    return task.evaluate(FixedPredictor(known, warnings=lambda: warnings), task.read_split("test")).scores


@pytest.mark.parametrize("linearisation", [TopDown(), TopDown(tags=True), InOrder()], ids=repr)
def test_parsing_example_contains_the_tree(tmp_path: Path, rows: list[str], linearisation: Any) -> None:
    tags: Any = "predicted" if linearisation.tags else "none"
    task = learned(tmp_path, rows, linearisation=linearisation, tags=tags)

    def right(example: seqx.Example, text: str) -> str:
        return task.write(example.columns["target"][:-1], text, {})

    scores = scores_of_answers(task, right)
    assert (scores["f1"].value, scores["valid"].value) == (100, 100)
    assert ("tags:gold" in scores["f1"].signature) == (tags == "none")
    assert "grammar:yes" in scores["f1"].signature


def test_predicted_tags_are_those_of_the_first_subwords(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows, tags="predicted")

    def right(example: seqx.Example, text: str) -> str:
        tags = [
            tag or 4 + i % 7 for i, tag in enumerate(example.columns["tags"])
        ]  # arbitrary tags for subwords that do not begin a word
        return task.write(example.columns["target"][:-1], text, {"tags": tags})

    scores = scores_of_answers(task, right)
    assert (scores["f1"].value, scores["tag_accuracy"].value) == (100, 100)
    assert "tags:predicted" in scores["f1"].signature
    with pytest.raises(seqx.UserError, match="use a model of type tagging"):
        task.write([], task.inputs(task.read_split("test"))[0], {})
    unlikely = {"tags": [seqx.UNK] * len(task.read("No idea")["source"])}
    assert task.write([], "No idea", unlikely) == "(TOP (XX No) (XX idea))"


def test_given_tags_are_read_from_the_input(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows, tags="given")
    assert all("_" in word for word in task.inputs(task.read_split("test"))[0].split())

    def right(example: seqx.Example, text: str) -> str:
        return task.write(example.columns["target"][:-1], text, {})

    scores = scores_of_answers(task, right)
    assert (scores["f1"].value, scores["tag_accuracy"].value) == (100, 100)
    assert "tags:given" in scores["f1"].signature
    assert task.write([], "a_b_NN c_DT", {}) == "(TOP (NN a_b) (DT c))"
    with pytest.raises(seqx.UserError, match=r"lone.* has no part-of-speech tag"):
        task.write([], "a_b_NN lone", {})


@pytest.mark.parametrize("tags", ["none", "given"])
def test_single_answers_are_scored_with_the_tags_of_the_whole_split(
    tmp_path: Path, rows: list[str], tags: Any
) -> None:
    task = learned(tmp_path, rows, tags=tags)
    examples = (task.example(row, training=False) for row in task.rows("test"))

    def right(text: str) -> str:
        example = next(examples)
        assert isinstance(example, seqx.Example)
        return task.write(example.columns["target"][:-1], text, {})

    evaluation = task.evaluate(FixedPredictor(right), task.read_split("test"))
    assert [of_answer["f1"].value for of_answer in task.answer_scores(evaluation.answers)] == [100] * 10
    flat = [replace(each, output=task.write([], each.input, {})) for each in evaluation.answers]
    assert task.significance(flat, evaluation.answers, 100)["f1"].p_value < 0.05
    (table,) = task.report_tables(evaluation.answers)
    assert {row[-1] for row in table.rows} == {100}
    again = task.rescore(evaluation.answers)
    assert again == {name: evaluation.scores[name] for name in again}


def test_malformed_output_is_repaired_and_counted(tmp_path: Path, rows: list[str]) -> None:
    for repair in (True, False):
        task = learned(tmp_path, rows, repair=repair, metrics=[Evalb(), Evalb(strict=True)])
        every = iter(range(10))
        warnings: list[seqx.AnswerWarning] = []

        def half(
            example: seqx.Example,
            text: str,
            task: Parsing = task,
            every: Iterator[int] = every,
            warnings: list[seqx.AnswerWarning] = warnings,
        ) -> str:
            right = example.columns["target"][:-1]
            ids = right if next(every) % 2 else [*right[1:], right[0]]
            warnings.extend(task.answer_warnings(text, [ids]))
            return task.write(ids, text, {})

        scores = scores_of_answers(task, half, warnings)
        assert scores["valid"].value == 50
        assert "repaired:5|outputs:10" in scores["valid"].signature
        if repair:
            assert scores["f1"].value == scores["strict_f1"].value < 100
        else:  # EVALB leaves out sentences without an answer; strict EVALB does not
            assert scores["f1"].value == 100
            assert scores["strict_f1"].value < 80
        action = "they were repaired" if repair else "their answers are empty"
        summed, _ = seqx.sum_warnings([seqx.NBest(warnings=warnings)])
        assert str(summed) == f"5 of 10 outputs were not valid trees over the words; {action}"


def test_parsing_reads_input_as_in_training(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows)
    for row, text in zip(task.rows("test"), task.inputs(task.read_split("test")), strict=True):
        example, read = task.example(row, training=False), task.read(text)
        assert isinstance(example, seqx.Example)
        assert example.columns["source"] == read["source"]
        assert len(read["words"]) == len(read["source"])
        assert (
            sum(read["words"]) == len(text.split()) == sum(tag > seqx.UNK for tag in example.columns["tags"])
        )


def test_parsing_accepts_any_word(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows)
    odd = "a\u00a0b \u200b ( ) 日本語 \ufeff 🙂 \x10\x10 -LRB- 1\\/2 " + "x" * 3000
    words = odd.split(" ")
    assert sum(task.read(odd)["words"]) == len(words)
    tree = task.write([], odd, {})
    assert tree.count("(XX ") == len(words)
    assert "(XX -LRB-) (XX -RRB-)" in tree
    assert task.read("(")["source"] == task.read("-LRB-")["source"]  # one word, two spellings


def test_word_without_subwords_is_read_as_an_unknown_one() -> None:
    subwords = {"a": [7, 8], "\u200b": []}
    assert encode_words(subwords, subwords.__getitem__, seqx.UNK) == ([7, 8, seqx.UNK], [1, 0, 1])


def test_other_segmentations_keep_words_and_tags(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows, sample_segmentation=True)
    example = task.example((rows[0],), training=True)
    assert isinstance(example, seqx.Example)
    drawn = [task.encode(example.text, random.Random(seed)) for seed in range(20)]
    assert len({tuple(columns["source"]) for columns in drawn}) > 10
    for columns in drawn:
        assert columns["target"] == example.columns["target"]
        assert len(columns["source"]) == len(columns["tags"])
        assert [tag for tag in columns["tags"] if tag] == [tag for tag in example.columns["tags"] if tag]
    again = [task.encode(example.text, random.Random(seed)) for seed in range(20)]
    assert again == drawn


def test_long_sentences_are_parsed_in_parts_without_loss(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows)
    text = " ".join(task.inputs(task.read_split("test")))
    pieces = task.split_long_input(text, 30)
    assert " ".join(pieces) == text
    assert max(len(task.read(piece)["source"]) for piece in pieces) <= 30
    assert len(task.read("x" * 100_000)["source"]) == MAX_SUBWORDS + 1  # for a word of any length
    assert sum(piece.endswith((".", ",", ":", "?")) for piece in pieces) > len(pieces) / 2
    whole = task.join([task.write([], piece, {}) for piece in pieces])
    assert whole.startswith("(TOP (XX ")
    assert whole.count("(XX ") == len(text.split())
    assert task.join(["(TOP (S (NN a)))", "(S (NN b))"]) == "(TOP (S (NN a)) (S (NN b)))"
    assert task.join(["(TOP (S (NN a)))", ""]) == ""  # no tree over some of the words


CHAIN = f"(TOP {'(NP ' * 5}(NN rain){')' * 5})"


def odd_treebank(root: str) -> list[str]:
    kinds = ["(S (NP (NN rain)) (VP (VBZ falls)))", "(FRAG (NP (NN rain)))", CHAIN[5:-1]]
    return [f"({root} {tree})" for tree in kinds * 10]


@pytest.mark.parametrize("root", ["ROOT", "S1", "TOP (VROOT"])
def test_dummy_root_of_all_trees_is_treated_as_top(tmp_path: Path, root: str) -> None:
    close = ")" * root.count("(")
    odd = [tree + close for tree in odd_treebank(root)]
    same = learned(tmp_path / "top", odd_treebank("TOP"), tags="none", tokenizer=Letters())
    task = learned(tmp_path / "root", odd, tags="none", tokenizer=Letters())
    assert task.references(task.read_split("dev")) == same.references(same.read_split("dev"))
    for row, other in zip(task.rows("train"), same.rows("train"), strict=True):
        assert task.example(row, training=True) == same.example(other, training=True)
    assert task.vocab_sizes == same.vocab_sizes
    name = root.rpartition("(")[2]
    (message,) = task.training_warnings()
    assert message.startswith(f"{name} is the outermost label of every tree from which the vocabulary was ")
    assert same.training_warnings() == []
    again = learned(tmp_path / "root", odd, tags="none", tokenizer=Letters())  # over the same folder
    assert again.references(again.read_split("dev")) == same.references(same.read_split("dev"))


@pytest.mark.parametrize(("root", "passes"), [("TOP", 1), ("ROOT", 2)])
def test_trees_are_read_again_only_to_remove_a_dummy_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, passes: int
) -> None:
    trees = odd_treebank(root)
    read, cleaned = list[str](), Parsing._cleaned

    def count(self: Parsing, line: str, *, training: bool) -> Any:
        read.append(line)
        return cleaned(self, line, training=training)

    monkeypatch.setattr(Parsing, "_cleaned", count)
    learned(tmp_path / "counted", trees, tags="none", tokenizer=Letters())
    assert read == trees[:-10] * passes
    learned(tmp_path / "top", odd_treebank("TOP"), tags="none", tokenizer=Letters())
    contents = [
        json.loads((tmp_path / name / "symbols.json").read_text("utf-8")) for name in ("counted", "top")
    ]
    assert contents[0].pop("root", "TOP") == root
    assert contents[0] == contents[1]


@pytest.mark.parametrize("root", ["TOP", "ROOT"])
def test_first_tree_with_an_invalid_label_is_named(tmp_path: Path, root: str) -> None:
    trees = odd_treebank(root)
    trees[3] = f"({root} (S (NP (N a)) (V\u200b b)))"
    trees[5] = f"({root} ({'X' * 101} (N a)))"
    with pytest.raises(seqx.UserError, match=r"row 4 of train: .* is not a valid label: .*; correct or remo"):
        learned(tmp_path / "invalid", trees, tags="none", tokenizer=Letters())


def test_dummy_root_of_some_trees_causes_a_warning(tmp_path: Path) -> None:
    task = learned(tmp_path, [*odd_treebank("ROOT"), *odd_treebank("TOP")], tags="none", tokenizer=Letters())
    (message,) = task.training_warnings()
    assert message == (
        "ROOT is the outermost label of some training trees, and is predicted and scored as a "
        "constituent; if it is a dummy root, replace it by TOP"
    )


def test_root_that_is_a_constituent_is_kept(tmp_path: Path) -> None:
    plain = [tree[5:-1] for tree in odd_treebank("TOP") if tree.startswith("(TOP (S")] * 3
    task = learned(tmp_path, plain, tokenizer=Letters())
    assert task.references(task.read_split("dev")) == plain[-10:]
    assert task.training_warnings() == []
    example = task.example((plain[0],), training=True)
    assert isinstance(example, seqx.Example)
    assert example.text["target"].startswith("(S (NP")


def test_training_trees_that_the_grammar_rules_out_are_counted(tmp_path: Path) -> None:
    odd = odd_treebank("TOP")
    task = learned(tmp_path, odd, linearisation=InOrder(), tokenizer=Letters())
    assert task.training_warnings() == [
        "task.linearisation: 6 of 20 trees are ruled out by the grammar; raise unaries from 4 to 5"
    ]
    for settings in ({"constrained": False}, {"linearisation": InOrder(unaries=5)}):
        task = learned(tmp_path, odd, **({"linearisation": InOrder()} | settings), tokenizer=Letters())
        assert task.training_warnings() == []


def test_separators_of_labels_and_tags(tmp_path: Path) -> None:
    odd = ["(TOP (S_x (NP##n=s## (NN##m## a)) (VP-y (VB-z b))))"] * 30
    task = learned(tmp_path, odd, tokenizer=Letters())
    assert task.references(task.read_split("dev"))[0] == "(TOP (S_x (NP (NN a)) (VP (VB-z b))))"
    task = learned(tmp_path, odd, separators=("_",), tag_separators=("-", "##"), tokenizer=Letters())
    assert task.references(task.read_split("dev"))[0] == "(TOP (S (NP##n=s## (NN a)) (VP-y (VB b))))"


@pytest.mark.parametrize(("row", "count"), [("", 0), ("<S ID=1>", 0), ("(S (NN a)) (S (NN b))", 2)])
def test_parsing_rejects_a_row_without_exactly_one_tree(tmp_path: Path, row: str, count: int) -> None:
    with pytest.raises(seqx.UserError, match=f"a row of the corpus has {count} trees instead of one: "):
        learned(tmp_path, [row] * 11, tokenizer=Letters())


def test_parsing_drops_and_rejects_rows(tmp_path: Path, rows: list[str]) -> None:
    task = learned(tmp_path, rows, max_length=20)
    empty = ("( (S (NP (-NONE- *T*))) )",)
    assert task.example(empty, training=True) == seqx.Rejected("empty")
    longest = max(rows, key=len)
    assert task.example((longest,), training=True) == seqx.Rejected("too long")
    assert isinstance(task.example((longest,), training=False), seqx.Example)
    with pytest.raises(seqx.UserError, match=r"task.column is 1, but the corpus has 1 column,"):
        next(with_missing_column(task).rows("dev"))
    with pytest.raises(
        ValueError, match="the linearisation writes part-of-speech tags, so set tags to predicted"
    ):
        learned(tmp_path, rows, linearisation=TopDown(tags=True))
    (tmp_path / "symbols.json").write_text("{}")
    with pytest.raises(seqx.UserError, match=r"symbols.json: cannot be read"):
        task.load(tmp_path)


@pytest.mark.parametrize("odd", ["(S (N\u00a0N dog))", f"(S ({'N' * 101} dog))"])
def test_invalid_labels_are_reported_before_training(tmp_path: Path, rows: list[str], odd: str) -> None:
    with pytest.raises(seqx.UserError, match=r"row 1 of train: 'N.* is not a valid label: use 1 to 100"):
        learned(tmp_path, [odd, *rows], tags="predicted", linearisation=TopDown(tags=True))
    assert not (tmp_path / "symbols.json").exists()


def test_parsing_needs_a_metric() -> None:
    with pytest.raises(ValueError, match="metrics is empty; name at least one"):
        Parsing(corpus=Trees(), tokenizer=SentencePiece(size=400), linearisation=TopDown(), metrics=[])


def with_missing_column(task: Parsing) -> Parsing:
    """Return the same task with a column that does not exist."""
    return Parsing(
        corpus=task.corpus, tokenizer=task.tokenizer, linearisation=TopDown(), metrics=[Evalb()], column=1
    )


@pytest.mark.parametrize(("tags", "tagged"), [("none", False), ("predicted", False), ("given", True)])
def test_long_sentence_is_split_after_punctuation(
    tmp_path: Path, rows: list[str], tags: str, tagged: bool
) -> None:
    linearisation = TopDown(tags=tags == "predicted")
    task = learned(tmp_path, rows, tags=tags, linearisation=linearisation)
    parts = [
        [("the", "DT"), ("dog", "NN"), ("barks", "VBZ"), (mark, mark)] for mark in (";", ",", "!", "--", ":")
    ]
    words = [[f"{word}_{tag}" if tagged else word for word, tag in part] for part in parts]
    lengths = [len(task.read(" ".join(part))["source"]) for part in words]
    text = " ".join(word for part in words for word in part)
    # A part may have two words of the next one, after whose words there is no punctuation.
    assert task.split_long_input(text, max(lengths) + 2) == [" ".join(part) for part in words]


@pytest.mark.parametrize(
    ("text", "attached"),
    [
        ("Stop_VB ,_, he_PRP said_VBD ._.", False),
        ("Stop,_VB he_PRP said_VBD ._.", True),
        ("Stop_VB ,_, he_PRP said._VBD", True),
        ("Stop_VB ,_, he_PRP said_VBD ''_''", False),
    ],
)
def test_attached_punctuation_is_found_in_words_with_given_tags(
    text: str, attached: bool, tmp_path: Path, rows: list[str]
) -> None:
    task = learned(tmp_path, rows, tags="given")
    *_, warning = task.answer_warnings(text, [])
    assert (warning.message, warning.count, warning.total) == (ATTACHED, attached, 1)


def test_split_sentence_reads_little_more_than_the_parts() -> None:
    words, read = ["word", "word", ","] * 5_000, 0

    def fits(part: Sequence[str]) -> bool:
        nonlocal read
        read += len(part)
        return len(part) <= 50

    parts = split_sentence(words, fits, untagged_leaves(words))
    assert [word for part in parts for word in part] == words
    assert {len(part) for part in parts[:-1]} == {48}
    assert read < 10 * len(words)
