"""Types of arguments that name files and folders; a wrong path is a message before the work begins."""

import argparse
import os
from pathlib import Path

from seqx.errors import UserError

REAL_TEXT = ("wmt_news/en-de", "tatoeba_en_de")
"""Folders of English and German sentences, below the folder of `real_text`."""


def input_file(text: str) -> Path:
    """Return the path of a file that exists."""
    if not os.path.isfile(text):  # noqa: PTH113  Path("") is the current folder
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text)


def input_folder(text: str) -> Path:
    """Return the path of a folder that exists."""
    if not os.path.isdir(text):  # noqa: PTH112  Path("") is the current folder
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return Path(text)


def model_path(text: str) -> Path:
    """Return the path of a folder with a model, or of a finished run."""
    from seqx.inference.loading import model_folder  # noqa: PLC0415  it imports torch

    try:
        model_folder(input_folder(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def output_file(text: str) -> Path:
    """Return the path of a file to write, in a folder that exists."""
    path = Path(text)
    if not text or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file; name one")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}; create it")
    return path


def real_text(text: str) -> Path:
    """Return the path of a folder with the text that `benchmarks.corpus.recombined` reads."""
    folder = input_folder(text)
    for name in REAL_TEXT:
        for side in ("en", "de"):
            if not (file := folder / name / f"train.{side}.gz").is_file():
                raise argparse.ArgumentTypeError(f"there is no file {str(file)!r}; name another folder")
    return folder


def seqx_data() -> Path:
    """Return the folder that SEQX_DATA names.

    Raises:
        SystemExit: it is not set, or there is no such folder
    """
    try:
        return input_folder(os.environ.get("SEQX_DATA", ""))
    except argparse.ArgumentTypeError as error:
        raise SystemExit(f"SEQX_DATA: {error}; set this variable to the folder of real text") from None
