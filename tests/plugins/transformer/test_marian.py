"""Models in the format of the Hugging Face hub, imported by seqx and compared with transformers."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

import seqx
import seqx_transformer
from seqx.cli import main
from tests.extras import skip_without
from tests.marian import LANGUAGES, write_generation, write_marian

skip_without("transformers")

SENTENCES = ["The cat sees the dog.", "We wait.", ">>fra<< A soldier put a letter there.", "Ünknown 日本"]
FEW_LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
CASES: dict[str, dict[str, Any]] = {
    "opus-mt-en-de": {},
    "separate-vocabularies": {"separate": True, **FEW_LAYERS},
    "separate-untied": {"separate": True, "tie_word_embeddings": False, **FEW_LAYERS},
    "relu-unscaled": {
        "activation_function": "relu",
        "scale_embedding": False,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 48,
    },
    "gelu-bias": {"activation_function": "gelu", "add_bias_logits": True, **FEW_LAYERS},
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def imported(source: Path, out: Path, form: str = "huggingface") -> Path:
    result = call("import", source, "--from", form, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def theirs(source: Path) -> tuple[Any, Any]:
    from transformers import MarianMTModel, MarianTokenizer

    return MarianMTModel.from_pretrained(source).eval(), MarianTokenizer.from_pretrained(source)


def symbols_in_seqx(predictor: seqx.Predictor, tokenizer: Any) -> list[int]:
    """Return the id in transformers of each symbol of the target from EOS on."""
    size = predictor.task.vocab_sizes["target"]
    names = predictor.task.symbols("target", range(seqx.EOS, size))
    ids = tokenizer.target_encoder if tokenizer.separate_vocabs else tokenizer.encoder
    return [ids[name] for name in names]


@pytest.mark.promise("marian-import")
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_imported_model_has_the_logits_and_beams_of_transformers(
    case: dict[str, Any], tmp_path: Path
) -> None:
    source = write_marian(tmp_path / "hub", **case)
    model, tokenizer = theirs(source)
    predictor = seqx.load(imported(source, tmp_path / "model"), device="cpu", precision="fp32")
    rows = [predictor.task.read(text)["source"] for text in SENTENCES]
    encoded = [tokenizer(text)["input_ids"] for text in SENTENCES]
    columns = symbols_in_seqx(predictor, tokenizer)
    for ids, row in zip(encoded, rows, strict=True):
        target = torch.randint(4, predictor.task.vocab_sizes["target"], (20,)).tolist()
        source_column = seqx.Column.of(torch.tensor([row]), torch.tensor([len(row)]))
        target_column = seqx.Column.of(torch.tensor([target]), torch.tensor([20]))
        with torch.no_grad():
            outputs = predictor.model(seqx.Batch.of(source=source_column, target=target_column))
            ours = predictor.model.head(outputs)[..., seqx.EOS :]
            start = [model.config.decoder_start_token_id, *(columns[i - seqx.EOS] for i in target[:-1])]
            logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([start])).logits
        torch.testing.assert_close(ours, logits[..., columns], atol=1e-4, rtol=0)
    for ids, nbest in zip(encoded, predictor.hypotheses(SENTENCES), strict=True):
        with torch.no_grad():
            (output,) = model.generate(torch.tensor([ids])).tolist()
        hypothesis = nbest[0].hypothesis
        assert output[1:-1] == [columns[i - seqx.EOS] for i in hypothesis.ids]
        assert output[-1] == 0
        assert nbest[0].text == tokenizer.decode(output[1:-1], skip_special_tokens=True)


SEARCHES: dict[str, dict[str, Any]] = {
    "penalty": {"length_penalty": 0.6, "num_beams": 6},
    "bound": {"early_stopping": "never"},
    "full": {"early_stopping": True, "renormalize_logits": False},
    "greedy": {"num_beams": 1},
    "processors": {
        "no_repeat_ngram_size": 2,
        "repetition_penalty": 1.3,
        "min_length": 7,
        "renormalize_logits": False,
    },
    "greedy_processors": {
        "num_beams": 1,
        "no_repeat_ngram_size": 2,
        "min_length": 7,
        "renormalize_logits": False,
    },
}


@pytest.mark.promise("marian-import")
@pytest.mark.slow
def test_searches_of_generation_config_find_the_outputs_of_transformers(tmp_path: Path) -> None:
    source = write_marian(tmp_path / "hub", encoder_layers=1, decoder_layers=2)
    lengths = set()
    for name, changes in SEARCHES.items():
        write_generation(
            source,
            bad_words_ids=[[json.loads((source / "config.json").read_text())["pad_token_id"]]],
            **{"max_length": 30, **changes},
        )
        model, tokenizer = theirs(source)
        predictor = seqx.load(imported(source, tmp_path / name), device="cpu", precision="fp32")
        columns = symbols_in_seqx(predictor, tokenizer)
        for text, nbest in zip(SENTENCES, predictor.hypotheses(SENTENCES), strict=True):
            with torch.no_grad():
                (output,) = model.generate(**tokenizer(text, return_tensors="pt")).tolist()
            ids = [columns[i - seqx.EOS] for i in nbest[0].hypothesis.ids]
            assert output[1:-1] == ids, name
            lengths.add(len(ids))
    assert len(lengths) > 3


@pytest.mark.slow
def test_greedy_search_with_a_repetition_penalty_is_refused_because_outputs_would_differ(
    tmp_path: Path,
) -> None:
    source = write_marian(tmp_path / "hub", encoder_layers=1, decoder_layers=2)
    changes = {"renormalize_logits": False, "num_beams": 1}
    write_generation(source, **changes)
    out = imported(source, tmp_path / "model")
    write_generation(source, **changes, repetition_penalty=1.3)
    assert "repetition_penalty: with num_beams 1, transformers applies it to logits" in refusal(source)
    model, tokenizer = theirs(source)
    search = "search.processors=[{type: repetition_penalty, penalty: 1.3}]"
    predictor = seqx.load(out, device="cpu", precision="fp32", overrides=[search])
    columns = symbols_in_seqx(predictor, tokenizer)
    same = []
    for text, nbest in zip(SENTENCES, predictor.hypotheses(SENTENCES), strict=True):
        with torch.no_grad():
            (output,) = model.generate(**tokenizer(text, return_tensors="pt")).tolist()
        same.append(output[1:-1] == [columns[i - seqx.EOS] for i in nbest[0].hypothesis.ids])
    assert not all(same)


def unusual_lines(count: int) -> list[str]:
    """Return lines with unusual characters, spaces, control characters and languages."""
    rng = random.Random(5)
    ranges = [(0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x4FF), (0x2000, 0x206F), (0x3040, 0x30FF)]
    ranges += [(0x1F600, 0x1F64F), (0xFF00, 0xFFEF), (0x00, 0x1F), (0xFB00, 0xFB4F), (0xE000, 0xE010)]
    words = [
        "The",
        "cat",
        "sees",
        "▁",
        "\u00ad",
        ">>",
        "<<",
        *LANGUAGES,
        ">>xxx<<",
        "  ",
        "\t",
        "&amp;",
        "3,5",
    ]
    lines = ["", " ", *LANGUAGES, ">>fra<<x", "x >>fra<<", ">><<", ">> a << b", "<0x41>", "[UNK]", "<2de>"]
    while len(lines) < count:
        parts = []
        for _ in range(rng.randint(1, 8)):
            low, high = rng.choice(ranges)
            characters = (chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))
            parts.append(rng.choice([rng.choice(words), "".join(characters)]))
        lines.append(rng.choice(["", " "]).join(parts))
    return lines


@pytest.mark.promise("marian-tokens")
@pytest.mark.parametrize("separate", [False, True])
def test_tokenizer_has_the_ids_and_texts_of_marian_tokenizer(separate: bool, tmp_path: Path) -> None:
    source = write_marian(tmp_path / "hub", separate=separate, encoder_layers=1, decoder_layers=1)
    _, tokenizer = theirs(source)
    task = seqx.load(imported(source, tmp_path / "model"), device="cpu").task
    ids = tokenizer.encoder
    to_theirs = {
        symbol: ids[name]
        for symbol, name in enumerate(task.symbols("source", range(len(ids) + 1)))
        if name != "<s>"
    }
    for line in unusual_lines(2000):
        row = task.read(line)["source"]
        assert [to_theirs[i] for i in row] == tokenizer(line)["input_ids"], repr(line)
    size = task.vocab_sizes["target"]
    columns = dict(enumerate(task.symbols("target", range(size))))
    names = tokenizer.target_encoder if separate else tokenizer.encoder
    rng = random.Random(6)
    for _ in range(300):
        row = [rng.randrange(3, size) for _ in range(rng.randint(0, 12))]
        expected = tokenizer.decode([names[columns[i]] for i in row], skip_special_tokens=True)
        assert task.target_text(row) == expected  # type: ignore[attr-defined]


FIELDS = {
    "normalize_before": True,
    "normalize_embedding": True,
    "add_final_layer_norm": True,
    "static_position_embeddings": False,
    "activation_function": "gelu_new",
    "encoder_layerdrop": 0.1,
    "model_type": "bart",
    "decoder_attention_heads": 5,
    "encoder_layers": -1,
    "num_hidden_layers": 2,
    "max_position_embeddings": 1,
    "eos_token_id": 99_999,
    "quantization_config": {"bits": 4},
    "is_decoder": True,
}
GENERATION_FIELDS = {
    "do_sample": True,
    "num_beam_groups": 2,
    "length_penalty": -1.0,
    "bad_words_ids": [[5]],
    "suppress_tokens": [7],
    "no_repeat_ngram_size": 2,  # with renormalize_logits
    "repetition_penalty": 0.9,
    "min_length": 7,
    "forced_bos_token_id": 3,
    "forced_eos_token_id": 3,
    "diversity_penalty": 0.5,
    "num_beams": "many",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marian(tmp_path_factory.mktemp("hub") / "hub", encoder_layers=1, decoder_layers=1)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in small.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def refusal(source: Path, form: str = "huggingface") -> str:
    out = source.parent / "refused"
    result = call("import", source, "--from", form, "--out", out)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not out.exists()
    message = result.output.strip()
    assert "Traceback" not in message
    assert "\n" not in message
    return message


def test_field_that_seqx_cannot_express_is_named(copy: Path) -> None:
    for name, fields in (("config.json", FIELDS), ("generation_config.json", GENERATION_FIELDS)):
        file = copy / name
        original = file.read_text(encoding="utf-8")
        for field, value in fields.items():
            file.write_text(json.dumps({**json.loads(original), field: value}), encoding="utf-8")
            message = refusal(copy)
            assert str(file) in message
            assert field in message
        file.write_text(original, encoding="utf-8")


def _truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _change(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        changed = change(tensors.pop(name))
        save_file(tensors if changed is None else {**tensors, name: changed}, folder / "model.safetensors")

    return apply


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _text(name: str, text: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return apply


def _half_surrogate_pair(folder: Path) -> None:
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    symbol = next(symbol for symbol in ids if symbol.startswith("▁"))
    renamed = {"\ud800" if name == symbol else name: i for name, i in ids.items()}
    (folder / "vocab.json").write_text(json.dumps(renamed), encoding="utf-8")


def _invalid_symbol(folder: Path) -> None:
    file = folder / "target.spm"
    file.write_bytes(file.read_bytes() + b"\x0a\x0a\x0a\x01\xff\x15\0\0\0\0\x18\x01")


NORM = "model.encoder.layers.0.final_layer_norm.weight"
HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated weights": (_truncated, "model.safetensors: cannot be read"),
    "wrong shape": (_change(NORM, lambda t: t[:-1].clone()), f"{NORM} is [31] and should be [32]"),
    "missing tensor": (_change(NORM, lambda _: None), f"{NORM} is missing"),
    "integers": (_change(NORM, lambda t: t.int()), f"{NORM} is of torch.int32"),
    "not finite": (_change(NORM, lambda t: t / 0), f"{NORM} has infinite"),
    "no weights": (_without("model.safetensors"), "has no model.safetensors"),
    "no config": (_without("config.json"), "config.json: cannot be read"),
    "no vocabulary": (
        _without("vocab.json"),
        "vocab.json: cannot be read (No such file or directory); download the model again",
    ),
    "no source model": (_without("source.spm"), "source.spm: cannot be read"),
    "config is no JSON": (_text("config.json", "{"), "config.json: cannot be read"),
    "config is a list": (_text("config.json", "[]"), "config.json: the whole value"),
    "deep config": (_text("config.json", "[" * 100_000), "config.json: cannot be read"),
    "vocabulary too small": (
        _text("vocab.json", '{"</s>": 0}'),
        "vocab.json: must have one symbol for each id",
    ),
    "vocabulary of lists": (_text("vocab.json", '{"</s>": []}'), "vocab.json"),
    "half of a surrogate pair": (_half_surrogate_pair, "vocab.json: a symbol is not valid Unicode"),
    "symbol that is not UTF-8": (_invalid_symbol, "target.spm: cannot be read as a SentencePiece model"),
    "damaged SentencePiece model": (
        _text("target.spm", "x"),
        "target.spm: cannot be read as a SentencePiece model",
    ),
}


@pytest.mark.promise("imported-models-are-checked")
@pytest.mark.parametrize(("damage", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_damaged_model_gives_one_message(damage: Callable[[Path], None], expected: str, copy: Path) -> None:
    damage(copy)
    assert expected in refusal(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02R.",
        b"\x80\x02(u.",
        b"\x80\x02ctorch\nnothere\n.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
        b"ustar" * 200,
        b"PK\x03\x04",
    ],
)
def test_damaged_pickle_gives_one_message_without_advice_of_torch(content: bytes, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(content)
    message = refusal(copy, "{type: huggingface, pickle: true}")
    assert "pytorch_model.bin: cannot be read by torch's restricted loader (" in message
    assert "weights_only" not in message


class _Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("attacked"),))


@pytest.mark.promise("imported-models-are-checked")
def test_pickle_is_read_only_with_the_setting_and_without_code(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(tensors, copy / "pytorch_model.bin")
    assert "{type: huggingface, pickle: true}" in refusal(copy)
    form = "{type: huggingface, pickle: true}"
    imported(copy, copy.parent / "model", form)
    for content in (_Attack(), [1, 2], {"a": 1}):
        torch.save(content, copy / "pytorch_model.bin")
        assert "pytorch_model.bin" in refusal(copy, form)
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x05garbage")
    assert "pytorch_model.bin: cannot be read" in refusal(copy, form)
    assert not Path("attacked").exists()


@pytest.mark.slow
def test_imported_model_can_be_exported_and_imported_again(small: Path, tmp_path: Path) -> None:
    first = imported(small, tmp_path / "first")
    answers = [*seqx.load(first, device="cpu")(SENTENCES)]
    result = call("export", first, "--to", "huggingface", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    second = imported(tmp_path / "out", tmp_path / "second")
    assert [*seqx.load(second, device="cpu")(SENTENCES)] == answers
    sizes = [seqx.load(model, device="cpu").task.vocab_sizes for model in (first, second)]
    assert sizes[0] == sizes[1]
    pytest.importorskip("ctranslate2")
    bound = ["search.stop=bound", "search.forced_eos=false", "search.alpha=0"]
    expected = [*seqx.load(first, device="cpu", precision="fp32", overrides=bound)(SENTENCES)]
    engine = seqx.load(first, device="cpu", overrides=bound, engine=seqx_transformer.CTranslate2Engine())
    assert [*engine(SENTENCES)] == expected
