"""The training commands of the toolkits, for the same model, text, optimizer and size of updates."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import toolkit_settings
from benchmarks.peers.environments import python, script
from benchmarks.peers.parts import Setting
from benchmarks.peers.program import Program
from benchmarks.peers.sizes import BETAS, DROPOUT, LEARNING_RATE, SMOOTHING, Size
from benchmarks.peers.workload import Workload
from benchmarks.provenance import ROOT

UPDATES, INTERVAL = 20, 5
"""Updates of a training command, and the updates between two lines of its output."""

BUCKET = 2048
"""Pairs that OpenNMT-py and Eole read before they make batches; by default they read 262,144."""


def write_files(workload: Workload, folder: Path) -> Path:
    """Write the subwords of the text and the vocabulary as the toolkits read them; return the folder."""
    symbols = dict.fromkeys(
        symbol
        for side in ("source", "target")
        for line in workload.encoded("train", side).read_text(encoding="utf-8").splitlines()
        for symbol in line.split()
    )
    for split in ("train", "test"):
        for side in ("source", "target"):
            lines = workload.encoded(split, side).read_text(encoding="utf-8").splitlines(keepends=True)
            few = lines if split == "train" else lines[:8]
            (folder / f"{split}.{side}").write_text("".join(few), encoding="utf-8")
    (folder / "symbols").write_text("".join(f"{symbol}\n" for symbol in symbols), encoding="utf-8")
    (folder / "counts").write_text("".join(f"{symbol} 1\n" for symbol in symbols), encoding="utf-8")
    return folder


def seqx(setting: Setting, size: Size) -> Program:
    """Return `seqx run`, with tiny development and test sets."""
    settings = [
        *setting.workload.overrides(size),
        f"training.steps={UPDATES}",
        f"training.validate_every={UPDATES}",
        f"training.save_every={UPDATES}",
        "training.average=1",
        "training.precision=fp32",
        "search={type: greedy, extra: 5}",
        f"callbacks=[{{type: progress, every: {INTERVAL}}}]",
    ]
    recipe = str(ROOT / "recipes" / "wmt_en_de.yaml")
    options = ["--device", "cpu", "--threads", str(setting.threads)]
    command = [sys.executable, "-m", "seqx", "run", recipe, *options, *settings]
    return Program(
        "seqx", lambda folder: [*command, "--folder", str(folder / "run")], r"([\d,]+) target tokens/s"
    )


def _threads(setting: Setting) -> Mapping[str, str]:
    return {"OMP_NUM_THREADS": str(setting.threads)}


def _opennmt(setting: Setting, size: Size, files: Path) -> Program:
    config = {
        "data": {"corpus": {"path_src": f"{files}/train.source", "path_tgt": f"{files}/train.target"}},
        "src_vocab": f"{files}/symbols",
        "share_vocab": True,
        **toolkit_settings.opennmt(size),
        **_training(size),
        "report_every": INTERVAL,
    }
    return _configured(
        "opennmt", [script(setting.environments, "opennmt", "onmt_train")], config, "save_model", setting
    )


def _eole(setting: Setting, size: Size, files: Path) -> Program:
    config = {
        "data": {"corpus": {"path_src": f"{files}/train.source", "path_tgt": f"{files}/train.target"}},
        "src_vocab": f"{files}/symbols",
        "tgt_vocab": f"{files}/symbols",
        "share_vocab": True,
        "transforms": [],
        "report_every": INTERVAL,
        "model": toolkit_settings.eole(size),
        "training": {
            **_training(size),
            "dropout": [DROPOUT],
            "attention_dropout": [0.0],
            "compute_dtype": "fp32",
        },
    }
    command = [script(setting.environments, "eole", "eole"), "train"]
    return _configured("eole", command, config, None, setting)


def _training(size: Size) -> Mapping[str, Any]:
    """Return the settings of training that OpenNMT-py and Eole have in common."""
    return {
        "batch_type": "tokens",
        "batch_size": size.batch_tokens,
        "normalization": "tokens",
        "optim": "adam",
        "adam_beta2": BETAS[1],
        "learning_rate": LEARNING_RATE,
        "label_smoothing": SMOOTHING,
        "bucket_size": BUCKET,
        "num_workers": 0,
        "train_steps": UPDATES,
        "save_checkpoint_steps": 1000,
        "valid_steps": 1000,
    }


def _configured(
    name: str, command: Sequence[str], config: dict[str, Any], model: str | None, setting: Setting
) -> Program:
    """Return a command of OpenNMT-py or Eole, which read a file in YAML; JSON is YAML."""

    def arguments(folder: Path) -> Sequence[str]:
        own = dict(config)
        if model is None:
            own["training"] = {**config["training"], "model_path": str(folder / "model")}
        else:
            own[model] = str(folder / "model")
        file = folder / "config.yaml"
        file.write_text(json.dumps(own), encoding="utf-8")
        return [*command, "--config", str(file)]

    return Program(name, arguments, r"/\s*([\d.]+) tok/s", _threads(setting))


def _joeynmt(setting: Setting, size: Size, files: Path) -> Program:
    sides = {
        side: {"lang": name, "level": "word", "max_length": 300, "voc_file": f"{files}/joeynmt"}
        for side, name in (("src", "source"), ("trg", "target"))
    }
    special = ["<unk>", "<pad>", "<s>", "</s>"]
    symbols = (files / "symbols").read_text(encoding="utf-8").splitlines()
    (files / "joeynmt").write_text(
        "".join(f"{symbol}\n" for symbol in [*special, *symbols]), encoding="utf-8"
    )
    names = ("unk", "pad", "bos", "eos")
    config: dict[str, Any] = {
        "name": "peers",
        "joeynmt_version": "2.3.0",
        "use_cuda": False,
        "random_seed": 1,
        "data": {
            "train": f"{files}/train",
            "dev": f"{files}/test",
            "dataset_type": "plain",
            **sides,
            "special_symbols": {
                **{f"{name}_token": token for name, token in zip(names, special, strict=True)},
                **{f"{name}_id": i for i, name in enumerate(names)},
            },
        },
        "testing": {"beam_size": 1, "batch_size": 8, "batch_type": "sentence", "max_output_length": 5},
        "training": {
            "optimizer": "adam",
            "adam_betas": list(BETAS),
            "learning_rate": LEARNING_RATE,
            "scheduling": "warmupinversesquareroot",
            "learning_rate_warmup": 4000,
            "label_smoothing": SMOOTHING,
            "normalization": "tokens",
            "batch_size": size.batch_tokens,
            "batch_type": "token",
            "updates": UPDATES,
            "epochs": 1,
            "validation_freq": 1000 * INTERVAL,
            "logging_freq": INTERVAL,
            "num_workers": 0,
        },
        "model": toolkit_settings.joeynmt(size),
    }

    def arguments(folder: Path) -> Sequence[str]:
        file = folder / "config.yaml"
        file.write_text(json.dumps({**config, "model_dir": str(folder / "model")}), encoding="utf-8")
        return [
            str(python(setting.environments, "joeynmt")),
            "-m",
            "joeynmt",
            "train",
            str(file),
            "--skip-test",
        ]

    return Program("joeynmt", arguments, r"Tokens per Sec:\s*([\d.]+)", _threads(setting))


def _fairseq(setting: Setting, size: Size, files: Path) -> Program:
    data = files / "fairseq"
    preprocess = {
        "--source-lang": "source",
        "--target-lang": "target",
        "--trainpref": f"{files}/train",
        "--validpref": f"{files}/test",
        "--destdir": str(data),
        "--srcdict": f"{files}/counts",
    }
    flat = [argument for pair in preprocess.items() for argument in pair]
    binarise = [script(setting.environments, "fairseq", "fairseq-preprocess"), "--joined-dictionary", *flat]
    values = {
        "--arch": "transformer",
        "--encoder-layers": size.layers,
        "--decoder-layers": size.layers,
        "--encoder-embed-dim": size.d_model,
        "--decoder-embed-dim": size.d_model,
        "--encoder-ffn-embed-dim": size.width,
        "--decoder-ffn-embed-dim": size.width,
        "--encoder-attention-heads": size.heads,
        "--decoder-attention-heads": size.heads,
        "--dropout": DROPOUT,
        "--optimizer": "adam",
        "--adam-betas": str(BETAS),
        "--lr": LEARNING_RATE,
        "--criterion": "label_smoothed_cross_entropy",
        "--label-smoothing": SMOOTHING,
        "--max-tokens": size.batch_tokens,
        "--max-update": UPDATES,
        "--log-format": "simple",
        "--log-interval": INTERVAL,
    }
    flags = ["--cpu", "--share-all-embeddings", "--no-save", "--disable-validation"]
    options = [str(argument) for pair in values.items() for argument in pair]
    train = [script(setting.environments, "fairseq", "fairseq-train"), str(data), *flags, *options]

    def arguments(_: Path) -> Sequence[str]:
        if not data.is_dir():  # if this fails, so does the measured command
            subprocess.run(binarise, check=False, capture_output=True)
        return train

    return Program("fairseq", arguments, r"wps=([\d.]+)", _threads(setting))


MAKERS: Mapping[str, Callable[[Setting, Size, Path], Program]] = {
    "opennmt": _opennmt,
    "eole": _eole,
    "joeynmt": _joeynmt,
    "fairseq": _fairseq,
}
"""The functions that return the commands of the toolkits."""
