"""The parts of the comparison that measure whole commands: start-up and preparation, in runs per second."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.command_lines import write_files
from benchmarks.peers.environments import TOOLKITS, script
from benchmarks.peers.environments import python as interpreter
from benchmarks.peers.parts import Setting
from benchmarks.peers.program import Program
from benchmarks.peers.rounds import Case, alternate
from benchmarks.peers.sizes import SIZES
from benchmarks.peers.workload import Workload
from seqx.data.prepare import cached_vocabulary, no_progress, prepare

HELP = {
    "opennmt": ["onmt_train", "--help"],
    "eole": ["eole", "--help"],
    "fairseq": ["fairseq-train", "--help"],
}
"""Commands of the toolkits that print their options."""


def startup(setting: Setting, deadline: float) -> Mapping[str, Any]:
    """Translate one line with a process that starts anew, and print the options of commands."""
    line = setting.workload.lines("test")[0]
    seqx = [sys.executable, "-m", "seqx"]
    translate = [*seqx, "translate", str(setting.model), "--device", "cpu", "--precision", "fp32"]
    programs = [
        _program("seqx translate", translate, f"{line}\n"),
        _program("seqx --help", [*seqx, "--help"]),
        _program("seqx check wmt_en_de", [*seqx, "check", "wmt_en_de"]),
        _program("import torch", [sys.executable, "-c", "import torch"]),
    ]
    for name in setting.toolkits:
        folder = setting.environments
        if TOOLKITS[name].decodes:
            worker = [str(interpreter(folder, name)), "-m", "benchmarks.peers.worker", TOOLKITS[name].adapter]
            programs.append(_program(f"{name}, one line", worker, _requests(setting, line)))
        if name in HELP:
            command, *arguments = HELP[name]
            programs.append(_program(f"{command} --help", [script(folder, name, command), *arguments]))
    return _alternate(setting, programs, deadline)


def _program(name: str, command: Sequence[str], standard_input: str = "") -> Program:
    return Program(name, lambda _: command, standard_input=standard_input)


def _requests(setting: Setting, line: str) -> str:
    """Return the requests to a worker that translates one line; it also converts the model."""
    prepare = {"model": str(setting.model), "beam": 4, "threads": setting.threads, "options": {"extra": 50}}
    requests = [
        {"do": "prepare_decoding", **prepare},
        {"do": "translate", "lines": [line], "at_once": 1},
    ]
    return "".join(f"{json.dumps(request)}\n" for request in requests)


def preparation(setting: Setting, deadline: float) -> Mapping[str, Any]:
    """Prepare the training text: from raw text, and OpenNMT-py and fairseq from text split into subwords."""
    pairs = len(setting.workload.lines("train"))
    own = [sys.executable, "-m", "benchmarks.peers.runs", str(setting.workload.folder)]
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(setting.workload, Path(folder))
        programs = [
            Program(
                "seqx", lambda new: [*own, str(setting.workload.vocabulary), str(setting.threads), str(new)]
            )
        ]
        if "opennmt" in setting.toolkits:
            programs += [_opennmt(setting, files, raw=raw) for raw in (True, False)]
        if "fairseq" in setting.toolkits:
            programs.append(_fairseq(setting, files))
        return {**_alternate(setting, programs, deadline), "pairs": pairs}


def _opennmt(setting: Setting, files: Path, *, raw: bool) -> Program:
    """Return OpenNMT-py's command that counts symbols: in raw text, which it splits itself, or split text."""
    command = script(setting.environments, "opennmt", "onmt_build_vocab")

    def arguments(folder: Path) -> Sequence[str]:
        folder_of_text = setting.workload.folder if raw else files
        paths = (f"{folder_of_text}/train.{side}" for side in ("source", "target"))
        corpus: dict[str, Any] = dict(zip(("path_src", "path_tgt"), paths, strict=True))
        config: dict[str, Any] = {
            "data": {"corpus": corpus},
            "save_data": str(folder),
            "share_vocab": True,
        }
        if raw:
            corpus["transforms"] = ["sentencepiece"]
            tokenizer = str(setting.workload.tokenizer)
            config |= {"src_subword_model": tokenizer, "tgt_subword_model": tokenizer}
        vocabulary = {"src_vocab": str(folder / "source"), "tgt_vocab": str(folder / "target")}
        file = folder / "config.yaml"
        file.write_text(json.dumps({**config, **vocabulary}), encoding="utf-8")
        return [command, "--config", str(file), "--n_sample", "-1", "--num_threads", str(setting.threads)]

    return Program("opennmt, raw text" if raw else "opennmt", arguments)


def _fairseq(setting: Setting, files: Path) -> Program:
    command = [script(setting.environments, "fairseq", "fairseq-preprocess"), "--joined-dictionary"]
    languages = ["--source-lang", "source", "--target-lang", "target"]
    options = ["--trainpref", f"{files}/train", "--workers", str(setting.threads)]
    return Program("fairseq", lambda folder: [*command, *languages, *options, "--destdir", str(folder)])


def _alternate(setting: Setting, programs: Sequence[Program], deadline: float) -> dict[str, Any]:
    cases: list[Case] = [("one run", lambda _: {}, 1)]
    record = alternate(programs, cases, rounds=setting.rounds, deadline=deadline, threads=setting.threads)
    return {**record, "unit": "runs"}


def main(folder: str, vocabulary: str, processes: str, cache: str) -> None:
    """Prepare the training text of a workload with seqx; its vocabulary was trained before."""
    workload = Workload(folder=Path(folder), vocabulary=int(vocabulary))
    task = workload.recipe(SIZES["tiny"]).configured().task
    task.fetch(Path(cache), no_progress)
    task.load(cached_vocabulary(task, {}, workload.folder / "vocabulary"))
    prepare(task, "train", {}, Path(cache), processes=int(processes))


if __name__ == "__main__":
    main(*sys.argv[1:])
