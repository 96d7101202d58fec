"""EVALB: its own files byte for byte, its rules one by one, and the additions of seqx."""

import gzip
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

import seqx
from seqx.cli import main
from seqx_parsing import Evalb
from seqx_parsing.evalb.brackets import MalformedError, read_line
from seqx_parsing.evalb.parameters import COLLINS, Parameters, read_parameters
from seqx_parsing.evalb.sentence import SentenceCounts, Status, compare

GOLD = "(TOP (S (NP (DT the) (NN cat)) (VP (VBZ sleeps) (ADVP (RB well))) (. .)))"


def lines(path: Path) -> list[str]:
    return list(seqx.read_lines(path))


def counted(
    gold: str, test: str, parameters: Parameters = COLLINS, *, strict: bool = False
) -> SentenceCounts:
    return compare(read_line(gold, parameters), test, parameters, strict=strict)


@pytest.mark.parametrize(
    ("case", "parameters", "result"),
    [("sample", "sample.prm", "sample.rerun.txt"), ("bug", "new.prm", "bug.rerun-new.txt")],
)
def test_evalb_reproduces_the_test_cases_of_the_original_byte_for_byte(
    data: Callable[[str], Path], case: str, parameters: str, result: str
) -> None:
    folder = data("evalb")
    evalb = Evalb(parameters=str(folder / parameters))
    report = evalb.report(lines(folder / f"{case}.tst"), lines(folder / f"{case}.gld"))
    assert report.encode() == (folder / result).read_bytes()


def test_evalb_reports_the_same_errors_as_the_original(data: Callable[[str], Path]) -> None:
    folder = data("evalb")
    report = Evalb().report(lines(folder / "bug.tst"), lines(folder / "bug.gld"))
    old = [line for line in lines(folder / "bug.rsl-old") if "Length unmatch" not in line]
    assert [line.split() for line in report.splitlines() if line] == [line.split() for line in old if line]


@pytest.mark.parametrize("domain", ["law", "review"])
@pytest.mark.parametrize("system", ["inorder", "inorder_bert"])
def test_evalb_reproduces_real_parser_scores_byte_for_byte(
    data: Callable[[str], Path], domain: str, system: str
) -> None:
    folder = data("mctb")
    gold, output = (lines(folder / f"{domain}.{name}.txt.gz") for name in ("gold", system))
    wanted = gzip.decompress((folder / f"{domain}.{system}.evalb-COLLINS.txt.gz").read_bytes())
    assert Evalb().report(output, gold).encode() == wanted


def test_evalb_command_prints_the_same_table(
    data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [EntryPoint("parsing", "seqx_parsing", "seqx")]
    monkeypatch.setattr("seqx.plugin.loading.entry_points", lambda group: found if group == "seqx" else [])
    folder = data("mctb")
    files = [str(folder / f"review.{name}.txt.gz") for name in ("gold", "inorder_bert")]
    result = CliRunner().invoke(main, ["score", "--metric", "evalb", *files])
    wanted = gzip.decompress((folder / "review.inorder_bert.evalb-COLLINS.txt.gz").read_bytes())
    assert (result.exit_code, result.stdout_bytes) == (0, wanted)
    result = CliRunner().invoke(main, ["score", "--metric", "evalb", "strict=true", "--json", *files])
    f1 = json.loads(result.stdout)["strict_f1"]
    assert f1["value"] == pytest.approx(83.6169, abs=1e-4)  # 83.87 without the one sentence that is an error
    assert f"|mode:strict|len:all|valid:999|error:1|skip:0|version:{seqx.__version__}" in f1["signature"]


def test_evalb_reports_reasons_of_errors(data: Callable[[str], Path]) -> None:
    folder = data("evalb")
    evalb = Evalb(parameters=str(folder / "sample.prm"), errors=True)
    report = evalb.report(lines(folder / "sample.tst"), lines(folder / "sample.gld"))
    assert report.endswith(
        "\n\n-- Errors --\n"
        "  11  skip   no tree\n"
        "  12  error  the word 'was', the reference has 'is'\n"
        "  13  error  5 words to score, the reference has 4\n"
        "  14  skip   no tree\n"
        "  16  error  5 words to score, the reference has 4\n"
        "  17  error  6 words to score, the reference has 4\n"
        "  20  error  the word 'That', the reference has 'this'\n"
    )


def test_evalb_default_parameters_are_collins(data: Callable[[str], Path], tmp_path: Path) -> None:
    read = read_parameters(data("evalb") / "COLLINS.prm")
    assert read == COLLINS
    assert read.signature == COLLINS.signature == "COLLINS"
    new, other = (read_parameters(data("evalb") / name) for name in ("new.prm", "nk.prm"))
    assert new.quotes == ("``", "''", "POS", "NN", "CD", "VBZ", ":")
    assert other == replace(new, max_error=10_000)
    assert re.fullmatch(r"new\.prm:[0-9a-f]{8}", new.signature)
    assert new.signature.partition(":")[2] == other.signature.partition(":")[2]
    (tmp_path / "none.prm").write_text("# nothing\n")
    assert read_parameters(tmp_path / "none.prm").delete == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DELETE_LABLE TOP", "EVALB has no parameter DELETE_LABLE; did you mean DELETE_LABEL?"),
        ("xyz 3", "EVALB has no parameter xyz; known parameters: DEBUG, MAX_ERROR"),
        ("CUTOFF_LEN forty", "CUTOFF_LEN needs a whole number, found forty"),
        ("CUTOFF_LEN -1", "CUTOFF_LEN needs a whole number, found -1"),
        ("LABELED yes", "LABELED needs 0 or 1, found yes"),
        ("DELETE_LABEL", "DELETE_LABEL needs one label, found nothing"),
        ("DELETE_LABEL A B", "DELETE_LABEL needs one label, found A B"),
        ("EQ_LABEL ADVP", "EQ_LABEL needs two labels, found ADVP"),
        ("EQ_WORD a b c", "EQ_WORD needs two words, found a b c"),
    ],
)
def test_evalb_reports_an_invalid_parameter_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.prm"
    path.write_text(f"## mine\n\nDEBUG 0\n{text}\n")
    with pytest.raises(seqx.UserError, match=re.escape(f"{path}:4: {message}")):
        Evalb(parameters=str(path))([GOLD], [GOLD])


def test_evalb_scores_a_perfect_tree() -> None:
    one = counted(GOLD, GOLD)
    assert one.status is Status.VALID
    assert one.complete
    assert sorted(one.gold) == sorted(one.test) == ["ADVP", "NP", "S", "VP"]
    assert (one.length, one.words, one.tags, one.crossing) == (5, 4, 4, 0)


@pytest.mark.parametrize(
    ("test", "matched", "brackets", "crossing", "tags"),
    [
        (GOLD.replace("(NP ", "(NP-SBJ=1 "), 4, 4, 0, 4),  # the function tag and the index are cut
        (GOLD.replace("(RB ", "(RB-X "), 4, 4, 0, 3),  # but not from tags
        (GOLD.replace("(ADVP ", "(PRT "), 4, 4, 0, 4),  # equal labels
        (GOLD.replace("(NP ", "(ADJP "), 3, 4, 0, 4),
        (GOLD.replace("(TOP ", "(ROOT "), 4, 5, 0, 4),  # a label that is not deleted counts
        (f"(X (-NONE- *)) {GOLD}", 4, 4, 0, 4),  # no words, no bracket
        (GOLD.replace("(NP (DT the) (NN cat))", "(NP (NP (NP (DT the) (NN cat))))"), 4, 6, 0, 4),  # multisets
        ("(S (DT the) (X (NN cat) (VBZ sleeps)) (Y (RB well)))", 1, 3, 1, 4),
        ("(S (DT the) (X (NN cat) (X (VBZ sleeps))) (RB well))", 1, 3, 1, 4),
        ("(DT the) (NN cat) (VBZ sleeps) (RB well)", 0, 0, 0, 4),  # no tree around them
        ("( (S (NP (DT the) (NN cat)) (VP (VBZ sleeps) (ADVP (RB well))) (. .)))", 4, 5, 0, 4),
        ("(TOP (S (NP) (NP (DT the) (NN cat)) (VP (VBZ sleeps) (ADVP (RB well)) (NP))))", 4, 4, 0, 4),
    ],
)
def test_evalb_counts_of_single_rules(
    test: str, matched: int, brackets: int, crossing: int, tags: int
) -> None:
    one = counted(GOLD, test)
    assert one.status is Status.VALID, one.reason
    assert (len(one.pairs), len(one.test), one.crossing, one.tags) == (matched, brackets, crossing, tags)
    assert not one.complete or matched == brackets


def test_evalb_matches_equal_labels_in_order() -> None:
    """EVALB does not search for the best assignment: brackets of the reference match in order."""
    gold, test = "(ADVP (PRT (RB up)))", "(PRT (X (RB up)))"
    assert counted(gold, test).pairs == [("ADVP", "PRT")]
    assert counted("(PRT (ADVP (RB up)))", test).pairs == [("PRT", "PRT")]
    chain = replace(COLLINS, equal_labels=(("A", "B"), ("B", "C")))
    assert counted("(A (RB up))", "(C (RB up))", chain).pairs == []  # equality is not transitive
    assert counted("(A (A (RB up)))", "(B (A (RB up)))", chain).pairs == [("A", "B"), ("A", "A")]


def test_evalb_ignores_labels_if_labeled_is_0() -> None:
    test = GOLD.replace("(VP ", "(X ").replace("(NP ", "(Y ")
    assert len(counted(GOLD, test).pairs) == 2
    assert len(counted(GOLD, test, replace(COLLINS, labeled=False)).pairs) == 4


def test_evalb_restores_quotes_only_if_words_differ() -> None:
    new = replace(COLLINS, quotes=("''", "POS"))
    gold = "(S (NP (NP (NNS cats) (POS ')) (NN tail)) (VP (VBZ moves)))"
    test = "(S (NP (NNS cats)) ('' ') (NP (NN tail)) (VP (VBZ moves)))"
    assert counted(gold, test).status is Status.ERROR
    one = counted(gold, test, new)
    assert one.status is Status.VALID
    assert (one.words, one.tags, len(one.pairs)) == (
        4,
        3,
        2,
    )  # S and VP contain the quotation mark in both trees
    assert counted(test, gold, new).tags == 3


@pytest.mark.parametrize(
    "test",
    [
        "(S (NN a)",
        "(S (NN a)))",
        ")",
        "word",
        "(S (NN a) b)",
        "(S (NN a b))",
        "(S (NN a (NN b)))",
        "(S (NN a ))",  # white space beside a bracket
        "( S (NN a))",
        "(S (NP (NN a) (NP b(NN c))))",
        ")" * 100_000,
        "(S " * 100_000 + "(NN a)",
    ],
)
def test_evalb_counts_a_malformed_tree_as_an_error(test: str) -> None:
    one = counted("(S (NN a))", test)
    assert one.status is Status.ERROR
    assert one.reason.startswith("no tree: ")
    assert not one.counted
    assert (one.gold, one.test, one.words) == ((), (), 0)
    with pytest.raises(MalformedError):
        read_line(test, COLLINS)
    with pytest.raises(seqx.UserError, match=r"^references:2: not a tree: "):
        Evalb()([GOLD, GOLD], [GOLD, test])


@pytest.mark.parametrize("test", ["(", "(S (NP)", "(" * 100_000])
def test_evalb_skips_an_open_bracket_without_words(test: str) -> None:
    """EVALB skips a line if it found no word."""
    one = counted("(S (NN a))", test)
    assert (one.status, one.counted) == (Status.SKIP, False)
    assert one.reason.startswith("no tree: ")


@pytest.mark.parametrize("empty", ["(ADVP )", "(NP  )", "(NP\t)", "( )", "(\v\f)", "(-X-=1 )"])
def test_evalb_reads_white_space_in_a_bracket_as_an_empty_word(empty: str) -> None:
    """EVALB reads an empty word, too, and prints "Length unmatch"."""
    test = GOLD.replace("(VBZ sleeps)", f"(VBZ sleeps) {empty}")
    note = "; EVALB reads an empty word where a bracket contains only white space, as in (ADVP )"
    for gold, answer, words in ((GOLD, test, (5, 4)), (test, GOLD, (4, 5))):
        one = counted(gold, answer)
        assert one.status is Status.ERROR
        assert one.reason == f"{words[0]} words to score, the reference has {words[1]}{note}"
    both = counted(test, test)
    assert (both.status, both.words, both.tags, both.length, len(both.pairs)) == (Status.VALID, 5, 5, 6, 4)
    none = counted(GOLD, GOLD.replace("(VBZ sleeps)", "(VBZ sleeps) ()(NP)"))  # an empty constituent
    assert (none.status, len(none.pairs), len(none.test)) == (Status.VALID, 4, 4)


@pytest.mark.parametrize("empty", ["(TOP )", "(. )", "(-NONE-\n)"])
def test_evalb_deletes_an_empty_word_with_a_deleted_tag(empty: str) -> None:
    one = counted(GOLD, GOLD.replace("(VBZ sleeps)", f"(VBZ sleeps) {empty}"))
    assert (one.status, len(one.pairs)) == (Status.VALID, 4)


def test_evalb_table_counts_an_empty_word() -> None:
    gold = "(TOP (S (NP (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))"
    report = Evalb().report([gold.replace("(. .)", "(ADVP ) (. .)")], [gold])
    row = "   1    4    1    0.00   0.00     0      0    0      0      0     0     0.00"
    assert report.splitlines()[3] == row


def as_in_c(text: str) -> tuple[list[str], list[tuple[str, int, int]]] | None:  # noqa: C901  as the C code
    """Read the words and brackets of a line as EVALB's C code does; return None for an error."""
    space, ends = " \t\n\v\f\r", " \t\n\v\f\r()"
    text += "\n)"  # the line's end, and what stops a word
    words: list[str] = []
    found: list[list[str | int]] = []
    stack: list[int] = []
    p, end = 0, len(text) - 1

    def run(start: int) -> int:
        while text[start] not in ends:
            start += 1
        return start

    while p < end:
        if text[p] in space:
            p += 1
        elif text[p] == "(":
            q = run(p + 1)
            label, p = text[p + 1 : q], q
            if text[q] in space:
                while text[q] in space:
                    q += 1
                start, q = q, run(q)
                if text[q] == ")" and q < end:
                    words.append(text[start:q])
                    p = q + 1
                    continue
                if text[q] != "(" and q < end:
                    return None
            stack.append(len(found))
            found.append([label, len(words), -1])
        elif text[p] == ")":
            if not stack:
                return None
            found[stack.pop()][2] = len(words)
            p += 1
        else:
            return None
    return None if stack else (words, [(str(label), int(a), int(b)) for label, a, b in found])


@given(st.text("()ab -\t", max_size=12))
@example("(ADVP )")
@example("(a a)( (a)())")
def test_lines_are_read_as_by_evalbs_code(text: str) -> None:
    expected = as_in_c(text)
    try:
        line = read_line(text, Parameters(delete=(), delete_for_length=()))
    except MalformedError:
        assert expected is None
        return
    assert (
        [leaf.word for leaf in line.words],
        list(zip(line.labels, line.starts, line.ends, strict=True)),
    ) == (expected)


def test_evalb_reads_deeply_nested_brackets() -> None:
    deep = "(S " * 50_000 + "(NN a)" + ")" * 50_000
    one = counted("(S (NN a))", deep)
    assert (len(one.pairs), len(one.test)) == (1, 50_000)


def test_evalb_needs_one_output_per_reference() -> None:
    with pytest.raises(seqx.UserError, match="there are 2 references and 1 outputs; write one line"):
        Evalb()([GOLD], [GOLD, GOLD])


OTHER = "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ sleeps))))"  # not the words of GOLD
BROKEN = "(TOP (S (NP (DT the"
DOTS = "(TOP (X (. .)))"  # nothing to score
OUTPUTS = [GOLD, OTHER, BROKEN, "", DOTS]
REFERENCES = [GOLD, GOLD, GOLD, GOLD, DOTS]


def test_evalb_does_not_count_errors_and_skipped_sentences() -> None:
    scores = Evalb()(OUTPUTS, REFERENCES)
    assert {name: score.value for name, score in scores.items()} == {
        "f1": 100.0,
        "recall": 100.0,
        "precision": 100.0,
        "complete_match": 100.0,
        "tag_accuracy": 100.0,
        "f1_len40": 100.0,
    }
    assert {score.signature for score in scores.values()} == {
        f"prm:COLLINS|mode:evalb|len:{length}|valid:1|error:2|skip:2|version:{seqx.__version__}"
        for length in ("all", "<=40")
    }
    note = "without 4 of 5 sentences (2 errors, 2 skipped)"
    assert {name: score.note for name, score in scores.items() if score.note} == {"f1": note}
    warning = f"the scores are computed {note}; errors=true lists the reasons, strict=true counts them"
    assert Evalb().warnings(REFERENCES, OUTPUTS) == [warning]
    assert Evalb().warnings(REFERENCES[:1], OUTPUTS[:1]) == Evalb().warnings(REFERENCES) == []
    assert not Evalb()(OUTPUTS[:1], REFERENCES[:1])["f1"].note
    assert Evalb()([BROKEN], [GOLD])["f1"].note == "without 1 of 1 sentences (1 error, 0 skipped)"
    assert Evalb()([""], [GOLD])["f1"].note == "without 1 of 1 sentences (0 errors, 1 skipped)"


def test_strict_evalb_counts_errors_and_skipped_sentences() -> None:
    scores = Evalb(strict=True)(OUTPUTS, REFERENCES)
    recall, precision = (
        4 / 16,
        4 / 7,
    )  # the three brackets of OTHER count; BROKEN and the empty line have none
    assert {name: pytest.approx(score.value) for name, score in scores.items()} == {
        "strict_f1": 200 * recall * precision / (recall + precision),
        "strict_recall": 100 * recall,
        "strict_precision": 100 * precision,
        "strict_complete_match": 25.0,  # one of four sentences: DOTS has nothing to score
        "strict_tag_accuracy": 25.0,
        "strict_f1_len40": 200 * recall * precision / (recall + precision),
    }
    assert "|mode:strict|len:all|valid:1|error:2|skip:2|" in scores["strict_f1"].signature
    assert not any(score.note for score in scores.values())
    assert Evalb(strict=True).warnings(REFERENCES, OUTPUTS) == []
    rows = Evalb(strict=True).report(OUTPUTS, REFERENCES).splitlines()[3:8]
    assert [row.split()[2:8] for row in rows] == [
        ["0", "100.00", "100.00", "4", "4", "4"],
        ["1", "0.00", "0.00", "0", "4", "3"],
        ["1", "0.00", "0.00", "0", "4", "0"],
        ["2", "0.00", "0.00", "0", "4", "0"],
        ["2", "0.00", "0.00", "0", "0", "0"],
    ]


def test_strict_and_plain_evalb_have_different_score_names() -> None:
    assert not Evalb()([GOLD], [GOLD]).keys() & Evalb(strict=True)([GOLD], [GOLD]).keys()


def test_evalb_without_matches_is_zero() -> None:
    assert Evalb()([""], [GOLD])["f1"].value == 0.0
    assert Evalb()(["(X (DT the) (NN cat) (VBZ sleeps) (RB well))"], [GOLD])["f1"].value == 0.0
    assert Evalb(errors=True).report([], []).endswith("\n-- Errors --\nnone\n")


def test_evalb_reports_f1_of_short_sentences(tmp_path: Path) -> None:
    (tmp_path / "short.prm").write_text("CUTOFF_LEN 3\nDELETE_LABEL TOP\nDELETE_LABEL .\n")
    short = "(TOP (S (NN a) (NN b)))"
    evalb = Evalb(parameters=str(tmp_path / "short.prm"))
    scores = evalb([short, GOLD.replace("(NP ", "(X ")], [short, GOLD])
    assert scores["f1"].value == 80.0
    assert scores["f1_len3"].value == 100.0
    assert re.match(r"prm:short\.prm:\w{8}\|mode:evalb\|len:<=3\|valid:1\|", scores["f1_len3"].signature)
    assert "\n-- len<=3 --\nNumber of sentence        =      1\n" in evalb.report(
        [short, GOLD], [short, GOLD]
    )


def test_evalb_label_table() -> None:
    test = GOLD.replace("(ADVP ", "(PRT ").replace("(NP ", "(X ")
    report = Evalb(labels=True).report([test, GOLD], [GOLD, GOLD])
    assert report.partition("-- Labels --\n")[2] == (
        "Label     Recall   Prec.      F1      gold    found     test  correct\n"
        "=====================================================================\n"
        "ADVP      100.00  100.00  100.00         2        2        1        1\n"
        "NP         50.00  100.00   66.67         2        1        1        1\n"
        "S         100.00  100.00  100.00         2        2        2        2\n"
        "VP        100.00  100.00  100.00         2        2        2        2\n"
        "PRT         0.00  100.00    0.00         0        0        1        1\n"
        "X           0.00    0.00    0.00         0        0        1        0\n"
    )


def test_evalb_report_notes_more_errors_than_the_maximum() -> None:
    report = Evalb(errors=True).report([OTHER] * 11, [GOLD] * 11)
    assert "Number of Error sentence  =     11\n" in report
    assert report.endswith(
        "\nThere are more errors than 10 (MAX_ERROR); EVALB would stop without a summary.\n"
    )


def test_evalb_report_notes_unlabelled_brackets() -> None:
    bare = GOLD.replace("(TOP ", "( ")
    report = Evalb(errors=True, labels=True).report([bare], [bare])
    assert "\n2 brackets without a label are counted, as in EVALB; did you mean (TOP ...)?\n" in report
    assert "\n(none)    100.00  100.00  100.00         1        1        1        1\n" in report


def grown(rng: random.Random, leaves: list[str]) -> str:
    """Return a random tree over some words."""
    if len(leaves) == 1 and rng.random() < 0.7:
        return leaves[0]
    cut = sorted(rng.sample(range(1, len(leaves)), min(len(leaves) - 1, rng.randint(0, 2))))
    parts = [leaves[a:b] for a, b in zip([0, *cut], [*cut, len(leaves)], strict=True)]
    label = rng.choice(["ADVP", "PRT", "NP", "NP-SBJ", "TOP"])
    return f"({label} {' '.join(grown(rng, part) for part in parts)})"


def spans(text: str, deleted: set[str]) -> list[tuple[int, int, str]]:
    """Return the brackets that count, in the order of opening, found character by character."""
    found: list[list[int | str]] = []
    stack: list[int] = []
    words = 0
    for match in re.finditer(r"\((\S+) (?:(\w+)\))?|\)", text):
        label, word = match[1], match[2]
        if word:
            words += label not in deleted
        elif label:
            stack.append(len(found))
            found.append([words, words, label.split("-")[0]])
        else:
            found[stack.pop()][1] = words
    return [(int(a), int(b), str(label)) for a, b, label in found if a != b and label not in deleted]


def test_evalb_matches_its_definition_on_random_trees() -> None:
    rng = random.Random(1)
    for _ in range(500):
        tags = rng.choices(["NN", "RB", "."], k=rng.randint(1, 12))
        leaves = [f"({tag} w{number})" for number, tag in enumerate(tags)]
        gold, test = grown(rng, leaves), grown(rng, leaves)
        right, found = spans(gold, {"TOP", "."}), spans(test, {"TOP", "."})
        used: set[int] = set()
        for a, b, label in right:
            for place, (c, d, other) in enumerate(found):
                same = label == other or {label, other} == {"ADVP", "PRT"}
                if place not in used and (a, b) == (c, d) and same:
                    used.add(place)
                    break
        crossing = sum(any(a < c < b < d or c < a < d < b for a, b, _ in right) for c, d, _ in found)
        one = counted(gold, test)
        if set(tags) == {"."}:
            assert one.status is Status.SKIP
            continue
        assert (len(one.gold), len(one.test)) == (len(right), len(found))
        assert (len(one.pairs), one.crossing) == (len(used), crossing)


def test_evalb_bounds_the_work_on_thousands_of_quotes() -> None:
    quoting = replace(COLLINS, delete=("''", "TOP"), quotes=("''", "POS"))
    gold, answer = "(POS ') " * 6000, "('' ') " * 6000
    assert counted(f"(S {gold})", f"(S (NN a) {answer})", quoting).status is Status.ERROR
