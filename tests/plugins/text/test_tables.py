"""The corpora `table`, `datasets` and `tmx`: rows of named columns, and messages about problems."""

import bz2
import gzip
import json
import lzma
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx.data.prepare import prepare
from seqx_text import Datasets, Files, Table, Tmx
from seqx_text.file_corpus import FileCorpus
from tests.core.data.pairs import Pairs

ROWS = [("The cat sleeps.", "Die Katze schläft."), ('A "dog".', "Ein „Hund“."), ("1", "")]
RECORDS: list[dict[str, Any]] = [
    {"id": 7, "t": {"en": "The cat sleeps.", "de": "Die Katze schläft."}},
    {"id": 8, "t": {"en": 'A "dog".', "de": "Ein „Hund“."}},
    {"id": 9, "t": {"en": 1, "de": None}},
]


def ignore_progress(activity: str, fraction: float | None) -> None:
    pass


def rows(corpus: seqx.Corpus, folder: Path, split: str = "train") -> list[Any]:
    corpus.fetch(folder, ignore_progress, [split])
    return list(corpus.rows(split))


def zstd(data: bytes) -> bytes:
    from backports import zstd as module

    return module.compress(data)


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("format_", ["tsv", "csv", "jsonl"])
def test_table_reads_columns_by_name(tmp_path: Path, format_: str, ending: str) -> None:
    quoted = [tuple(f'"{text.replace(chr(34), chr(34) * 2)}"' for text in row) for row in ROWS]
    lines = {
        "tsv": ["id\tde\ten", *(f"x\t{de}\t{en}" for en, de in ROWS)],
        "csv": ["id,de,en", *(f"x,{de},{en}" for en, de in quoted)],
        "jsonl": [json.dumps({"de": de, "id": [], "en": en}) for en, de in ROWS],
    }[format_]
    compress: Mapping[str, Callable[[bytes], bytes]] = {
        "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd,
    }  # fmt: skip
    file = tmp_path / f"a.{format_}{ending}"
    file.write_bytes(compress[ending]("".join(f"{line}\n" for line in lines).encode()))
    corpus = Table(columns=["en", "de"], train=[str(file)])
    assert rows(corpus, tmp_path) == ROWS
    assert (corpus.width, corpus.available) == (2, ["train"])
    assert corpus.row_location("train", 1) == f"{file}:{2 if format_ == 'jsonl' else 3}"
    assert list(Table(columns=["en", "de"], train=[str(file)], limit=1).rows("train")) == ROWS[:1]


def test_location_of_a_csv_row_is_its_first_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('a,b\n"one\ntwo",x\nthree,"y\n\n"\nfour,z\n', encoding="utf-8")
    corpus = Table(columns=["a", "b"], train=[str(file)])
    assert rows(corpus, tmp_path) == [("one two", "x"), ("three", "y "), ("four", "z")]
    assert [corpus.row_location("train", row) for row in range(3)] == [f"{file}:{n}" for n in (2, 4, 7)]


def test_table_without_header_has_numbered_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\tc\nd\te\tf\n")
    corpus = Table(columns=["2", "0"], header=False, train=[str(tmp_path / "a.tsv")])
    assert rows(corpus, tmp_path) == [("c", "a"), ("f", "d")]


def test_csv_text_may_be_as_long_as_a_line(tmp_path: Path) -> None:
    text = "a" * 131_073
    (tmp_path / "a.csv").write_text(f"en,de\n{text},b\n")
    corpus = Table(columns=["en", "de"], train=[str(tmp_path / "a.csv")])
    assert list(corpus.rows("train")) == [(text, "b")]


def test_csv_text_may_have_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('en,de\n"a\nb",c\n')
    corpus = Table(columns=["en", "de"], format="csv", train=[str(tmp_path / "a.txt")])
    assert rows(corpus, tmp_path) == [("a b", "c")]


def test_table_reads_nested_fields_of_json_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    text = [{**record, "t": {**record["t"], "en": str(record["t"]["en"])}} for record in RECORDS]
    pyarrow.parquet.write_table(pa.Table.from_pylist(text), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        corpus = Table(columns=["t.en", "t.de", "id"], train=[str(tmp_path / name)])
        assert rows(corpus, tmp_path) == [(*row, str(i)) for i, row in enumerate(ROWS, 7)]


def test_identity_of_a_table_depends_on_its_rows_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("en\tde\na\tb\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"de": "b", "en": "a"}\n'))
    (tmp_path / "c.tsv").write_text("en\tde\na\tc\n")
    identities = []
    for name in ("a.tsv", "b.jsonl.gz", "c.tsv"):
        corpus = Table(columns=["en", "de"], train=[str(tmp_path / name)])
        corpus.fetch(tmp_path, ignore_progress)
        identities.append(corpus.identity())
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"en\tde\na\n", "a.tsv:2: has 1 columns, but line 1 has 2; correct the line"),
        ("a.tsv", b"en\tfr\na\tb\n", "a.tsv:2: there is no column 'de'; there are: en, fr"),
        ("a.tsv", b"en\tde\n", "a.tsv: has no rows; name a file with text"),
        ("a.tsv", b"en\tde\na\tb\xff\n", "a.tsv:2: byte 4 of the line is not UTF-8"),
        ("a.csv", b'en,de\n"a,b\n', "a.csv:2: is not valid CSV (unexpected end of data); correct the line"),
        ("a.jsonl", b'{"en": "a", "de": "b"}\n{"en"\n', "a.jsonl:2: is not JSON ("),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: is not a JSON object; write an object per line"),
        (
            "a.jsonl",
            b'{"en": "a", "de": {"x": 1}}\n',
            "a.jsonl:1: the column 'de' has a value of type dict; name",
        ),
        ("a.tsv", b"en\tde\ten\na\tb\tc\n", "a.tsv:1: 2 columns are named 'en'; rename one"),
        ("a.csv", b"de,en,de\na,b,c\n", "a.csv:1: 2 columns are named 'de'; rename one"),
        (
            "a.jsonl",
            b'{"en": "a", "en": "c", "de": "b"}\n',
            "a.jsonl:1: is not JSON (the key 'en' occurs twice)",
        ),
        (
            "a.jsonl",
            b'{"en": "a", "de": "\\ud800"}\n',
            "a.jsonl:1: the column 'de' has half of a surrogate pair, which is not text; correct it",
        ),
        ("a.parquet", b"no table", "a.parquet: cannot be read as Parquet ("),
        ("a.text", b"a\tb\n", "a.text: the ending of its name is none of .tsv, .csv, .jsonl"),
        ("a.tmx", b"<tmx><tu>", "a.tmx:1: is not well-formed XML ("),
        (
            "a.tmx",
            b'<tmx><tu><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="fr"><seg>b</seg></tuv></tu></tmx>',
            "a.tmx: no unit has a text in each of en, de; its languages are en, fr; correct columns",
        ),
        ("a.tmx", b"<tmx><body></body></tmx>", "a.tmx: has no rows; name a file with text"),
    ],
)
def test_tables_report_a_problem_in_one_message(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    make: type[Table | Tmx] = Tmx if name.endswith("tmx") else Table
    corpus: FileCorpus = make(columns=["en", "de"], train=[str(file)])
    with pytest.raises(seqx.UserError) as error:
        corpus.fetch(tmp_path, ignore_progress)
    assert str(error.value).startswith(f"{tmp_path}/{message}")
    (problem,) = make(columns=["en", "de"], train=[str(tmp_path / "nothing.tsv")]).setting_errors()
    assert problem[0] == "train.0"
    assert problem[1] == (
        f"{tmp_path}/nothing.tsv: cannot be read (No such file or directory); correct the path in "
        "task.corpus; a relative path begins in the current folder"
    )


def test_table_refuses_several_columns_of_one_name_in_parquet(tmp_path: Path) -> None:
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    columns = [arrow.array([text]) for text in "abcd"]
    table = arrow.Table.from_arrays(columns, names=["en", "de", "en", "id"])
    parquet.write_table(table, tmp_path / "a.parquet")
    corpus = Table(columns=["de", "en"], train=[str(tmp_path / "a.parquet")])
    with pytest.raises(seqx.UserError, match=r"a\.parquet: 2 columns are named 'en'; rename one"):
        rows(corpus, tmp_path)
    assert rows(Table(columns=["de", "id"], train=[str(tmp_path / "a.parquet")]), tmp_path) == [("b", "d")]


def test_nan_in_a_table_is_a_missing_value(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"en": "a", "de": NaN}\n', encoding="utf-8")
    assert rows(Table(columns=["en", "de"], train=[str(tmp_path / "a.jsonl")]), tmp_path) == [("a", "")]


@pytest.mark.parametrize("corpus", ["files", "table", "tmx"])
def test_corpora_refuse_files_that_change_while_they_are_read(corpus: str, tmp_path: Path) -> None:
    content = {
        "files": "a\nb\n",
        "table": "en\na\nb\n",
        "tmx": tmx(*(unit(en=text) for text in "ab")),
    }[corpus]
    file = tmp_path / "a.tsv"
    file.write_text(content)
    made: FileCorpus = Files(train=[str(file)])
    if corpus != "files":
        made = (Table if corpus == "table" else Tmx)(columns=["en"], train=[str(file)])
    shown: list[str] = []
    made.fetch(tmp_path, lambda activity, _: shown.append(activity))
    assert shown == [f"reading train: {file}"]  # all corpora show the same
    assert [row[0] for row in made.rows("train")] == ["a", "b"]
    file.write_text(content.replace("b", "c") + " ")
    with pytest.raises(seqx.UserError, match=r"a\.tsv: changed since it was first read; restore it"):
        list(made.rows("train"))


def tmx(*units: str, head: str = "") -> str:
    body = f'<tmx version="1.4"><body>\n{"".join(units)}</body></tmx>\n'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{body}'


def unit(**segments: str) -> str:
    tuvs = (f'<tuv xml:lang="{lang}"><seg>{text}</seg></tuv>' for lang, text in segments.items())
    return f"<tu>{''.join(tuvs)}</tu>\n"


def test_tmx_yields_the_segments_of_the_languages(tmp_path: Path) -> None:
    text = tmx(
        unit(
            **{"en-US": "A <bpt i='1'>&lt;b></bpt>cat<ept i='1'/> &amp; <hi>dog</hi>", "DE": "Eine\n  Katze"}
        ),
        unit(en="only English"),
        unit(fr="non", de_AT="Ja", en="Yes", en_GB="second"),
        unit(den="no German", en="x"),
        head='<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n',
    )
    (tmp_path / "a.tmx.gz").write_bytes(gzip.compress(text.encode()))
    file = str(tmp_path / "a.tmx.gz")
    corpus = Tmx(columns=["en", "de"], train=[file], dev=[file])
    complete = [("A cat & dog", "Eine Katze"), ("Yes", "Ja")]
    assert rows(corpus, tmp_path, "dev") == complete
    assert corpus.num_rows("dev") == 2
    assert corpus.row_location("dev", 1) == f"{file}, unit 3"
    assert rows(corpus, tmp_path) == [complete[0], ("only English", ""), complete[1], ("x", "")]
    assert (corpus.num_rows("dev"), corpus.num_rows("train")) == (2, 4)
    assert corpus.row_location("train", 1) == f"{file}, unit 2"
    assert corpus.languages == ["en", "de"]


def test_units_without_a_language_or_a_text_are_counted_as_dropped(tmp_path: Path) -> None:
    units = [unit(en="a", de="b"), unit(en="c"), unit(en="d", de=" "), unit(fr="e")]
    file = tmp_path / "a.tmx"
    file.write_text(tmx(*units), encoding="utf-8")
    corpus = Tmx(columns=["en", "de"], train=[str(file)], dev=[str(file)])
    task = Pairs({split: rows(corpus, tmp_path, split) for split in ("train", "dev")})
    assert prepare(task, "train", {}, tmp_path / "prepared").dropped == {"empty": 3}
    assert len(prepare(task, "dev", {}, tmp_path / "prepared")) == 1


def test_development_set_without_complete_units_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.tmx"
    file.write_text(tmx(unit(en="a")), encoding="utf-8")
    corpus = Tmx(columns=["en", "de"], dev=[str(file)])
    with pytest.raises(seqx.UserError, match=r"a\.tmx: no unit has a text in each of en, de; its"):
        rows(corpus, tmp_path, "dev")


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE tmx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n',
        '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n',
        '<!DOCTYPE tmx [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>\n',
    ],
)
def test_tmx_refuses_entities(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.tmx").write_text(tmx(unit(en="&a;"), head=head))
    with pytest.raises(
        seqx.UserError, match=r"a\.tmx:2: declares entities, with which a small file can fill"
    ):
        Tmx(columns=["en"], train=[str(tmp_path / "a.tmx")]).fetch(tmp_path, ignore_progress)


def test_tmx_is_read_as_a_stream(tmp_path: Path) -> None:
    file = tmp_path / "a.tmx"
    file.write_text(tmx(*(unit(en="word " * 100) for _ in range(5_000))))
    corpus = Tmx(columns=["en"], train=[str(file)])
    next(corpus.read([file]))
    tracemalloc.start()
    assert sum(1 for _ in corpus.read([file])) == 5_000
    assert tracemalloc.get_traced_memory()[1] < 2_000_000 < file.stat().st_size
    tracemalloc.stop()


def test_tmx_needs_no_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "a.tmx"
    file.write_text(tmx(*(unit(en="word " * 1_000) for _ in range(3_500))).replace("\n", ""))
    assert file.stat().st_size > 1 << 24
    corpus = Tmx(columns=["en"], train=[str(file)])
    tracemalloc.start()
    assert sum(1 for _ in corpus.read([file])) == 3_500
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("text", ["<tu><tuv><seg>{}", "<tu a='{}", "<!-- {}"])
def test_tmx_limits_what_is_held_in_memory(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.tmx.gz"
    file.write_bytes(gzip.compress(f"<tmx>\n{text.format('a' * (1 << 26))}".encode()))
    tracemalloc.start()
    with pytest.raises(
        seqx.UserError, match=r"a\.tmx\.gz:2: a segment, a tag or a comment has more than 16,777"
    ):
        list(Tmx(columns=["en"], train=[str(file)]).read([file]))
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_tmx_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.tmx"
    for content in (b"<tmx>\n<a>\xff</a></tmx>", b"<tmx>\n<a>\xc3"):
        file.write_bytes(content)
        with pytest.raises(seqx.UserError, match=r"a\.tmx:2: the line is not UTF-8 \(.*\); convert the text"):
            list(Tmx(columns=["en"], train=[str(file)]).read([file]))


@pytest.mark.promise("corpora-of-clients")
@pytest.mark.slow
def test_datasets_loads_local_files_and_saved_datasets(tmp_path: Path) -> None:
    import datasets

    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[:2]))
    corpus = Datasets(
        path="json", data_files={"train": [str(file)]}, columns=["t.en", "t.de"], dev="", test=""
    )
    assert corpus.available == ["train"]
    assert rows(corpus, tmp_path) == ROWS[:2]
    saved = datasets.DatasetDict({"part": datasets.Dataset.from_list(RECORDS[:2])})
    saved.save_to_disk(str(tmp_path / "saved"))
    other = Datasets(path=str(tmp_path / "saved"), columns=["t.en", "t.de"], train="part", dev="", test="")
    assert rows(other, tmp_path) == ROWS[:2]
    assert other.identity() == corpus.identity()
    assert other.row_location("train", 1) == f"{tmp_path / 'saved'} (part):2"
    with pytest.raises(seqx.UserError, match=r"the split 'no' of .*saved cannot be loaded"):
        rows(Datasets(path=str(tmp_path / "saved"), columns=["t"], train="no"), tmp_path)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    for corpus in (
        Datasets(path="json", columns=["en"]),
        Table(columns=["en"], train=[str(tmp_path / "a.parquet")]),
    ):
        with pytest.raises(seqx.UserError, match=r"cannot be imported .* '\.\[datasets\]'"):
            corpus.fetch(tmp_path, ignore_progress)
