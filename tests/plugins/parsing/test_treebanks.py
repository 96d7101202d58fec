"""Treebanks as corpora: real files, imitated releases, and missing files."""

import gzip
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx_parsing import Evalb, NltkTreebank, Parsing, PennTreebank, TopDown, TreebankFiles
from seqx_parsing.treebanks import Treebank
from seqx_text import Files, Mixed, TaggedCorpus
from seqx_text_tasks.labels import Labels

TREE = "( (S (NP-SBJ (NN tree) (CD {})) (VP (-NONE- *))) )\n\n"
SHORT_TREE = "( (S (CD {})) )\n"


def report_nothing(message: str, share: float | None) -> None:
    pass


def rows(corpus: Treebank, split: str) -> list[str]:
    return [tree for (tree,) in corpus.rows(split)]


def fetched(corpus: Treebank) -> Treebank:
    corpus.fetch(Path("nowhere"), report_nothing)
    return corpus


def test_treebank_files_of_real_trees(data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data("craft_treebank")
    monkeypatch.setenv("CRAFT", f"{os.environ['SEQX_DATA']}/craft_treebank")
    corpus = TreebankFiles(
        train=["${CRAFT}/dev.tree.gz", "${SEQX_DATA}/ptb_nltk_sample/dev.mrg.gz"],
        dev=["${SEQX_DATA}/ptb_nltk_sample/dev.mrg.gz"],
        test=["${SEQX_DATA}/mctb/law.gold.txt.gz"],
    )
    fetched(corpus)
    train, dev, test = (rows(corpus, split) for split in seqx.SPLITS)
    assert [len(train), len(dev), len(test)] == [2_780 + 273, 273, 1_000]
    assert all(tree.startswith("(TOP (") for tree in dev)
    assert "".join(dev).count("(-NONE- ") == 445  # nothing is cleaned
    assert not any("\n" in tree for tree in train)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("( (S (N\u200bP (NN tree)\n (CD 1))))", r"'N\\u200bP' is not a valid label"),
        ("( (S (NP (N\u200bN tree))))", r"'N\\u200bN' is not a valid label"),
        (f"( (S ({'N' * 101} (NN tree))))", "'NNNNNNNNNNNNNNNNNNNN' is not a valid label"),
    ],
)
def test_malformed_label_is_reported_with_its_file_and_line(tmp_path: Path, tree: str, expected: str) -> None:
    for name, text in (("a", TREE.format(1) * 2), ("b", f"{TREE.format(1)}\n{tree}\n")):
        (tmp_path / f"{name}.mrg").write_text(text, encoding="utf-8")
    (tmp_path / "c.txt").write_text(TREE.format(1).strip() + "\n" + " ".join(tree.split()) + "\n", "utf-8")
    trees = [str(tmp_path / name) for name in ("a.mrg", "b.mrg")]
    bank = TreebankFiles(train=trees, dev=trees, test=trees)
    rows = Files(train=[str(tmp_path / "c.txt")])
    corpora: list[tuple[seqx.Corpus, str]] = [
        (bank, f"{tmp_path}/b.mrg:4"),
        (Mixed(corpora=[bank]), f"{tmp_path}/b.mrg:4"),
        (Mixed(corpora=[rows, bank]), f"{tmp_path}/c.txt:2"),
        (TaggedCorpus(corpus=rows, tag="x"), f"{tmp_path}/c.txt:2"),
    ]
    for corpus, place in corpora:
        task = Parsing(
            corpus=corpus,
            tokenizer=Labels(),
            linearisation=TopDown(tags=False),
            metrics=[Evalb()],
            tags="given",
        )
        if isinstance(corpus, TaggedCorpus):
            assert corpus.row_location("train", 1) == place
            continue
        with pytest.raises(seqx.UserError, match=expected) as caught:
            task.learn(tmp_path / "learned", report_nothing)
        assert str(caught.value).startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("row", "expected"), [("", "has 0 trees instead"), ("(S (A b)) (S (A b))", "has 2 trees instead")]
)
def test_malformed_row_is_reported_with_its_file_and_line(tmp_path: Path, row: str, expected: str) -> None:
    file = tmp_path / "trees.txt"
    for text, reason in ((row, expected), ("(S (A b)", "the text ends inside the tree")):
        file.write_text(f"(S (A b))\n{text}\n")
        task = Parsing(
            corpus=Files(train=[str(file)]), tokenizer=Labels(), linearisation=TopDown(), metrics=[Evalb()]
        )
        with pytest.raises(seqx.UserError) as caught:
            task.learn(tmp_path / "learned", report_nothing)
        assert str(caught.value).startswith(f"{file}:2: ")
        assert reason in str(caught.value)


def test_treebank_limit_applies_to_training_only(tmp_path: Path) -> None:
    (tmp_path / "a.mrg").write_text("".join(TREE.format(number) for number in range(5)))
    name = str(tmp_path / "a.mrg")
    corpus = fetched(TreebankFiles(train=[name, name], dev=[name], limit=7))
    assert len(rows(corpus, "train")) == 7
    assert len(rows(corpus, "dev")) == 5
    with pytest.raises(
        seqx.UserError, match="the treebank has no trees for the split test; name them in its setting 'test'"
    ):
        rows(corpus, "test")


def test_treebank_reads_only_the_requested_splits(tmp_path: Path) -> None:
    (tmp_path / "a.mrg").write_text(TREE.format(1))
    corpus = TreebankFiles(train=["nothing.mrg"], test=[str(tmp_path / "a.mrg")])
    corpus.fetch(tmp_path, report_nothing, splits=("test",))
    assert len(rows(corpus, "test")) == 1
    with pytest.raises(AssertionError, match="fetch comes first"):
        corpus.identity()
    with pytest.raises(seqx.UserError, match="cannot be read"):
        fetched(corpus)


def test_treebank_identity_depends_on_trees_not_layout(tmp_path: Path) -> None:
    layouts = {
        "a.mrg": TREE.format(1).encode(),
        "b.mrg": b"(TOP\n(S (NP-SBJ\t(NN tree)\n (CD 1)) (VP (-NONE- *))))",
        "c.mrg.gz": gzip.compress(TREE.format(1).encode()),
        "d.mrg": TREE.format(2).encode(),
    }
    found = []
    for name, content in layouts.items():
        (tmp_path / name).write_bytes(content)
        found.append(fetched(TreebankFiles(train=[str(tmp_path / name)])).identity())
    assert found[0] == found[1] == found[2] != found[3]
    limited = fetched(TreebankFiles(train=[str(tmp_path / "a.mrg")], limit=3))
    assert limited.identity() != found[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("(S (NN a))\n(S (NN a", r"/a.mrg:2: the text ends inside the tree"),
        ("\n", r"/a.mrg: contains no trees"),
    ],
)
def test_treebank_files_are_checked_by_fetch(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.mrg").write_text(content)
    with pytest.raises(seqx.UserError, match=message):
        fetched(TreebankFiles(dev=[str(tmp_path / "a.mrg")]))
    with pytest.raises(seqx.UserError, match=r"nothing\.mrg: cannot be read"):
        fetched(TreebankFiles(test=[str(tmp_path / "nothing.mrg")]))
    os.mkfifo(tmp_path / "pipe.mrg")
    with pytest.raises(seqx.UserError, match=r"pipe\.mrg: is not a regular file"):
        fetched(TreebankFiles(test=[str(tmp_path / "pipe.mrg")]))


def release(root: Path, sections: dict[int, int], *, upper: bool = False, tree: str = TREE) -> Path:
    """Create a folder like the LDC's, with a number of trees per section in two files."""
    wsj = root / ("PARSED/MRG/WSJ" if upper else "parsed/mrg/wsj")
    number = 0
    for section, count in sections.items():
        folder = wsj / f"{section:02}"
        folder.mkdir(parents=True)
        for file, share in enumerate((count // 2, count - count // 2), 1):
            name = f"wsj_{section:02}{file:02}.mrg"
            text = "".join(tree.format(number := number + 1) for _ in range(share))
            (folder / (name.upper() if upper else name)).write_text(text)
        (folder / "readme.txt").write_text("no tree")
    return root


USUAL = dict.fromkeys(range(2, 22), 1_992) | {2: 1_984, 22: 1_700, 23: 2_416, 0: 4, 24: 4}


def test_penn_treebank_standard_splits(tmp_path: Path) -> None:
    corpus = fetched(PennTreebank(folder=str(release(tmp_path, USUAL, tree=SHORT_TREE))))
    assert [len(rows(corpus, split)) for split in seqx.SPLITS] == [39_832, 1_700, 2_416]
    trees = rows(corpus, "dev")
    numbers = [int(re.findall("CD (.*?)\\)", tree)[0]) for tree in trees]
    assert numbers == list(range(39_833, 39_833 + 1_700))  # in the order of sections and files
    assert trees[0] == "(TOP (S (CD 39833)))"


@pytest.mark.parametrize("upper", [False, True])
def test_penn_treebank_accepts_any_folder_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, upper: bool
) -> None:
    release(tmp_path, {1: 4, 2: 2, 3: 2}, upper=upper)
    monkeypatch.setenv("LDC", str(tmp_path))
    for place in ("", "/parsed", "/parsed/mrg", "/parsed/mrg/wsj"):
        folder = "${LDC}" + (place.upper() if upper else place)
        corpus = fetched(PennTreebank(folder=folder, train=[3, 1], dev=[2], test=[]))
        assert len(rows(corpus, "train")) == 6
        assert "(CD 7)" in rows(corpus, "train")[0]  # sections come in the order in which they are named


def test_penn_treebank_names_missing_sections(tmp_path: Path) -> None:
    licensed = r"\. The Penn Treebank \(LDC99T42\) is licensed by .* cannot download it\. Set 'folder' to"
    with pytest.raises(seqx.UserError, match=rf"^\${{NO_SUCH}}: .* is not set.*{licensed}"):
        fetched(PennTreebank(folder="${NO_SUCH}"))
    with pytest.raises(seqx.UserError, match=rf"^{tmp_path}/none: is not a folder{licensed}"):
        fetched(PennTreebank(folder=str(tmp_path / "none")))
    with pytest.raises(
        seqx.UserError, match=rf"^{tmp_path}: contains no sections of the Wall Street Journal{licensed}"
    ):
        fetched(PennTreebank(folder=str(tmp_path)))
    release(tmp_path, dict.fromkeys(USUAL, 2))
    shutil.rmtree(tmp_path / "parsed/mrg/wsj/04")
    for file in (tmp_path / "parsed/mrg/wsj/21").glob("*.mrg"):
        file.unlink()
    message = rf"^{tmp_path}/parsed/mrg/wsj: there are no trees of sections 04, 21{licensed}"
    with pytest.raises(seqx.UserError, match=message):
        fetched(PennTreebank(folder=str(tmp_path)))


def test_penn_treebank_checks_the_number_of_trees(tmp_path: Path) -> None:
    release(tmp_path, {22: 1_699, 23: 2})
    message = r"^dev: 2 files \(the last is .*wsj_2202.mrg\) contain 1,699 trees instead of 1,700"
    with pytest.raises(seqx.UserError, match=message):
        fetched(PennTreebank(folder=str(tmp_path), train=[]))


def test_penn_treebank_rejects_a_section_in_two_splits() -> None:
    with pytest.raises(ValueError, match="section 22 is named twice, in train and in dev"):
        PennTreebank(folder="x", train=[21, 22])
    with pytest.raises(ValueError, match="section 1 is named twice, in train and in train"):
        PennTreebank(folder="x", train=[1, 1])


@pytest.fixture
def nltk_data(data: Callable[[str], Path], tmp_path: Path) -> Path:
    """Return an NLTK data folder with the files of the Penn Treebank sample."""
    sample = data("ptb_nltk_sample")
    combined = tmp_path / "nltk_data/corpora/treebank/combined"
    combined.mkdir(parents=True)
    texts = {split: seqx.read_lines(sample / f"{split}.mrg.gz") for split in seqx.SPLITS}
    for row in list(seqx.read_lines(sample / "files.tsv"))[1:]:
        name, split, _, count = row.split("\t")
        text = "".join(f"{next(texts[split])}\n" for _ in range(int(count)))
        (combined / name).write_text(text)
    return tmp_path / "nltk_data"


def test_nltk_sample_splits(
    nltk_data: Path, data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nltk.data.path", ["/nowhere", str(nltk_data)])
    corpus = fetched(NltkTreebank())
    train, dev, test = ([str(data("ptb_nltk_sample") / f"{split}.mrg.gz")] for split in seqx.SPLITS)
    same = fetched(TreebankFiles(train=train, dev=dev, test=test))
    assert rows(corpus, "dev") == rows(same, "dev")
    for split in seqx.SPLITS:  # a hash of the trees
        assert corpus.identity()[split] == same.identity()[split]


SOME: dict[str, Any] = {"train": (1, 3), "dev": (160, 161), "test": (181, 181)}


def test_nltk_sample_is_read_from_its_archive(nltk_data: Path) -> None:
    corpora = nltk_data / "corpora"
    shutil.make_archive(str(corpora / "treebank"), "zip", corpora, "treebank")
    corpus = fetched(NltkTreebank(folder=str(nltk_data), **SOME))
    shutil.rmtree(corpora / "treebank")
    packed = fetched(NltkTreebank(folder=str(nltk_data), **SOME))
    assert packed.identity() == corpus.identity()
    assert rows(packed, "train") == rows(corpus, "train")
    archive = corpora / "treebank.zip"
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(seqx.UserError, match=r"/treebank\.zip: is damaged \(.*\); download it again"):
        fetched(NltkTreebank(folder=str(nltk_data)))


def test_nltk_sample_names_missing_files(
    nltk_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(nltk_data)
    file = nltk_data / "corpora/treebank/combined/wsj_0161.mrg"
    file.unlink()
    with pytest.raises(
        seqx.UserError, match=r"/wsj_0161\.mrg: is missing or damaged \(.*\); download it again"
    ):
        fetched(NltkTreebank(folder=folder, **SOME))
    file.write_text("( (S (NN a)) )")
    with pytest.raises(
        seqx.UserError,
        match=r"^dev: 20 files \(the last is .*/wsj_0179.mrg\) contain \d+ trees instead of 273",
    ):
        fetched(NltkTreebank(folder=folder, train=(1, 2), test=(180, 180)))
    message = (
        "no corpora/treebank in {}; download NLTK's .* `python -m nltk.downloader treebank`, or set NLTK_DATA"
    )
    with pytest.raises(seqx.UserError, match=message.format(f"{tmp_path}/none")):
        fetched(NltkTreebank(folder=str(tmp_path / "none")))
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "none")])
    with pytest.raises(seqx.UserError, match=message.format("any folder of NLTK's data")):
        fetched(NltkTreebank())


def test_nltk_sample_rejects_overlapping_or_descending_ranges() -> None:
    with pytest.raises(ValueError, match="train and dev have files in common"):
        NltkTreebank(train=(1, 160))
    with pytest.raises(ValueError, match="dev: the first file, 170, comes after the last, 160"):
        NltkTreebank(dev=(170, 160))
