"""The test sets of WMT, downloaded and verified by sacreBLEU."""

from pathlib import Path
from typing import Any

import seqx

SETS = {"dev": ("wmt13", 3000), "test": ("wmt14/full", 3003)}
"""newstest2013 and the full newstest2014, with their numbers of lines; `wmt14` alone lacks some lines."""


def newstest(split: str, source: str, target: str) -> list[Path]:
    """Return the source and the reference file of a split, in sacreBLEU's folder.

    Raises:
        UserError: the files cannot be downloaded, or are damaged
    """
    from sacrebleu import DATASETS, SACREBLEU_DIR  # noqa: PLC0415

    name, lines = SETS[split]
    dataset: Any = DATASETS[name]
    pair = f"{source}-{target}"
    try:
        files = [Path(dataset.get_source_file(pair)), *map(Path, dataset.get_reference_files(pair))]
    except (OSError, EOFError, SystemExit) as error:  # sacreBLEU exits if a checksum is wrong
        raise seqx.UserError(
            f"sacreBLEU cannot download its test set {name} for {pair} ({error}). "
            f"Without a network: copy sacreBLEU's folder from another machine to {SACREBLEU_DIR}, "
            "or set task.corpus.heldout to files of your own. "
            f"If a file is damaged, remove {Path(SACREBLEU_DIR, name)}"
        ) from error
    counts = [file.read_bytes().count(b"\n") for file in files]
    if counts != [lines, lines]:
        raise seqx.UserError(
            f"sacreBLEU's test set {name} for {pair} has {counts} lines instead of {lines} per side; "
            f"remove {Path(SACREBLEU_DIR, name)} and run again"
        )
    return files
