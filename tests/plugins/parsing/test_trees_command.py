"""`seqx trees` on real trees: statistics, conversion and drawing."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import seqx
from seqx.cli import main
from seqx_parsing import InOrder
from seqx_parsing.cleaning import clean
from seqx_parsing.reader import read

Call = Callable[..., Result]

TREES = """( (S (NP-SBJ-1 (DT The) (NN cat))
     (VP (VBZ sleeps) (NP (-NONE- *-1))) (. .)) )
( (S (-NONE- *)) )
( (X (NN Results)) (FRAG (NP (NN rain))) )
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that calls `seqx trees` in a temporary folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, text: str | bytes = "") -> Result:
        return CliRunner().invoke(main, ["trees", *map(str, arguments)], input=text)

    return run


def test_trees_stats(call: Call) -> None:
    result = call("stats", text=TREES)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "trees        3, 1 without words\n"
        "words        6; 3.0 per sentence, 4 at most\n"
        "depth        2.0 on average, 2 at most\n"
        "unary chains 2 of 1, 1 of 2\n"
        "labels       5: NP 2, FRAG 1, S 1, VP 1, X 1\n"
        "tags         4: NN 3, . 1, DT 1, VBZ 1\n"
        "top_down: 13 symbols; 3.33 per word, at most 4 per word + 2\n"
        "in_order: 13 symbols; 3.33 per word, at most 4 per word + 2\n"
    )


def test_trees_stats_of_a_treebank(call: Call, data: Callable[[str], Path]) -> None:
    folder = data("ptb_nltk_sample")
    lines = call(
        "stats", *sorted(folder.glob("*.mrg.gz")), "-l", "{type: top_down, tags: true}"
    ).stdout.split("\n")
    assert lines[:4] == [
        "trees        3,914",
        "words        94,084; 24.0 per sentence, 249 at most",
        "depth        9.1 on average, 28 at most",
        "unary chains 13,769 of 1, 261 of 2, 1 of 3",
    ]
    assert lines[4].startswith("labels       27: NP 31,207, VP 14,492, S 9,467, PP 9,323")
    assert lines[5].startswith("tags         45: NN 13,166, IN 9,857")
    assert lines[6:] == [
        "{type: top_down, tags: true}: 99 symbols; 2.56 per word, at most 4 per word",
        "",
    ]


def test_trees_roundtrip_restores_all_trees(call: Call, data: Callable[[str], Path]) -> None:
    result = call("roundtrip", data("ptb_nltk_sample") / "test.mrg.gz")
    assert result.exit_code == 0
    assert result.stdout == (
        "top_down: 245 of 245 trees are unchanged\nin_order: 245 of 245 trees are unchanged\n"
    )


def test_trees_roundtrip_shows_changed_trees(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InOrder, "encode", lambda self, tree: ["XX"] * len(list(tree.leaves())))
    result = call("roundtrip", "-l", "in_order", "--show", "1", text=TREES)
    assert result.exit_code == 1
    assert result.stdout == (
        "in_order: 0 of 2 trees are unchanged\n"
        "  tree     (TOP (S (NP (DT The) (NN cat)) (VP (VBZ sleeps)) (. .)))\n"
        "  symbols  XX XX XX XX\n"
        "  decoded  (TOP (DT The) (NN cat) (VBZ sleeps) (. .))\n"
    )


def test_trees_convert_restores_trees(call: Call, data: Callable[[str], Path]) -> None:
    file = data("ptb_nltk_sample") / "dev.mrg.gz"
    gold = [str(clean(tree)) for tree in read(seqx.read_lines(file), file)]
    for name in ("in_order", "{type: top_down, tags: true}"):
        symbols = call("convert", "--to", name, file).stdout
        assert len(symbols.splitlines()) == 273
        Path("symbols.gz").write_bytes(gzip.compress(symbols.encode()))
        result = call("convert", "--to", name, "--back", "symbols.gz", file)
        assert result.stdout.splitlines() == gold
        assert result.stderr == ""


def test_trees_convert_keeps_line_numbers(call: Call) -> None:
    result = call("convert", "--to", "top_down", text=TREES)
    assert result.stdout == (
        "(S (NP XX XX )NP (VP XX )VP XX )S\n\n(TOP (X XX )X (FRAG (NP XX )NP )FRAG )TOP\n"
    )
    Path("symbols").write_text(result.stdout)
    assert call("convert", "--to", "top_down", "--back", "symbols", text=TREES).stdout == (
        "(TOP (S (NP (DT The) (NN cat)) (VP (VBZ sleeps)) (. .)))\n"
        "\n"
        "(TOP (X (NN Results)) (FRAG (NP (NN rain))))\n"
    )


def test_trees_convert_repairs_lines_over_plain_words(call: Call) -> None:
    Path("symbols").write_text("(S (NP XX )NP (VP XX )VP )S\n(S (NP XX\n")
    result = call(
        "convert", "--to", "top_down", "--back", "symbols", "--words", text="rain falls\n\u00e4  b\u00a0c d"
    )
    assert result.stdout == (
        "(TOP (S (NP (XX rain)) (VP (XX falls))))\n(TOP (S (NP (XX \u00e4)) (XX b\u00a0c) (XX d)))\n"
    )
    assert result.stderr == "1 of 2 lines were malformed and were repaired\n"


@pytest.mark.parametrize(
    ("name", "symbols", "tree"),
    [
        ("top_down", "(S (N(P XX )N(P )S", "(TOP (S (N-LRB-P (XX cat))))"),
        ("in_order", "XX (N)P )N)P", "(TOP (N-RRB-P (XX cat)))"),
        ("{type: top_down, tags: true}", "(S N) )S", "(TOP (S (N-RRB- cat)))"),
        ("{type: in_order, tags: true}", "( (S )S", "(TOP (S (-LRB- cat)))"),
        ("top_down", f"{'(S ' * 300} XX", f"(TOP {'(S ' * 248}(XX cat){')' * 249}"),  # too deep to be read
    ],
)
def test_trees_convert_repairs_symbols_that_no_treebank_has(
    call: Call, name: str, symbols: str, tree: str
) -> None:
    Path("symbols").write_text(symbols)
    result = call("convert", "--to", name, "--back", "symbols", "--words", text="cat")
    assert result.stdout == f"{tree}\n"
    assert result.stderr == "1 of 1 lines were malformed and were repaired\n"


CHAIN = f"( {'(NP ' * 5}(NN a){')' * 5} )"
DEEP = f"( {'(X (NN a) ' * 61}(NN b){')' * 61} )"


def opens(count: int) -> str:
    """Return a tree with this number of opening brackets between two words."""
    return f"( (S (NN a) {'(X ' * count}(NN b) (NN c){' (NN d))' * count}) )"


@pytest.mark.parametrize(
    ("trees", "needed"),
    [
        ([CHAIN], {"in_order": "1 of 1 trees is ruled out by the grammar; raise unaries from 4 to 5"}),
        (
            [CHAIN, DEEP, opens(11), CHAIN.replace("(NN a)", "(NP (NN a))"), TREES],
            {
                "top_down": "2 of 6 trees are ruled out by the grammar; "
                "raise depth from 60 to 61, opens from 10 to 11",
                "in_order": "3 of 6 trees are ruled out by the grammar; "
                "raise depth from 60 to 61, unaries from 4 to 6",
            },
        ),
        ([opens(10)], {}),
    ],
)
def test_trees_that_a_grammar_rules_out_are_counted(
    call: Call, trees: list[str], needed: dict[str, str]
) -> None:
    for command in ("stats", "roundtrip"):
        result = call(command, text="\n".join(trees))
        assert result.exit_code == 0
        found = [line.split(": ", 1) for line in result.stdout.splitlines() if "ruled out" in line]
        assert dict(found) == needed
    raised = ["{type: top_down, opens: 11, depth: 61}", "{type: in_order, unaries: 6, depth: 61}"]
    result = call("stats", "-l", raised[0], "-l", raised[1], text="\n".join(trees))
    assert "ruled out" not in result.stdout


def test_trees_separators_can_be_chosen(call: Call) -> None:
    text = "(TOP (S_x (NP-SBJ##n## (NN##m## a)) (VP+y (VB-z b))))"
    assert call("convert", "--to", "{type: top_down, tags: true}", text=text).stdout == (
        "(S_x (NP NN )NP (VP+y VB-z )VP+y )S_x\n"
    )
    chosen = ["--separators", "_ +", "--tag-separators", "-"]
    assert call("convert", *chosen, "--to", "{type: top_down, tags: true}", text=text).stdout == (
        "(S (NP-SBJ##n## NN##m## )NP-SBJ##n## (VP VB )VP )S\n"
    )
    assert "labels       3: NP-SBJ##n## 1, S 1, VP 1" in call("stats", *chosen, text=text).stdout
    assert "(NN a)" not in call("draw", *chosen, "--cleaned", text=text).stdout
    assert call("roundtrip", *chosen, "--tag-separators", "", text=text).exit_code == 0


def test_trees_stats_names_the_dummy_root(call: Call) -> None:
    result = call("stats", text="(ROOT (S (NN a)))\n(ROOT (FRAG (NN a)))")
    assert "\nroot         ROOT, of every tree; training treats it as TOP\n" in result.stdout
    assert "root" not in call("stats", text=TREES).stdout


def test_trees_draw(call: Call) -> None:
    tree = "( (S (NP-SBJ (DT The) (NN cat)) (VP (VBZ sleeps)) (. .)) ) "
    assert call("draw", text=tree).stdout == (
        "           TOP\n"
        "            │\n"
        "            S\n"
        "      ┌─────┴────┬─────┐\n"
        "    NP-SBJ       VP    │\n"
        " ┌────┴─────┐    │     │\n"
        " DT         NN  VBZ    .\n"
        " │          │    │     │\n"
        "The        cat sleeps  .\n"
        "\n"
    )
    plain = call("draw", "--ascii", "--cleaned", text=tree + TREES).stdout
    assert plain.isascii()
    assert plain.count("TOP") == 3
    assert "SBJ" not in plain
    assert "-NONE-" in call("draw", text=TREES).stdout


MISTAKES: list[tuple[str, str | bytes, str]] = [
    (
        "stats -l in_ordr",
        "",
        """--linearisation in_ordr: no Linearisation is called 'in_ordr'; did you mean 'in_order'?
""",
    ),
    (
        "stats",
        "(S (NN cat)",
        "standard input:1: the text ends inside the tree that begins on line 1; add its closing brackets\n",
    ),
    (
        "draw",
        b"(S (NN cat))\n(S (NN k\xe4se))",
        """standard input:2: byte 9 of the line is not UTF-8 (invalid continuation byte); \
convert the text to UTF-8, for example with iconv
""",
    ),
    ("stats nothing", "", "nothing: cannot be read (No such file or directory)\n"),
    (
        "convert --to in_order --back symbols --words",
        "rain\n",
        "symbols:2: there is no sentence for this line; the file must have one line per sentence\n",
    ),
    (
        "convert --to in_order --back symbols",
        "(S (NN a)) (S (NN a)) (S (NN a))",
        "symbols:3: the line of sentence 3 is missing; the file must have one line per sentence\n",
    ),
]


@pytest.mark.parametrize(("arguments", "text", "message"), MISTAKES)
def test_trees_reports_mistakes(call: Call, arguments: str, text: str | bytes, message: str) -> None:
    Path("symbols").write_text("XX (S )S\nXX (S )S\n")
    result = call(*arguments.split(), text=text)
    assert (result.exit_code, result.stderr) == (2, message)


def test_trees_convert_words_needs_back(call: Call) -> None:
    result = call("convert", "--to", "in_order", "--words")
    assert result.exit_code == 2
    assert "--words needs --back" in result.stderr
