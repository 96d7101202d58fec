"""Commands that answer standard input write one line for each line, whatever it contains."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from seqx.cli import main
from tests.models import PARSING, RECIPE, write_model

pytestmark = [pytest.mark.promise("one-line-per-line"), pytest.mark.promise("lines-are-bounded")]

STACK = "{type: transformer, layers: 1, attention: {type: multihead, heads: 2}}"
SAMPLE = "train: 120, dev: 6, test: 6"
TOKENIZER = "{type: sentencepiece, model: unigram, size: 400}"
RECIPES = {
    "translate": RECIPE,
    "parse": PARSING,
    "generate": f"""\
task:
  type: language_model
  corpus: {{type: sample, columns: [en], {SAMPLE}}}
  tokenizer: {TOKENIZER}
  examples: lines
  max_length: 64
model: {{type: decoder_only, d_model: 16, decoder: {STACK.replace("layers", "use_source: false, layers")}}}
search: {{type: sampling, ratio: 0, extra: 4}}
""",
    "classify": f"""\
task:
  type: classification
  corpus: {{type: sample, columns: [en, tense], {SAMPLE}}}
  tokenizer: {TOKENIZER}
  max_length: 64
  truncate: true
  metrics: [accuracy]
model: {{type: classifier, d_model: 16, encoder: {STACK}}}
search: {{type: beam, size: 2, ratio: 0, extra: 1}}
""",
    "answer": f"""\
task:
  type: text_to_text
  corpus: {{type: sample, columns: [en, gist], {SAMPLE}}}
  tokenizer: {TOKENIZER}
  template: "gist: {{0}}"
  target: 1
  max_length: 64
  truncate: true
  metrics: [exact_match]
model: {{type: encoder_decoder, d_model: 16, encoder: {STACK}, decoder: {STACK}}}
search: {{type: beam, size: 2, ratio: 0, extra: 4}}
""",
}
STRANGE = [
    "The dog\u0085sleeps\u2028near\u2029Paris\x0b.\x0c\x1c\x1d\x1e",
    "a\x00b \x00 \x01\x7f \x1b[31mred\x1b[0m",
    "a\rb\r\r",
    "a\tb\t",
    "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627\u202c \u200f\u2067x",  # right to left
    "e\u0301\u0327" + "\u0300" * 500 + " Z\u0351\u0357",  # marks that combine
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0010ffff \ufffe\uffff \u200b\ufeff",
    "<s> </s> <pad> <unk> <0x0A> \u2581",
    "( ) (S (NP -LRB-) [ { \\ \" ' `` '' %s {0} ${HOME}",
    "",
    " ",
    "\u3000\u00a0",
]
LONG = ["the dog sleeps . " * 2_000 + "x" * 66_000]
_GREEDY = ["search=greedy", "search.extra=1", "search.ratio=0", "task.max_length=512"]
FASTER = {"translate": _GREEDY, "parse": [*_GREEDY, "task.constrained=false"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def run_command(command: str, models: Path, lines: list[str], *settings: str) -> list[str]:
    """Return the answers of a command to lines that end in a line feed, the last one, too."""
    if not (models / command).is_dir():
        write_model(models / command, text=RECIPES[command])
    text = "".join(f"{line}\n" for line in lines).encode()
    result = CliRunner().invoke(main, [command, str(models / command), *settings], input=text)
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes[-1:] in (b"\n", b"")
    return result.stdout_bytes.decode().split("\n")[:-1]


@pytest.mark.parametrize("command", RECIPES)
def test_each_input_line_has_one_output_line(command: str, models: Path) -> None:
    output = run_command(command, models, STRANGE)
    assert len(output) == len(STRANGE)
    empty = [not answer.strip() for answer, line in zip(output, STRANGE, strict=True) if not line.strip(" ")]
    assert all(empty)
    assert len(empty) == 2
    alone = [run_command(command, models, [line])[0] for line in STRANGE[:3]]
    if command != "generate":  # samples at random
        assert alone == output[:3]  # answers are in the order of the lines


@pytest.mark.parametrize("command", RECIPES)
def test_very_long_line_has_one_output_line(command: str, models: Path) -> None:
    lines = ["a", *LONG, "b"]
    output = run_command(command, models, lines, *FASTER.get(command, []))
    assert len(output) == len(lines)


@pytest.mark.parametrize("command", RECIPES)
def test_empty_input_has_empty_output(command: str, models: Path) -> None:
    assert run_command(command, models, []) == []
    assert run_command(command, models, ["", ""]) == ["", ""]


@pytest.mark.parametrize("surrogate", ["\\ud800", "a\\udfff"])
def test_unpaired_surrogate_is_refused_after_the_earlier_answers(surrogate: str, models: Path) -> None:
    run_command("translate", models, ["a"])
    text = f'{{"text": "The dog sleeps ."}}\n{{"text": "{surrogate}"}}\n'
    result = CliRunner().invoke(main, ["translate", str(models / "translate"), "--json-input"], input=text)
    assert result.exit_code == 2
    assert result.stdout.count("\n") == 1
    assert result.stderr.startswith("standard input:2: ")
    assert "has an unpaired surrogate" in result.stderr


@pytest.mark.promise("unanswerable-line-is-named")
def test_unanswerable_line_is_named_after_the_earlier_answers(models: Path) -> None:
    run_command("parse", models, [""])
    arguments = ["parse", str(models / "parse"), "task.tags=given"]
    result = CliRunner().invoke(main, arguments, input="a_DT\n\nb\nc_DT\n")
    assert (result.exit_code, result.stdout.count("\n")) == (2, 2)
    assert result.stderr.startswith("standard input:3: 'b' has no part-of-speech tag")


@pytest.mark.parametrize("command", RECIPES)
def test_models_of_other_tasks_are_refused(command: str, models: Path) -> None:
    for other in RECIPES:
        if other in (command, {"answer": "classify"}.get(command)):  # a label is an answer, too
            continue
        run_command(other, models, [""])
        result = CliRunner().invoke(main, [command, str(models / other)], input="The dog sleeps.\n")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"{models / other}: this is a model of the task ")
        assert result.stderr.endswith("; `seqx --help` lists the other commands\n")
