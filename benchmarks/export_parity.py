"""Answers of an exported model, and of engines, compared with those of seqx.

    seqx run wmt_en_de --profile sample
    python -m benchmarks.export_parity runs/wmt_en_de-sample/model --out export_parity.json

The programs are seqx with several precisions and engines, and CTranslate2 and transformers with an exported
folder. All of them translate the same sentences of the test set in turn, in several rounds. The table has the
number of lines that differ from those of seqx in fp32 with the same search, the largest difference of the
scores of equal lines, BLEU, and the median ratio of the time of seqx in fp32 to the time of each program in
the same round, with its range. The exported folders are used without seqx, as their model cards show, without
length penalty.
"""

import argparse
import importlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece
import torch

import seqx
from benchmarks.paths import model_path, output_file
from benchmarks.provenance import provenance
from seqx.inference.exchange import trained_model
from seqx_text import Bleu
from seqx_transformer import CTranslate2, CTranslate2Engine, HuggingFace

NO_PENALTY = "search.alpha=0"
HF_BATCH = 50


class Answers(NamedTuple):
    """The answers to all sentences, with the scores by which they were ranked."""

    texts: Sequence[str]
    scores: Sequence[float]


Program = Callable[[Sequence[str]], Answers]


def of_seqx(model: Path, *overrides: str, **options: Any) -> Program:
    """Return a function that translates with seqx, possibly with an engine."""
    predictor = seqx.load(model, device="cpu", overrides=overrides, **options)

    def answer(sentences: Sequence[str]) -> Answers:
        nbests = list(predictor.hypotheses(sentences))
        return Answers([nbest.text for nbest in nbests], [nbest[0].hypothesis.score for nbest in nbests])

    return answer


def of_ctranslate2(folder: Path, beam: int, compute: str) -> Program:
    """Return a function that translates with CTranslate2 and an exported folder."""
    package = importlib.import_module("ctranslate2")  # the function `table` does not need it
    translator = package.Translator(str(folder), compute_type=compute, intra_threads=torch.get_num_threads())
    source, target = (
        sentencepiece.SentencePieceProcessor(str(folder / f"{side}.spm")) for side in ("source", "target")
    )

    def answer(sentences: Sequence[str]) -> Answers:
        results = translator.translate_batch(
            [source.encode(sentence, out_type=str) for sentence in sentences],
            beam_size=beam,
            length_penalty=0,
            min_decoding_length=0,
            max_batch_size=100,
            return_scores=True,
        )
        texts = [target.decode(result.hypotheses[0]) for result in results]
        return Answers(texts, [result.scores[0] for result in results])

    return answer


def of_transformers(folder: Path) -> Program:
    """Return a function that translates with transformers and an exported folder."""
    transformers = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(str(folder)).eval()

    def answer(sentences: Sequence[str]) -> Answers:
        texts: list[str] = []
        scores: list[float] = []
        for first in range(0, len(sentences), HF_BATCH):
            inputs = tokenizer([*sentences[first : first + HF_BATCH]], return_tensors="pt", padding=True)
            with torch.no_grad():
                outputs = model.generate(
                    **inputs, length_penalty=0.0, return_dict_in_generate=True, output_scores=True
                )
            texts += [tokenizer.decode(ids, skip_special_tokens=True) for ids in outputs.sequences]
            scores += outputs.sequences_scores.tolist()
        return Answers(texts, scores)

    return answer


def programs(model: Path, folder: Path) -> Mapping[str, tuple[Program, str]]:
    """Return each program, and the name of the program that it is compared with."""
    predictor = seqx.load(model, device="cpu", precision="fp32")
    trained = trained_model(model, predictor.task, predictor.model, predictor.search)
    for name, exporter in (("ctranslate2", CTranslate2()), ("huggingface", HuggingFace())):
        (folder / name).mkdir()
        exporter.write(trained, folder / name)
    beam = predictor.search.width if predictor.search is not None else 1
    fp32, exact = "seqx, fp32", "seqx, fp32, alpha 0"
    return {
        fp32: (of_seqx(model, precision="fp32"), fp32),
        "seqx, bf16": (of_seqx(model, precision="bf16"), fp32),
        "seqx, int8": (of_seqx(model, precision="int8"), fp32),
        "engine ctranslate2, fp32": (of_seqx(model, engine=CTranslate2Engine()), fp32),
        "engine ctranslate2, int8": (of_seqx(model, engine=CTranslate2Engine(compute="int8")), fp32),
        exact: (of_seqx(model, NO_PENALTY, precision="fp32"), exact),
        "CTranslate2, fp32, alpha 0": (of_ctranslate2(folder / "ctranslate2", beam, "float32"), exact),
        "CTranslate2, int8, alpha 0": (of_ctranslate2(folder / "ctranslate2", beam, "int8"), exact),
        "transformers, fp32, alpha 0": (of_transformers(folder / "huggingface"), exact),
    }


def measure(model: Path, sentences: int, rounds: int) -> dict[str, Any]:
    """Return the record: for each program the differences from seqx, BLEU, and the seconds of each round."""
    task = seqx.load(model, device="cpu").task
    task.fetch(Path(tempfile.gettempdir()), lambda *_: None, splits=("test",))
    split = task.read_split("test")
    inputs, references = task.inputs(split)[:sentences], task.references(split)[:sentences]
    with tempfile.TemporaryDirectory() as folder:
        compared = programs(model, Path(folder))
        answers: dict[str, Answers] = {}
        seconds: dict[str, list[float]] = {name: [] for name in compared}
        for number in range(rounds + 1):  # the first round is not timed
            for name, (program, _) in compared.items():
                start = time.perf_counter()
                answers[name] = program(inputs)
                if number:
                    seconds[name].append(time.perf_counter() - start)
    return {
        "sentences": len(inputs),
        "ways": {
            name: {
                "compared_with": other,
                **difference(answers[other], answers[name]),
                "bleu": Bleu()(answers[name].texts, references)["bleu"].value,
                "seconds": seconds[name],
            }
            for name, (_, other) in compared.items()
        },
    }


def difference(one: Answers, other: Answers) -> dict[str, Any]:
    """Return the number of lines that differ, and the largest difference of the scores of equal lines."""
    pairs = list(zip(one.texts, other.texts, one.scores, other.scores, strict=True))
    scores = [
        abs(score - other_score) for text, other_text, score, other_score in pairs if text == other_text
    ]
    return {
        "differing_lines": sum(text != other_text for text, other_text, *_ in pairs),
        "largest_score_difference": max(scores, default=math.nan),
    }


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of a record."""
    rows = record["ways"]
    first = next(iter(rows.values()))["seconds"]
    yield "| program | lines that differ | scores differ by | BLEU | speed |"
    yield "|---|---|---|---|---|"
    for name, row in rows.items():
        speeds = sorted(one / other for one, other in zip(first, row["seconds"], strict=True))
        speed = f"{statistics.median(speeds):.2f} ({speeds[0]:.2f} to {speeds[-1]:.2f})"
        yield (
            f"| {name} | {row['differing_lines']} of {record['sentences']} | "
            f"{row['largest_score_difference']:.1e} | {row['bleu']:.2f} | {speed} |"
        )


def main() -> None:
    """Measure, and print or write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=model_path)
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=output_file)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    origin = provenance()
    record = {**origin, "threads": 1, **measure(arguments.model, arguments.sentences, arguments.rounds)}
    record["versions"] |= {name: version(name) for name in ("ctranslate2", "transformers")}
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
