"""`seqx evaluate` and `seqx average` with a run of a few updates."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file

import seqx
from seqx.cli import main
from seqx.storage.checkpoints import Checkpoints
from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import Manifest
from seqx.storage.weights import average
from tests.models import RECIPE

TRAINING = """\
training:
  steps: 6
  tokens: 300
  save_every: 2
  average: 2
  keep_checkpoints: 3
  objective: {type: cross_entropy}
  optimizer: {type: adam}
  schedule: {type: constant, rate: 1e-3}
"""


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(RECIPE + TRAINING, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(folder / "cache"))
        result = call("run", folder / "tiny.yaml", "--folder", folder / "run", "--device", "cpu")
        assert result.exit_code == 0, result.output
        yield folder / "run"


def test_evaluate_prints_the_scores_of_the_run(run: Path) -> None:
    expected = json.loads((run / "model" / "scores.json").read_text("utf-8"))
    for split in ("test", "dev"):
        scores = json.loads(call("evaluate", run, "--split", split, "--json").stdout)
        assert scores.keys() == {split}
        assert scores[split] == expected[split]
    lines = call("evaluate", run).stdout.splitlines()
    first = next(iter(expected["test"]))
    assert (
        lines[0] == f"{first} {expected['test'][first]['value']:.2f}  {expected['test'][first]['signature']}"
    )
    chrf = call("evaluate", run, "task.metrics=[chrf]", "search={type: greedy}").stdout
    assert re.fullmatch(r"chrf \d+\.\d\d  \S+\n", chrf)


def test_evaluate_scores_a_test_set_of_the_user(run: Path, tmp_path: Path) -> None:
    """`seqx evaluate` needs neither training text nor a development set."""
    sides = {"en": "The dog sleeps.\n", "de": "Der Hund schläft.\n"}
    for side, text in sides.items():
        (tmp_path / side).write_text(text, encoding="utf-8")
    result = call("evaluate", run, f"task.corpus={{type: files, test: [{tmp_path}/en, {tmp_path}/de]}}")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"bleu \d+\.\d\d  \S+\nchrf \d+\.\d\d  \S+\n", result.stdout)
    assert re.fullmatch(
        r"test: answers are computed on \S+ in (bf16|fp32) \(--precision auto\)\n"
        rf"reading test: {tmp_path}/en, {tmp_path}/de\n",
        result.stderr,
    )
    missing = call("evaluate", run, "task.corpus={type: files, train: [a, b]}")
    assert missing.exit_code == 2
    assert missing.stderr.endswith("\nfiles: there is no text for test; set test to a list of paths\n")


def test_evaluate_prints_the_precision_in_use(run: Path) -> None:
    result = call("evaluate", run, "--device", "cpu", "--precision", "fp32")
    assert "test: answers are computed on cpu in fp32 (--precision fp32)\n" in result.stderr
    assert "computed" not in result.stdout


@pytest.mark.parametrize("name", ["half", "half/model"])
@pytest.mark.parametrize("verb", ["evaluate", "translate"])
def test_unfinished_run_is_reported_with_its_last_checkpoint(
    run: Path, name: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands in the message succeed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQX_CACHE", str(run.parent / "cache"))
    shutil.copytree(run, "half", ignore=shutil.ignore_patterns("model", "00000006"))
    result = call(verb, name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"{name}: this run is not finished and has no model yet: its last checkpoint is of update 4 "
        "of 6; `seqx run half/recipe.yaml --folder half` resumes it, or `seqx average half` averages its "
        "checkpoints into a model\n"
    )
    if (verb, name) == ("evaluate", "half"):
        assert call("average", "half").exit_code == 0
        assert call("run", "half/recipe.yaml", "--folder", "half").exit_code == 0
        assert call("evaluate", "half").exit_code == 0


def test_path_that_is_not_a_model_is_reported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = run / "model"
    for name in ("input.txt", "tiny.yaml"):
        Path(name).write_text("The dog sleeps.\n")
    stdin = "is a file, not a model; lines are read from standard input: seqx translate"
    cases: list[tuple[list[str | Path], str]] = [
        (["translate", model, "input.txt"], f"input.txt: {stdin} {model} < input.txt\n"),
        (["translate", "input.txt", model], f"input.txt: {stdin} {model} < input.txt\n"),
        (["translate", "input.txt"], f"input.txt: {stdin} MODEL < input.txt\n"),
        (
            ["translate", model, "-"],
            "-: is not a model; remove it: lines are always read from standard input\n",
        ),
        (["parse", "input.txt"], f"input.txt: {stdin.replace('translate', 'parse')} MODEL < input.txt\n"),
        (
            ["evaluate", model, "input.txt"],
            (
                "input.txt: is a file, not a model; this command scores a split of the model's corpus "
                "(--split); `seqx score` scores a file of outputs\n"
            ),
        ),
        (
            ["translate", "tiny.yaml"],
            "tiny.yaml: is a recipe, not a model; `seqx run tiny.yaml` trains one\n",
        ),
        (
            ["translate", "wmt_en_de"],
            "wmt_en_de: is a recipe, not a model; `seqx run wmt_en_de` trains one\n",
        ),
        (
            ["translate", model / "model.safetensors"],
            f"{model}/model.safetensors: is a file of a model; name its folder, {model}\n",
        ),
        *(
            (
                list[str | Path](["translate", run / name]),
                (
                    f"{run / name}: holds checkpoints, not a model; `seqx average {run}` averages them into "
                    "a model\n"
                ),
            )
            for name in ("checkpoints", "checkpoints/00000006")
        ),
        (
            ["translate", "none"],
            "none: there is no such folder; name a model folder, such as runs/NAME/model\n",
        ),
    ]
    for arguments, message in cases:
        result = call(*arguments)
        assert (result.exit_code, result.stderr) == (2, message)


def test_evaluate_refuses_a_task_without_metrics(run: Path) -> None:
    result = call("evaluate", run, "task.metrics=[]")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "task: metrics is empty; name at least one" in result.stderr


def test_evaluate_reports_invalid_arguments(tmp_path: Path) -> None:
    result = call("evaluate", tmp_path / "nowhere")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "there is no such folder" in result.stderr
    assert "name a model" in call("evaluate", "search.size=2").stderr
    invalid_split = call("evaluate", tmp_path, "--split", "nonsense")
    assert invalid_split.exit_code == 2
    assert "'nonsense' is not one of 'test', 'dev', 'train'" in invalid_split.stderr


def test_average_writes_the_mean_of_the_weights(run: Path, tmp_path: Path) -> None:
    result = call("average", run, "--last", "3", "--out", tmp_path / "mean")
    assert result.stdout == f"{tmp_path / 'mean'}: the mean of steps 2, 4, 6\n"
    checkpoints = [load_file(run / "checkpoints" / f"{step:08}" / "model.safetensors") for step in (2, 4, 6)]
    for name, tensor in load_file(tmp_path / "mean" / "model.safetensors").items():
        expected = sum(weights[name].double() for weights in checkpoints) / 3
        assert (tensor.double() - expected).abs().max() < 1e-7
    assert len(seqx.load(tmp_path / "mean")(["The dog sleeps."])) == 1


def test_average_follows_the_recipe_without_options(run: Path) -> None:
    assert call("average", run).stdout == f"{run / 'averaged-2'}: the mean of steps 4, 6\n"
    mean = load_file(run / "averaged-2" / "model.safetensors")
    expected = average([run / "checkpoints" / f"{step:08}" / "model.safetensors" for step in (4, 6)])
    assert all((mean[name] == tensor).all() for name, tensor in expected.items())
    second = call("average", run)
    assert second.exit_code == 2
    assert "averaged-2: exists already" in second.stderr


def test_average_refuses_folders_that_the_run_uses_before_it_reads_weights(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Checkpoints, "average")
    for name in ("model", "checkpoints", "task"):
        out = run / name / "mean"
        message = f"{out}: is inside of {run / name}, which is read; choose another --out\n"
        assert call("average", run, "--out", out).stderr == message
        assert not out.exists()


def test_average_needs_no_finished_model(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`seqx average` needs only checkpoints and vocabulary, which the run folder has from the start."""
    monkeypatch.setenv("SEQX_CACHE", str(tmp_path / "nothing"))
    (run / "model").rename(run / "away")
    try:
        result = call("average", run, "--last", "5", "--out", tmp_path / "mean")
    finally:
        (run / "away").rename(run / "model")
    assert result.stderr == f"--last 5: {run} has only 3 checkpoints; the mean is that of all\n"
    assert not (tmp_path / "nothing").exists()
    assert seqx.load(tmp_path / "mean")(["a"])
    assert "is not the folder of a run" in call("average", tmp_path).stderr


def test_average_takes_the_best_checkpoints_if_recipe_or_option_says_so(run: Path, tmp_path: Path) -> None:
    """The checkpoint of step 4 has the best score."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("averaged-*"))
    for step, score in ((2, 1.0), (4, 3.0), (6, 2.0)):
        file = copy / "checkpoints" / f"{step:08}" / "checkpoint.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"score": score}), encoding="utf-8")
        Manifest.seal(file.parent, FORMAT)
    assert call("average", copy, "--best", "1").stdout == f"{copy / 'averaged-1'}: the mean of steps 4\n"
    recipe = copy / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("choose: last", "choose: best"), encoding="utf-8")
    assert call("average", copy).stdout == f"{copy / 'averaged-2'}: the mean of steps 4, 6\n"
    both = call("average", copy, "--best", "1", "--last", "1")
    assert (both.exit_code, "not both" in both.stderr) == (2, True)
    for step in (2, 4, 6):
        file = copy / "checkpoints" / f"{step:08}" / "checkpoint.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"score": None}), encoding="utf-8")
        Manifest.seal(file.parent, FORMAT)
    unscored = call("average", copy, "--best", "2", "--out", tmp_path / "best")
    assert (unscored.exit_code, "none of its checkpoints was validated" in unscored.stderr) == (2, True)
    assert not (tmp_path / "best").exists()


def test_evaluate_uses_several_references_and_writes_the_scores_of_sentences(
    run: Path, tmp_path: Path
) -> None:
    sources, first = ["The dog sleeps.", "The cat runs."], ["Der Hund schläft.", "Die Katze rennt."]
    answers = seqx.load(run, device="cpu")(sources)
    files = [tmp_path / name for name in ("en", "de", "other.de")]
    for file, lines in zip(files, (sources, first, answers), strict=True):
        file.write_text("\n".join(lines) + "\n", "utf-8")
    corpus = f"task.corpus={{type: files, test: [{', '.join(map(str, files))}]}}"
    settings = [corpus, "task.more_references=[2]", "task.metrics=[{type: bleu, bootstrap: 20}, chrf]"]
    result = call("evaluate", run, "--device", "cpu", "--sentences", tmp_path / "out", *settings)
    assert result.exit_code == 0, result.output
    assert "chrf 100.00  nrefs:2|" in result.stdout  # the outputs are among the references
    assert re.match(r"bleu \S+ \(μ = \S+ ± \S+\)  nrefs:2\|bs:20\|seed:", result.stdout)
    rows = [json.loads(row) for row in (tmp_path / "out").read_text("utf-8").splitlines()]
    assert [row["input"] for row in rows] == sources
    assert [row["output"] for row in rows] == answers
    assert [row["references"] for row in rows] == [list(pair) for pair in zip(first, answers, strict=True)]
    assert [row["scores"]["chrf"] for row in rows] == [100, 100]
    assert all("bleu" in row["scores"] for row in rows)


def test_missing_column_of_references_is_one_message(run: Path) -> None:
    result = call("evaluate", run, "task.more_references=[4]")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "task.more_references.0 is 4, but the corpus has 2 columns, counted from 0; set it to at most 1"
    )
