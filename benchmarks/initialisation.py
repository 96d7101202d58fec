"""Training of the paper's base model (six layers, post-norm) from its initialisation.

The model trains on Tatoeba for a few hundred updates of warm-up. The loss must fall below the entropy of the
token frequencies, which is the best loss of a model that ignores its input.

    SEQX_DATA=... python benchmarks/initialisation.py --folder /tmp/initialisation
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import seqx
from seqx.data.store import Store
from seqx.interfaces.scores import perplexity
from seqx.storage.cache_folder import default_cache
from seqx.storage.json_format import json_text

FILES = "${{SEQX_DATA}}/tatoeba_en_de/{split}.{language}.gz"


def overrides(updates: int, tokens: int) -> list[str]:
    """Return the overrides that train the base recipe on Tatoeba, with one validation at the end."""
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
        "search={type: greedy, ratio: 0, extra: 1}",  # short, because the outputs are not used
        "callbacks=[progress, {type: metrics, every: 10}]",
    ]


def entropy(store: Store) -> float:
    """Return the entropy of the frequencies of target tokens, in nats."""
    counts = np.bincount(store.columns["target"].values)
    frequencies = counts[counts > 0] / counts.sum()
    return float(-(frequencies * np.log(frequencies)).sum())


def main() -> int:
    """Train and print the losses; return 1 if the last loss is not below the entropy, else 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--folder", type=Path, required=True, help="run folder")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=1500, help="target tokens per update")
    parser.add_argument("--out", type=Path, help="file for the JSON record")
    arguments = parser.parse_args()
    recipe = ["recipes/wmt_en_de.yaml", "--folder", str(arguments.folder)]
    command = [sys.executable, "-m", "seqx", "run", *recipe]
    start_time = time.monotonic()
    subprocess.run([*command, *overrides(arguments.updates, arguments.tokens)], check=True)
    losses = {line["step"]: line["loss"] for line in seqx.MetricsFile(arguments.folder).read().updates}
    stores = [path.parent for path in default_cache().glob("*/index.json")]
    newest = max(stores, key=lambda path: path.stat().st_mtime)
    bound = entropy(Store.open(newest))
    last = losses[max(losses)]
    record = {
        "unigram_entropy": bound,
        "losses": losses,
        "last": last,
        "perplexity": perplexity(last),
        "minutes": (time.monotonic() - start_time) / 60,
    }
    text = json_text(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(last >= bound)


if __name__ == "__main__":
    sys.exit(main())
