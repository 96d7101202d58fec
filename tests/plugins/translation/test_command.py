"""`seqx translate`: line-by-line answers, pipes, locales and errors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file

import seqx
from seqx.cli import main
from seqx.commands import attention_folder
from seqx_translation.command import translate
from tests.forked import Forked
from tests.models import write_model

PAIRS = ("source-source", "target-source", "target-target")
LINES = ["The old man sees the house.", "", "Ärger über Öl…", "The dog sleeps.", "   ", "xyz"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "m")


@pytest.fixture(scope="module")
def answers(model: Path) -> list[str]:
    found = [answer.replace("\n", " ") for answer in seqx.load(model)(LINES)]
    assert len(set(found)) == 5  # two of them empty
    return found


def call(text: bytes | str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(translate, [str(argument) for argument in arguments], input=text)


def test_translate_answers_line_by_line(model: Path, answers: list[str]) -> None:
    for end in ("\n", ""):  # the last line may lack a line feed
        result = call("\n".join(LINES) + end, model)
        assert result.exit_code == 0
        assert result.stdout == "\n".join(answers) + "\n"
        assert result.stderr == ""
    assert call("", model).stdout == ""
    assert call("\n", model).stdout == "\n"


@pytest.mark.slow
def test_translate_writes_attention_for_each_line(model: Path, answers: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "looks"
    lines = ["", LINES[0]]
    result = call("\n".join(lines), model, "--attention", folder)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"\n{answers[0]}\n", "")
    written = {
        f"{line:06}{rest}"
        for line, text in enumerate(lines, 1)
        if text.strip()
        for rest in [".safetensors", *(f"-{pair}-{kind}.svg" for pair in PAIRS for kind in ("map", "lines"))]
    }
    assert {file.name for file in folder.iterdir()} == written
    weights = load_file(folder / "000002.safetensors")
    assert set(weights) == {
        "encoder.layers.0.attention",
        "decoder.layers.0.attention",
        "decoder.layers.0.cross_attention",
    }
    with safe_open(folder / "000002.safetensors", "pt") as file:
        source, target = (json.loads(file.metadata()[side]) for side in ("source", "target"))
    assert "".join(source).replace("▁", " ") == " The old man sees the house.</s>"
    assert weights["decoder.layers.0.cross_attention"].shape == (2, len(target), len(source))
    for found in weights.values():
        torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]))
    picture = (folder / "000002-target-source-map.svg").read_text("utf-8")
    assert all(f">{token}</text>" in picture for token in ("▁The", "&lt;/s&gt;"))
    assert "head 2" in picture


def test_line_translated_in_parts_has_no_attention_maps(model: Path, tmp_path: Path) -> None:
    result = call(" ".join(LINES * 5), model, "--attention", tmp_path / "looks")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (f"line 1 is too long; {tmp_path / 'looks'} has no files for it")
    assert not list((tmp_path / "looks").iterdir())


def test_translate_writes_the_same_attention_figures_again_and_none_of_long_lines(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_folder, "MAX_TOKENS", 6)
    folder = tmp_path / "looks"
    short = ["search.ratio=0", "search.extra=2"]
    result = call(f"{LINES[0]}\nxyz\n", model, "--attention", folder, *short)
    assert result.exit_code == 0
    weights = load_file(folder / "000001.safetensors")
    places = max(max(found.shape) for found in weights.values())
    assert result.stderr == (
        f"line 1 or its output has {places} tokens, but a figure shows at most 6; "
        f"{folder} has its attention weights, but no figures\n"
    )
    pictures = sorted(folder.glob("*.svg"))
    assert [file.name[:7] for file in pictures] == ["000002-"] * 2 * len(PAIRS)
    again = tmp_path / "again"
    assert call("xyz\n", model, "--attention", again, *short).exit_code == 0
    assert [file.read_bytes() for file in sorted(again.glob("*.svg"))] == [
        file.read_bytes() for file in pictures
    ]


def test_file_that_two_options_name_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    files = [str(tmp_path / "output"), str(tmp_path / "link" / "output")]
    options = ["--alignment", files[0], "--trace", files[1]]
    result = CliRunner().invoke(main, ["translate", str(model), *options], input="x")
    message = f"{files[0]}: is named by --trace and --alignment; choose another --alignment\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)
    assert not (tmp_path / "output").exists()


def test_pipe_that_two_options_name_is_refused(model: Path, tmp_path: Path) -> None:
    """A reader could not tell the formats apart."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # else a command that opens the pipe would wait
    try:
        result = CliRunner().invoke(
            main, ["translate", str(model), "--alignment", str(pipe), "--trace", str(pipe)], input="x"
        )
    finally:
        os.close(reader)
    message = f"{pipe}: is named by --trace and --alignment; choose another --alignment\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)


def test_options_may_name_one_device(model: Path) -> None:
    options = ["--alignment", "/dev/null", "--trace", "/dev/null"]
    result = CliRunner().invoke(main, ["translate", str(model), *options], input="x\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("translate", "--attention"),
        ("translate", "--trace"),
        ("translate", "--alignment"),
        ("evaluate", "--sentences"),
    ],
)
def test_output_inside_of_the_model_is_refused(model: Path, command: str, option: str) -> None:
    result = CliRunner().invoke(main, [command, str(model), option, str(model / "output")], input="x")
    message = f"{model / 'output'}: is inside of {model}, which is read; choose another {option}\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)
    assert not (model / "output").exists()


def test_translate_reports_attention_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    result = CliRunner().invoke(
        main, ["translate", str(model), "--attention", str(blocked / "looks")], input="x"
    )
    assert (result.exit_code, result.stderr) == (
        2,
        f"{blocked / 'looks'}: {blocked} is not a folder; choose another --attention\n",
    )


def test_translate_ends_lines_at_line_feeds_only(model: Path) -> None:
    strange = "The dog\u2028sleeps.\x0bThe\x0c man\x85 sees.\r\nxyz\x1c\n"
    result = call(strange, model)
    assert result.stdout_bytes.count(b"\n") == 2


def test_translate_accepts_a_byte_order_mark_and_crlf(model: Path, answers: list[str]) -> None:
    windows = "\ufeff" + "\r\n".join(LINES) + "\r\n"
    assert call(windows.encode(), model).stdout == "\n".join(answers) + "\n"


@pytest.mark.slow
def test_translate_reports_a_full_or_closed_output_in_one_message(model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = ["translate", str(model)]
        pipe = subprocess.PIPE
        with Forked(command, stdin=pipe, stdout=full, stderr=pipe, text=True) as process:
            _, errors = process.communicate("The dog sleeps.\n", timeout=60)
    assert (process.returncode, errors) == (2, "standard output: No space left on device; free disk space\n")

    def close_output() -> None:
        os.close(1)
        sys.stdout = None  # as in a new Python process  # type: ignore[assignment]

    with Forked(command, close_output, stdin=pipe, stderr=pipe, text=True) as process:
        _, errors = process.communicate("The dog sleeps.\n", timeout=60)
    expected = "standard input or output is closed; connect it to a file, a pipe or a terminal\n"
    assert (process.returncode, errors) == (2, expected)


def test_translate_writes_an_answer_on_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx_translation.Translation.write", lambda self, ids, text, labels: "two\nlines")
    assert call("a\n\nb\n", model).stdout == "two lines\n\ntwo lines\n"


def test_translate_json_prints_one_object_per_line(model: Path, answers: list[str]) -> None:
    rows = [json.loads(row) for row in call("\n".join(LINES), model, "--json").stdout.split("\n")[:-1]]
    assert [row["input"] for row in rows] == LINES
    assert [row["output"].replace("\n", " ") for row in rows] == answers
    assert rows[1] == {"input": "", "output": "", "score": None, "logprob": None}
    assert rows[0].keys() == rows[1].keys()
    assert rows[0]["logprob"] < rows[0]["score"] < 0
    several = json.loads(call(LINES[0], model, "--json", "--nbest", "3").stdout)
    assert len(several["nbest"]) == 3
    assert several["nbest"][0] == {key: several[key] for key in ("output", "score", "logprob")}
    of_setting = json.loads(call(LINES[0], model, "--json", "search={type: beam, size: 4, nbest: 3}").stdout)
    assert len(of_setting["nbest"]) == 3


def test_translate_nbest_prints_ranked_answers(model: Path, answers: list[str]) -> None:
    rows = [row.split("\t") for row in call("\n".join(LINES), model, "--nbest", "2").stdout.split("\n")[:-1]]
    assert [(row[0], row[1]) for row in rows] == [
        *[("1", "1"), ("1", "2"), ("2", "1"), ("3", "1"), ("3", "2")],
        *[("4", "1"), ("4", "2"), ("5", "1"), ("6", "1"), ("6", "2")],
    ]
    assert [row[3] for row in rows if row[1] == "1"] == answers
    assert float(rows[0][2]) >= float(rows[1][2])


@pytest.mark.parametrize("search", ["search=greedy", "search={type: sampling, seed: 2}"])
def test_translate_nbest_of_one_needs_no_beam(model: Path, search: str) -> None:
    (row,) = call(LINES[0], model, search, "--nbest", "1").stdout.split("\n")[:-1]
    assert row.startswith("1\t1\t")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("search.size=3", "--nbest 4 is more than the beam size 3; add search.size=4"),
        ("search=greedy", "--nbest 4 needs a beam search; add search=beam search.size=4"),
        ("search={type: sampling, seed: 2}", "--nbest 4 needs a beam search; add search=beam search.size=4"),
    ],
)
def test_nbest_error_names_the_needed_beam(model: Path, search: str, message: str) -> None:
    error = call("a", model, search, "--nbest", "4").exception
    assert isinstance(error, seqx.UserError)
    assert str(error) == message
    advice = message.partition("add ")[2].split()
    assert call("The dog sleeps.", model, search, "--nbest", "4", *advice).stdout.count("\n") == 4


def test_translate_reports_other_errors_with_nbest(model: Path) -> None:
    for wrong, message in (
        ("search.sise=3", "did you mean 'size'"),
        ("search.ratio=0 search.extra=0", "both 0"),
    ):
        error = call("a", model, "--nbest", "9", *wrong.split()).exception
        assert isinstance(error, seqx.RecipeError)
        assert message in str(error)
        assert "nbest" not in str(error)


@pytest.mark.parametrize(
    ("largest", "larger", "expected"),
    [
        ("--window=1073741824", f"--window={10**30}", "is not in the range"),
        (
            "search.alpha=10",
            "search.alpha=1e308",
            "search.alpha=1e308: Input should be less than or equal to 10",
        ),
        (
            "search={type: sampling, temperature: 1e-6}",
            "search={type: sampling, temperature: 1e-320}",
            "search.temperature: Input should be greater than or equal to 0.000001",
        ),
    ],
)
def test_translate_rejects_numbers_out_of_range(
    model: Path, largest: str, larger: str, expected: str
) -> None:
    assert call("a", model, largest).stdout.count("\n") == 1
    result = call("a", model, larger)
    assert isinstance(result.exception, SystemExit | seqx.UserError)
    assert expected in f"{result.stderr}{result.exception}"


def test_line_translated_in_parts_has_one_answer(model: Path) -> None:
    long = "The old man sees the house. The dog sleeps. The woman reads the book in the garden."
    rows = call(f"{long}\nThe dog sleeps.\n", model, "--nbest", "2").stdout.split("\n")[:-1]
    assert [row.split("\t")[:2] for row in rows] == [["1", "1"], ["2", "1"], ["2", "2"]]


def test_translate_accepts_settings_and_several_models(model: Path, answers: list[str]) -> None:
    assert call("\n".join(LINES), model, model).stdout.split("\n")[:-1] == answers
    assert call(LINES[0], model, "--nbest", "5", "search.size=5").stdout.count("\n") == 5
    result = call("a", "search.size=5")
    assert result.exit_code == 2
    assert "name a model" in result.stderr


def test_translate_accepts_a_path_with_an_equals_sign(
    model: Path, answers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lr=1e-3").mkdir()
    (tmp_path / "lr=1e-3" / "model").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    for name in ("lr=1e-3/model", "./lr=1e-3/model", tmp_path / "lr=1e-3"):
        assert call("\n".join(LINES), name).stdout.split("\n")[:-1] == answers
    error = call("a", "./lr=1e-4/model").exception
    assert isinstance(error, seqx.UserError)
    assert str(error).startswith("lr=1e-4/model: there is no such folder")


def test_translate_splits_and_counts_long_lines(model: Path) -> None:
    long = "The old man sees the house. The dog sleeps. The woman reads the book in the garden."
    result = call(f"{long}\nThe dog sleeps.\n{long}\n", model)
    assert result.stdout.count("\n") == 3
    assert result.stderr == "2 of 3 inputs have more than 24 tokens; they were answered in parts\n"
    first, _, second = result.stdout.split("\n")[:-1]
    assert first == second != ""


def test_translate_answers_the_lines_before_invalid_text(model: Path, answers: list[str]) -> None:
    result = call("\n".join(LINES[:3]).encode() + b"\ngood \xff bad\nnext\n", model)
    assert result.stdout.split("\n")[:-1] == answers[:3]
    assert isinstance(result.exception, seqx.UserError)
    assert "standard input:4: byte 6 of the line is not UTF-8" in str(result.exception)


def test_translate_answers_a_line_of_a_hundred_thousand_characters(model: Path) -> None:
    """The line has sentences, or no spaces. The answer comes within a minute."""
    for text in ("The old man sees the house. " * 3572, "abcdefghij" * 10_000):
        start = time.monotonic()
        result = call(text, model, "search={type: greedy, ratio: 0.25, extra: 0}")
        assert result.exit_code == 0
        assert result.stdout.count("\n") == 1
        assert len(result.stdout.split(" ")) > 3000 or "abc" in text
        assert result.stderr.startswith("1 of 1 inputs")
        assert time.monotonic() - start < 60


@pytest.mark.slow
def test_translate_uses_utf8_in_every_locale(model: Path, answers: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "seqx", "translate", str(model)],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        input="\n".join(LINES).encode() + b"\n\xff\n",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert process.stdout.decode("utf-8").split("\n")[:-1] == answers
    assert process.stderr.decode().startswith("standard input:7: byte 1 of the line")
    assert process.stderr.count(b"\n") == 1
    assert process.returncode == 2


def start_with_window_of_one(model: Path) -> Forked:
    """Start `seqx translate --window 1` with pipes."""
    pipe = subprocess.PIPE
    return Forked(["translate", model, "--window", "1"], stdin=pipe, stdout=pipe, stderr=pipe)


def test_translate_stops_if_standard_output_is_closed(model: Path, answers: list[str]) -> None:
    with start_with_window_of_one(model) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"{LINES[0]}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().decode() == f"{answers[0]}\n"  # answered before the input ends
        process.stdout.close()
        process.stdin.write("".join(f"{line}\n" for line in LINES).encode())
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) in (0, 1)


def test_translate_can_be_interrupted(model: Path) -> None:
    with start_with_window_of_one(model) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"{LINES[0]}\n".encode())
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""
