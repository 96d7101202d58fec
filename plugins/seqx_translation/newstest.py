"""The test sets of WMT, through sacreBLEU's own downloader, which checks them."""

from pathlib import Path
from typing import Any

import seqx

SETS = {"dev": ("wmt13", 3000), "test": ("wmt14/full", 3003)}
"""newstest2013 and all of newstest2014, and their lines; plain `wmt14` leaves some lines out."""


def newstest(split: str, source: str, target: str) -> list[Path]:
    """The files of a split's two sides, in sacreBLEU's folder.

    Raises:
        UserError: they cannot be fetched, or are not what they should be
    """
    from sacrebleu import DATASETS, SACREBLEU_DIR  # noqa: PLC0415

    name, lines = SETS[split]
    dataset: Any = DATASETS[name]
    pair = f"{source}-{target}"
    try:
        files = [Path(dataset.get_source_file(pair)), *map(Path, dataset.get_reference_files(pair))]
    except (OSError, EOFError, SystemExit) as error:  # it ends the program when a checksum is wrong
        raise seqx.UserError(
            f"sacreBLEU cannot fetch its test set {name} for {pair} ({error}). "
            f"Without a network: copy the folder of sacreBLEU from a machine that has it to {SACREBLEU_DIR}, "
            "or set task.corpus.heldout to files of your own. "
            f"If a file is damaged, remove {Path(SACREBLEU_DIR, name)}"
        ) from error
    counts = [file.read_bytes().count(b"\n") for file in files]
    if counts != [lines, lines]:
        raise seqx.UserError(
            f"sacreBLEU's test set {name} for {pair} has {counts} lines instead of {lines} a side; "
            f"remove {Path(SACREBLEU_DIR, name)} and run again"
        )
    return files
