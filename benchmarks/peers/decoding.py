"""The part of the comparison that decodes."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import TOOLKITS, python
from benchmarks.peers.parts import SEQX, Setting
from benchmarks.peers.rounds import Case, Contestant, FailedRequest, Request, alternate
from benchmarks.peers.subwords import Subwords
from seqx.runtime.precision import has_int8

LATENCY_SENTENCES = 4
"""Number of sentences for which the latency of one sentence is measured, one after the other."""

UNTRAINED_LENGTH = 25
"""Subwords of the sentences that a model with random weights translates."""

UNTRAINED_EXTRA = 5
"""The limit of the length for such a model, beyond the source: it almost never ends before."""


def decoding(setting: Setting, sentences: Sequence[int], beam: int, deadline: float) -> Mapping[str, Any]:
    """Decode the same model with all toolkits: sentences per second, and the number of equal translations."""
    prepare = {
        "do": "prepare_decoding",
        "model": str(setting.model),
        "beam": beam,
        "threads": setting.threads,
        "options": {"extra": 50 if setting.is_trained else UNTRAINED_EXTRA},
    }
    lines = _lines(setting, max(*sentences, LATENCY_SENTENCES))
    warm = {"do": "translate", "lines": lines[:1], "at_once": 1}
    names = [name for name in setting.toolkits if TOOLKITS[name].decodes and name != "ctranslate2"]
    contestants = setting.contestants(names, prepare, warm)
    contestants += _variants(setting, prepare, warm)
    differences = _logprob_differences(setting)
    cases = [_case(lines, count) for count in sentences]
    record = alternate(contestants, cases, rounds=setting.rounds, deadline=deadline, threads=setting.threads)
    record["equal_lines"] = compare_answers(record)
    return {
        **record,
        "unit": "sentences",
        "beam": beam,
        "size": setting.size,
        "trained": setting.is_trained,
        "logprob_differences": differences,
    }


def _lines(setting: Setting, count: int) -> list[str]:
    """Return lines to translate; without a trained model, lines of equal length, and so an equal limit."""
    lines = setting.workload.lines("test")
    if setting.is_trained:
        return lines[:count]
    lines += setting.workload.lines("train")
    subwords = Subwords(next((setting.model / "task").rglob("*.model")))
    chosen = [
        line for line, ids in zip(lines, subwords.encode(lines), strict=True) if len(ids) == UNTRAINED_LENGTH
    ]
    return (chosen * count)[:count]


def _variants(setting: Setting, prepare: Mapping[str, Any], warm: Request) -> Iterator[Contestant]:
    """Yield further contestants: CTranslate2 with its ways to use threads and precisions; int8 in seqx."""

    def contestant(toolkit: str, name: str, interpreter: Path, adapter: str, **options: Any) -> Contestant:
        own = {**prepare, "options": {**prepare["options"], **options}}
        return Contestant(f"{toolkit} {name}", interpreter, adapter, own, warm)

    if has_int8():
        yield contestant("seqx", "int8", Path(sys.executable), SEQX, precision="int8")
    if "ctranslate2" not in setting.toolkits:
        return
    interpreter, adapter = python(setting.environments, "ctranslate2"), TOOLKITS["ctranslate2"].adapter
    for precision in ("float32", "int8"):
        for parallel in (False, True):
            name = f"{precision} {'inter' if parallel else 'intra'}"
            options = {"precision": precision, "parallel": parallel}
            yield contestant("ctranslate2", name, interpreter, adapter, **options)


def _logprob_differences(setting: Setting) -> Mapping[str, float | str]:
    """Return the largest difference from seqx of the log-probabilities of a few pairs, by toolkit."""
    pairs = [*zip(*(setting.workload.lines("test", side)[:4] for side in ("source", "target")), strict=True)]
    request = {"do": "score", "model": str(setting.model), "pairs": pairs}
    interpreters = {"seqx": (Path(sys.executable), SEQX)} | {
        name: (python(setting.environments, name), TOOLKITS[name].adapter)
        for name in setting.toolkits
        if TOOLKITS[name].decodes
    }
    expected: Sequence[float] = []
    differences: dict[str, float | str] = {}
    for name, own in interpreters.items():
        process = Contestant(name, *own, prepare={"do": "versions"}, warm={"do": "versions"})
        try:
            values = process.ask(request)["logprobs"]
            expected = expected or values
            differences[name] = max(abs(a - b) for a, b in zip(values, expected, strict=True))
        except FailedRequest as reason:
            differences[name] = str(reason)
        finally:
            process.close()
    return differences


def _case(lines: Sequence[str], count: int) -> Case:
    chosen = lines[: max(count, LATENCY_SENTENCES)]

    def request(number: int) -> Request:
        return {"do": "translate", "lines": chosen, "at_once": count, "keep": number == 0}

    return str(count), request, len(chosen)


def compare_answers(record: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """Remove the translations; return the number that equal those of seqx, by case and contestant."""
    equal: dict[str, dict[str, str]] = {}
    for measured in record["rounds"]:
        for case, replies in measured["replies"].items():
            answers = {name: reply.pop("answers") for name, reply in replies.items() if "answers" in reply}
            expected = answers.get(record["baseline"], [])
            for name, own in answers.items():
                same = sum(ours == theirs for ours, theirs in zip(expected, own, strict=False))
                equal.setdefault(case, {})[name] = f"{same} of {len(own)}"
    return equal
