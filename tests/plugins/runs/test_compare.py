"""`seqx compare` with finished, unfinished and damaged runs, and with other folders."""

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx_runs.comparison import compare_runs, comparison_notes
from seqx_runs.comparison_page import write_page
from seqx_runs.comparison_significance import with_significance
from seqx_runs.comparison_table import Column, format_table
from seqx_runs.difference_lines import difference_lines
from tests.browser import browser
from tests.stories.tiny import TINY, done, refused, tiny

PUBLISHED = "published: {source: 'Smith 2020, table 1', parameters: 40e3, dev: {bleu: 30, perplexity: 4.9}}\n"
QUICK = ("--resamples", "0", "--sentences", "0")
"""Options for tests of other parts of the output. Bootstrap tests and scores of sentences take longest."""


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create two finished runs: `deep` has one more decoder layer than `base`, and lower-cases."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        recipe = tiny(TINY + PUBLISHED)
        done("run", recipe, "--folder", "base")
        changes = ("model.decoder.layers=2", "model.encoder.layers=2", "task.metrics.0={lowercase: true}")
        done("run", recipe, "--folder", "deep", *changes, "training.tokens=200", "published=null")
    return folder


@pytest.fixture(scope="module")
def compared(finished_runs: Path) -> str:
    """Return the output of `seqx compare base deep`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_runs)
        return done("compare", "base", "deep")


@pytest.fixture(autouse=True)
def runs(finished_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of a Markdown table, by the names of its columns."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    header, rule, *rows = cells
    assert all(set(cell) == {"-"} for cell in rule)
    return [dict(zip(header, row, strict=True)) for row in rows]


def rows_of(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done("compare", "--json", *arguments))
    return found


def test_compare_shows_scores_beside_published_scores(compared: str) -> None:
    scores = json.loads(Path("base/model/scores.json").read_text())
    about = json.loads(Path("base/model/model.json").read_text())
    base, deep = table(compared)
    assert base["parameters"] == f"{about['parameters']:,} (40,000)"
    assert base["updates"] == deep["updates"] == "6"
    assert base["dev bleu"] == f"{scores['dev']['bleu']['value']:.2f} (30.00)"
    assert base["test chrf"] == f"{scores['test']['chrf']['value']:.2f}"
    assert base["dev perplexity"].endswith(" (4.9)")
    assert all("(" not in cell for cell in deep.values())
    assert "published, in parentheses: Smith 2020, table 1\n" in compared
    row = rows_of("base")[0]
    assert row["finished"]
    assert row["scores"] == scores
    assert float(base["dev perplexity"].split()[0]) == pytest.approx(row["perplexity"]["dev"], rel=1e-3)
    updates = [json.loads(line) for line in Path("base/metrics.jsonl").read_text().splitlines()]
    updates = [line for line in updates if line["kind"] == "update"]
    speed = sum(line["tokens"] for line in updates) / sum(line["seconds"] for line in updates)
    assert row["tokens_per_second"] == pytest.approx(speed)


def test_compare_lists_differences_from_the_first_run(compared: str) -> None:
    assert compared.partition("deep against base:\n")[2].partition("\n\n")[0].splitlines() == [
        "  model.{decoder,encoder}.layers: 2 (1)",
        "  task.metrics.0.lowercase: true (false)",
        "  training.tokens: 200 (300)",
    ]
    assert "deep against base: no differences" not in compared
    shutil.copytree("base", "again")
    assert done("compare", "base", "again", *QUICK).endswith("\nagain against base: no differences\n")


def test_compare_tests_scores_with_equal_signatures_against_the_first_run(compared: str) -> None:
    base = table(compared)[0]
    assert base["p (test chrf)"] == "-"
    assert "p (test bleu)" not in base  # their signatures differ
    assert "p (test chrf): nrefs:1|bs:1000|seed:12345|case:mixed|" in compared
    row = rows_of("base", "deep", "--resamples", "100")[1]
    (result,) = row["significance"]["test"].values()
    assert 0 < result["p_value"] <= 1
    assert "|bs:100|" in result["signature"]
    texts = [Path(run, "outputs/test.txt").read_text().splitlines() for run in ("base", "deep")]
    for sentence in row["changed_sentences"]:
        assert sentence["outputs"] == [lines[sentence["sentence"] - 1] for lines in texts]
        assert sentence["outputs"][0] != sentence["outputs"][1]
        assert f"\n    deep: {sentence['outputs'][1]}\n" in f"{compared}\n"
    changes = [abs(after - before) for before, after in (each["scores"] for each in row["changed_sentences"])]
    assert 0 < len(changes) <= 3
    assert changes[-1] > 0
    assert changes == sorted(changes, reverse=True)
    assert done("compare", "base", "deep", *QUICK).count("p (") == 0


def test_compare_shows_scores_that_explain_others_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_details(folders: Sequence[Path]) -> list[dict[str, Any]]:
        rows = [dict(row) for row in compare_runs(folders)]
        for row in rows:
            row["scores"]["test"]["chrf"]["is_detail"] = row["scores"]["dev"]["bleu"]["is_detail"] = True
        return rows

    monkeypatch.setattr("seqx_runs.compare_command.compare_runs", with_details)
    main = table(done("compare", "base", "deep", "--html", "page.html"))[0]
    assert "dev bleu" in main  # the recipe has a published one
    assert not {"test chrf", "p (test chrf)"} & main.keys()
    assert {"test chrf", "p (test chrf)"} <= table(done("compare", "base", "deep", "--all"))[0].keys()
    assert "chrf" in rows_of("base", "deep")[1]["significance"]["test"]
    assert "test chrf" not in Path("page.html").read_text()


def test_compare_finds_no_significance_between_equal_outputs() -> None:
    shutil.copytree("base", "again")
    assert table(done("compare", "base", "again"))[1]["p (test bleu)"] == "1.000"


def test_compare_tests_no_outputs_of_changed_test_data_or_unfinished_runs() -> None:
    outputs = Path("deep/outputs/test.txt")
    lines = outputs.read_text().splitlines()
    outputs.write_text("\n".join([*lines[:-1], lines[-1] + " more words"]) + "\n")
    printed = done("compare", "base", "deep")
    assert "p (" not in table(printed)[0]
    note = "deep: not tested against base: deep/outputs/test.txt: chrf of these outputs is "
    assert re.search(rf"{note}\d+\.\d\d, but the run recorded \d", printed)
    outputs.unlink()
    note = "deep/outputs/test.txt: there is no such file; the task of the run writes no outputs, or the file"
    assert note in done("compare", "base", "deep")
    outputs.write_text("\n".join(lines[:-1]) + "\n")
    assert "deep/outputs/test.txt: it has 5 lines, but test has 6 inputs; the corpus " in done(
        "compare", "base", "deep"
    )
    shutil.copytree("base", "half")
    for name in ("outputs/test.txt", "model/scores.json", "identity.json"):
        Path("half", name).unlink()
    printed = done("compare", "half", "base")
    assert (
        "base: not tested against half: the outputs of half are not known (it has no test scores" in printed
    )


def test_compare_writes_a_page_with_curves_and_sentences_of_unfinished_runs_too() -> None:
    interrupt_run("half", last="finished")
    note = "half: not finished, its scores are those of the validation at update 6"
    assert note in done("compare", "base", "deep", "half", "--html", "compare.html")
    page = Path("compare.html").read_text()
    assert note in page
    assert re.findall(r"<h3 dir=\"auto\">(.*)</h3>", page) == ["deep against base", "half against base"]
    for quantity in ("training loss per token", "dev bleu", "dev chrf", "dev perplexity"):
        assert f"<figcaption>{quantity}</figcaption>" in page
    shown = rows_of("base", "deep", "half", "--resamples", "0")[1]["changed_sentences"]
    assert page.count('<div class="sentence">') == len(shown)
    assert not re.search(r"(src|href)=.http", page)
    assert refused("compare", "base", "--html", "missing/x.html") == (
        "missing/x.html: the folder missing does not exist; create it, or choose another --html\n"
    )


def test_compare_writes_latex_and_csv(compared: str) -> None:
    rows = list(csv.DictReader(io.StringIO(done("compare", "base", "deep", "--format", "csv", *QUICK))))
    scores = json.loads(Path("deep/model/scores.json").read_text())
    assert float(rows[1]["test chrf"]) == scores["test"]["chrf"]["value"]
    assert (rows[0]["published dev bleu"], rows[1]["published dev bleu"]) == ("30.0", "")
    assert rows[0]["finished"] == "true"
    printed = done("compare", "base", "deep", "--format", "latex").splitlines()
    end = printed.index(r"\end{tabular}") + 1
    latex, comments = printed[:end], printed[end:]
    notes = compared.split("\n\n")[1].splitlines()
    assert comments == [f"% {note}" for note in notes]
    assert any("case:lc" in line for line in comments)
    assert any("paired bootstrap test" in line for line in comments)
    header, first = latex[3].split(" & "), latex[5].split(" & ")
    assert (*latex[:3], len(latex)) == (
        "% This table needs \\usepackage{booktabs}.",
        f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        "\\toprule",
        9,
    )
    assert (first[0], len(first)) == ("base", len(header))
    assert done("compare", "base", "deep", "--format", "markdown") == "".join(
        f"{line}\n" for line in compared.split("\n\n", maxsplit=1)[0].splitlines()
    )
    assert refused("compare", "base", "--json", "--format", "csv").endswith(
        "exclude each other; remove one of them\n"
    )


def test_latex_table_escapes_special_characters() -> None:
    columns = [Column(name="a_b", values=[1], texts=["50% & <x\\y>"])]
    assert list(format_table(columns, "latex"))[3:6:2] == [
        r"a\_b \\",
        r"50\% \& $<$x\textbackslash{}y$>$ \\",
    ]


def test_latex_table_marks_missing_values_and_comments_out_each_line_of_a_note() -> None:
    columns = [
        Column(name="name", values=["-", "x"], texts=["-", "x"]),
        Column(name="bleu", values=[None, -1.0], texts=["- (30.00)", "-1.00"]),
        Column(name="p", values=[None, None], texts=["-", "equal"]),
    ]
    lines = [*format_table(columns, "latex", ["failed: first\n\nlast"])]
    assert lines[5:7] == [r"- & -- (30.00) & -- \\", r"x & -1.00 & equal \\"]
    assert lines[9:] == ["% failed: first", "%", "% last"]


def test_compare_lists_signatures_once_or_with_their_runs(compared: str) -> None:
    printed = compared.splitlines()
    assert len([line for line in printed if line.startswith("chrf: ")]) == 1
    cased, lower, warning = (line for line in printed if line.startswith("bleu: "))
    assert "chrf" not in warning
    assert "case:mixed" in cased
    assert cased.endswith("(base dev, base test)")
    assert "case:lc" in lower
    assert warning == "bleu: scores with different signatures cannot be compared"


def scored(run: str, **signatures: str) -> dict[str, Any]:
    """Return the data of a run that has an F1 on each split, with these signatures."""
    row = {**dict.fromkeys(("published", "not_tested", "model", "vocabulary")), "run": run, "task": "parsing"}
    scores = {split: {"f1": {"value": 1.0, "signature": each}} for split, each in signatures.items()}
    return {**row, "finished": True, "tokens_per_second": 1, "perplexity": {}, "scores": scores}


def test_compare_ignores_counts_of_answers_in_signatures() -> None:
    one = scored("one", dev="prm:X|valid:299|error:1|tags:a", test="prm:X|valid:300|error:0|tags:a")
    other = scored("other", dev="prm:X|valid:3|error:5|tags:a", test="prm:X|valid:3|error:5|tags:a")
    assert comparison_notes([one]) == comparison_notes([one, other]) == ["f1: prm:X|tags:a"]


def test_compare_compares_signatures_within_a_split() -> None:
    one = scored("one", dev="prm:X|of:3", test="prm:X|of:4")
    lines = ["f1: prm:X|of:3 (one dev)", "f1: prm:X|of:4 (one test)"]
    assert comparison_notes([one]) == lines
    other = scored("other", dev="prm:X|of:4", test="prm:X|of:4")
    assert comparison_notes([one, other])[-1] == "f1: scores with different signatures cannot be compared"


def test_compare_tests_scores_whose_signatures_differ_in_counts() -> None:
    rows = compare_runs([Path("base"), Path("deep")])
    for number, row in enumerate(rows):
        row["scores"]["test"]["chrf"]["signature"] = f"set:a|valid:{number}"
    _, compared = with_significance(rows, resamples=10, sentences=0, trust=False)
    assert [*compared["significance"]["test"]] == ["chrf"]


def test_compare_shows_only_sizes_and_speeds_of_different_tasks() -> None:
    recipe = Path("deep/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("type: translation", "type: text_to_text", 1))
    output = done("compare", "base", "deep", "--html", "page.html")
    note, _, rest = output.partition("\n\n")
    assert note.startswith("the tasks differ (translation: base; text_to_text: deep), so only sizes, speeds")
    assert [*table(rest)[0]] == ["run", "parameters", "updates", "tokens/s", "time"]
    assert "cannot be compared" not in output
    assert rest.endswith("deep against base: no differences\n")
    assert note in Path("page.html").read_text()
    assert not [
        form for form in ("csv", "latex") if "bleu" in done("compare", "base", "deep", "--format", form)
    ]


def test_compare_warns_about_different_vocabularies_and_test_data(compared: str) -> None:
    assert "vocabularies" not in compared
    done("run", tiny(), "task.tokenizer.size=330", "task.corpus.test=5", "--folder", "larger")
    printed = done("compare", "base", "larger")
    assert "the runs have different vocabularies" in printed
    reason = "its test data differ from those of base; do not compare their scores"
    assert f"larger: not tested against base: {reason}\n" in printed
    assert "p (" not in printed


OLD_NAMES = {"max_length": "longest", "keep_checkpoints": "keep", "norm_order": "norm_place"}


def rename_settings(recipe: Path) -> None:
    """Replace names of settings in a stored recipe by those of an earlier version of seqx."""
    text = recipe.read_text()
    for name, old in OLD_NAMES.items():
        assert f" {name}: " in text
        text = text.replace(f" {name}: ", f" {old}: ")
    recipe.write_text(text)


def test_compare_lists_no_differences_for_renamed_settings() -> None:
    shutil.copytree("base", "old")
    rename_settings(Path("old/recipe.yaml"))
    assert "old against base: no differences" in done("compare", "base", "old", *QUICK)
    assert "base against old: no differences" in done("compare", "old", "base", *QUICK)
    training = seqx.Record.read(Path("old")).recipe["training"]
    assert training == seqx.Record.read(Path("base")).recipe["training"]
    assert "keep_checkpoints" in training


def test_record_keeps_old_names_of_a_component_that_is_not_installed() -> None:
    recipe = Path("base/recipe.yaml")
    rename_settings(recipe)
    recipe.write_text(recipe.read_text().replace("    type: transformer\n", "    type: not_installed\n"))
    read = seqx.Record.read(Path("base")).recipe
    assert read["model"]["encoder"]["norm_place"] == "post"
    assert "keep_checkpoints" in read["training"]


def interrupt_run(folder: str, *, last: str) -> None:
    """Copy a run with twice as many updates, without model, and with metrics before the first `last`."""
    shutil.copytree("base", folder)
    shutil.rmtree(f"{folder}/model")
    recipe = Path(folder, "recipe.yaml")
    recipe.write_text(recipe.read_text().replace("steps: 6\n", "steps: 12\n"))
    metrics = Path(folder, "metrics.jsonl")
    head = metrics.read_text().partition('{"kind": "' + last)[0]
    metrics.write_text(head + '{"kind": "upd')


def test_compare_shows_the_progress_of_an_unfinished_run() -> None:
    interrupt_run("half", last="finished")
    row = table(done("compare", "half"))[0]
    assert row["updates"] == "6 of 12"
    assert row["parameters"] != "-"
    assert not any(name.startswith("test") for name in row)
    assert "half: not finished, its scores are those of the validation at update 6\n" in done(
        "compare", "half"
    )
    with Path("half/metrics.jsonl").open("a") as file:
        file.write('\n{"kind": "failed", "error": "UserError", "message": "no room"}\n')
    assert "; it failed (UserError: no room)\n" in done("compare", "half", "base")


def test_compare_notes_why_the_speed_of_a_run_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run was stopped before the first line of metrics, or lacks the callback or its file."""
    interrupt_run("early", last="update")
    recipe = Path("early/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("every: 1\n", "every: 100\n"))
    metrics = Path("early/metrics.jsonl")
    metrics.write_text(metrics.read_text().removesuffix('{"kind": "upd'))
    with metrics.open("a") as file:
        file.write('{"kind": "failed", "error": "Stopped", "message": "SIGTERM"}\n')
    output = done("compare", "early")
    interval = "has recorded no update yet (it records every 100 updates), so its speed is unknown"
    best = r"its best score in validation is \d+\.\d\d, at update [36]; it was stopped by SIGTERM\n"
    assert re.search(f"early: not finished, {best}", output)
    assert f"early: its callback `metrics` {interval}" in output
    assert "has no callback" not in output
    Path("early/metrics.jsonl").unlink()
    assert "early: its `metrics.jsonl` is missing or has no complete line, so its speed" in done(
        "compare", "early"
    )
    recipe.write_text(re.sub(r"- type: metrics\n +every: 100\n", "", recipe.read_text()))
    assert "early: its recipe has no callback `metrics`, so its speed" in done("compare", "early")
    recipe.write_text(re.sub(r"callbacks:\n(- .*\n(  .*\n)*)+", "callbacks: 7\n", recipe.read_text()))
    assert "early: its recipe has no callback `metrics`, so its speed" in done("compare", "early")


def test_compare_shows_a_run_before_its_first_validation() -> None:
    interrupt_run("early", last="evaluation")
    shutil.rmtree("early/checkpoints")
    row = table(done("compare", "early"))[0]
    assert row["updates"] == "3 of 12"
    assert (row["dev bleu"], row["time"]) == ("- (30.00)", "-")
    assert "early: not finished, not scored yet\n" in done("compare", "early")


def test_compare_shows_a_run_without_metrics() -> None:
    Path("base/metrics.jsonl").unlink()
    printed = done("compare", "base", "deep", *QUICK)
    row = table(printed)[0]
    assert (row["updates"], row["tokens/s"], row["dev perplexity"]) == ("6", "-", "- (4.9)")
    assert row["dev bleu"] != "- (30.00)"
    assert printed.count("base: its `metrics.jsonl` is missing or has no complete line") == 1


def test_compare_reads_a_finished_run_without_checkpoints() -> None:
    shutil.rmtree("base/checkpoints")
    assert table(done("compare", "base"))[0]["updates"] == "6"


def test_compare_names_runs_with_equal_names_by_path() -> None:
    shutil.copytree("base", "other/base")
    assert [row["run"] for row in rows_of("base", "other/base", *QUICK)] == ["base", "other/base"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("rm -r base", "base: is not the folder of a run; name one, such as runs/NAME"),
        ("mv base/model base.model && rm -r base && mv base.model base", "base: is the folder of a model; "),
        ("echo 'training: {}' > base/recipe.yaml", "base: cannot be read (KeyError: 'steps'); read it"),
        ("sed -i 's/ steps: 6/ steps: x/' base/recipe.yaml; rm -r base/mod*", "base: cannot be read (steps:"),
        ("sed -i 's/bleu: 30/bleu: x/' base/recipe.yaml", "base: cannot be read (published.dev.bleu: "),
        ("sed -i 's/\"parameters\": /&-/' base/model/model.json", "base/model/model.json: cannot be read (p"),
        ("echo '{\"format\": 99}' > base/environment.json", "base/environment.json: written by a newer seqx"),
    ],
)  # fmt: skip
def test_compare_rejects_other_folders_and_damaged_runs(damage: str, message: str) -> None:
    subprocess.run(["bash", "-ec", damage], check=True)
    output = refused("compare", "base", "deep")
    assert output.startswith(message)
    assert output.count("\n") == 1


def test_compare_names_the_run_of_a_model_and_the_command_for_a_model_without_a_run() -> None:
    assert refused("compare", "base/model", "deep") == (
        "base/model: is the folder of a model; name the folder of its run, base\n"
    )
    shutil.copytree("base/model", "imported")
    message = refused("compare", "deep", "imported")
    command = "seqx evaluate imported"
    assert f"score it with `{command}`, and other models in the same way\n" in message
    assert "bleu " in done(*command.split()[1:])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("model/model.json", '{"steps": [], "parameters": 1}', "steps: "),
        ("model/model.json", '{"steps": [[]], "parameters": 1}', "steps.0: "),
        ("model/model.json", '{"parameters": 1}', "steps: "),
        ("model/model.json", '{"steps": [1], "parameters": 1e400}', "parameters: "),
        ("model/scores.json", "\udcff", "'utf-8' codec"),
        ("model/scores.json", '{"dev": {"bleu": {"value": [], "signature": ""}}}', "dev.bleu.value: "),
        ("model/scores.json", '{"dev": {"bleu": {"signature": ""}}}', "dev.bleu.value: "),
        ("environment.json", f'{{"a": {"[" * 500 + "]" * 500}}}', "it is nested too deep"),
        ("environment.json", "[" * 100_000, "it is nested too deep"),
        ("environment.json", "9" * 5000, "Exceeds the limit"),
    ],
    ids=str,
)
def test_compare_checks_each_file_of_a_run(name: str, text: str, reason: str) -> None:
    Path("base", name).write_bytes(text.encode(errors="surrogateescape"))
    output = refused("compare", "base", "deep")
    assert output.startswith(f"base/{name}: cannot be read ({reason}")
    assert output.count("\n") == 1


@pytest.fixture(scope="module")
def undamaged(finished_runs: Path) -> list[dict[str, Any]]:
    """Return the data of the runs before one is damaged."""
    return rows_of(*(str(finished_runs / name) for name in ("base", "deep")), *QUICK)


LEFT_OUT = "1 damaged line is left out"


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        *(
            (f"sed -i '5i {line}' base/metrics.jsonl", f":5: cannot be read ({reason}); {LEFT_OUT}")
            for line, reason in (
                ("garbage", "it is not JSON"),
                ("[1,2]", "the whole value: Input should be a valid dictionary"),
                ('{"kind": []}', "kind: Input should be a valid string"),
                ('{"kind": "failed", "error": 3}', "error: Input should be a valid string"),
                (
                    '{"kind": "update", "step": "x", "tokens": 1, "seconds": 1}',
                    "step: Input should be a valid integer, unable to parse string as an integer",
                ),
            )
        ),
        (
            "sed -i -e '5i x' -e '9i [3]' -e '12i 7' base/metrics.jsonl",
            ":5: cannot be read (it is not JSON); 3 damaged lines are left out",
        ),
        (
            "head -c 17M /dev/zero >> base/metrics.jsonl",
            f":16: cannot be read (it has more than 16,777,216 bytes); {LEFT_OUT}",
        ),
        (
            "printf 'a\\n\\377\\nb' > base/metrics.jsonl",
            ": is not a file of metrics (2 lines, all damaged); restore the file, or remove it",
        ),
        (
            "rm base/metrics.jsonl; mkdir base/metrics.jsonl",
            ": cannot be read: Is a directory; restore the file, or remove it",
        ),
        (
            "rm base/metrics.jsonl; mkfifo base/metrics.jsonl",
            ": cannot be read: it is not a regular file; restore the file, or remove it",
        ),
        (
            "truncate -s 1T base/metrics.jsonl",
            ": cannot be read: it has 1,099,511,627,776 bytes; the maximum is 4,294,967,296; restore",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_compare_notes_damaged_metrics_and_uses_the_rest(
    undamaged: list[dict[str, Any]], damage: str, note: str
) -> None:
    subprocess.run(["bash", "-ec", damage], check=True)
    printed = done("compare", "base", "deep", *QUICK)
    assert f"\nbase/metrics.jsonl{note}" in printed
    assert printed.count("base/metrics.jsonl") == 1
    assert "missing or" not in printed
    first, second = rows_of("base", "deep", *QUICK)
    assert [row["scores"] for row in (first, second)] == [row["scores"] for row in undamaged]
    if "left out" in note:
        assert first["tokens_per_second"] == undamaged[0]["tokens_per_second"]


def test_compare_ignores_an_incomplete_last_line() -> None:
    before = done("compare", "base")
    with Path("base/metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "upd\xff')
    assert done("compare", "base") == before


def test_difference_lines_group_paths_that_differ_in_one_component() -> None:
    differences = {"a.x.k": (1, 2), "a.y.k": (1, 2), "b.y.k": (1, 2), "a.z.k": (1, 3), "a.w.k": (1, True)}
    assert list(difference_lines({**differences, "c": (0, None), "d": (False, None)})) == [
        "a.{x,y}.k: 2 (1)",
        "b.y.k: 2 (1)",
        "a.z.k: 3 (1)",
        "a.w.k: true (1)",
        "c: null (0)",
        "d: null (false)",
    ]


def test_compare_names_runs_with_only_empty_outputs(compared: str) -> None:
    assert "empty" not in compared
    for split in ("dev", "test"):
        file = Path(f"deep/outputs/{split}.txt")
        file.write_text("\n" * file.read_text().count("\n"))
    note = (
        "deep: all outputs for dev and test are empty, so its dev and test scores are those of a model that"
    )
    assert f"\n{note} answers nothing\n" in done("compare", "base", "deep", *QUICK, "--html", "page.html")
    assert note in Path("page.html").read_text()
    Path("deep/outputs/dev.txt").write_text("word\n")
    assert rows_of("deep", *QUICK)[0]["only_empty_outputs"] == ["test"]


@pytest.mark.slow
def test_comparison_page_with_long_names_fits_a_phone(tmp_path: Path) -> None:
    long = "a_very_long_name_" * 8
    columns = [Column(name=long, values=[long], texts=[long]) for _ in range(9)]
    sentence = {"metric": "bleu", "scores": [1, 2], "sentence": 1, "input": long, "reference": long}
    write_page(
        tmp_path / "page.html",
        title=long,
        columns=columns,
        notes=[long],
        curves={long: [Path("base")], long + "2": [Path("deep")]},
        differences={long: [long]},
        sentences=[{**sentence, "named_outputs": [(long, long)]}],
    )
    with browser(tmp_path) as page:
        page.open((tmp_path / "page.html").as_uri())
        page.wait_for("document.querySelector('footer') && document.readyState == 'complete'")
        for scheme, width in (("light", 360), ("dark", 1200)):
            page.show(width=width, scheme=scheme)
            assert page.value("document.documentElement.scrollWidth") <= width
            page.value("document.querySelectorAll('details').forEach(each => each.open = true)")
        boxes = "[...document.querySelectorAll('.scrolls')].filter(box => box.scrollWidth > box.clientWidth)"
        assert page.value(f"{boxes}.length") > 0
        assert page.value(f"{boxes}.every(box => box.tabIndex == 0)")
