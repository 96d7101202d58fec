"""Does the initialisation train? The paper's base model, six layers each, norms after the sums, from nothing.

On Tatoeba, for a few hundred updates of a rising learning rate: the loss must fall below the entropy of the
words' frequencies, which is as far as a model gets that looks at nothing.

    SEQX_DATA=... python benchmarks/initialisation.py --folder /tmp/initialisation
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

import seqx
from seqx.data.cache import default_cache
from seqx.data.store import Store
from seqx.interfaces.scores import perplexity
from seqx.storage.json_format import json_text

_LINE = TypeAdapter(dict[str, Any])
FILES = "${{SEQX_DATA}}/tatoeba_en_de/{split}.{language}.gz"


def overrides(updates: int, tokens: int) -> list[str]:
    """The base recipe on Tatoeba, looked at only at the end."""
    files = {
        split: [FILES.format(split=split, language=language) for language in ("en", "de")]
        for split in ("train", "dev", "test")
    }
    return [
        f"task.corpus={json.dumps({'type': 'files', **files})}",
        "task.tokenizer.size=8000",
        "task.metrics=[bleu]",
        f"training.steps={updates}",
        f"training.tokens={tokens}",
        f"training.schedule.warmup={updates}",
        "training.objective.smoothing=0",
        f"training.validate_every={updates}",
        f"training.save_every={updates}",
        "search={type: greedy, ratio: 0, extra: 1}",  # nobody asks what it would write
        "callbacks=[progress, {type: metrics, every: 10}]",
    ]


def entropy(store: Store) -> float:
    """Of the frequencies of target tokens, in nats."""
    counts = np.bincount(store.columns["target"].values)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def main() -> int:
    """Run it and say how the loss went; exit code 1 when it stayed above."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, required=True, help="of the run")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=1500, help="target tokens of an update")
    parser.add_argument("--out", type=Path, help="where a JSON record goes")
    arguments = parser.parse_args()
    recipe = ["recipes/wmt_en_de.yaml", "--folder", str(arguments.folder)]
    command = [sys.executable, "-m", "seqx", "run", *recipe]
    began = time.monotonic()
    subprocess.run([*command, *overrides(arguments.updates, arguments.tokens)], check=True)
    lines = seqx.read_json_lines(_LINE, arguments.folder / "metrics.jsonl", "run it again")
    losses = {line["step"]: float(line["loss"]) for _, line in lines if line["kind"] == "update"}
    stores = [path.parent for path in default_cache().glob("*/index.json")]
    newest = max(stores, key=lambda path: path.stat().st_mtime)
    bound = entropy(Store.open(newest))
    last = losses[max(losses)]
    record = {
        "unigram_entropy": bound,
        "losses": losses,
        "last": last,
        "perplexity": perplexity(last),
        "minutes": (time.monotonic() - began) / 60,
    }
    text = json_text(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(last >= bound)


if __name__ == "__main__":
    sys.exit(main())
