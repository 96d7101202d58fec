"""Small models with random weights for the tests of exporters."""

import contextlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

import seqx
import seqx_transformer
from seqx.inference.exchange import trained_model
from tests.models import write_model

TRANSLATION = """\
task:
  type: translation
  corpus: {{type: sample, train: 300, dev: 6, test: 6}}
  tokenizer: {{type: sentencepiece, size: 400}}
  metrics: [bleu]
  max_length: 24
model:
  type: encoder_decoder
  d_model: 16
  embedding_std: 1.5
  {model}
  encoder: {{type: transformer, layers: 2, {stack}}}
  decoder: {{type: transformer, layers: 2, {stack}}}
search: {{type: beam, size: 3, alpha: 0, extra: 4}}
"""

MARIAN = TRANSLATION.replace(
    "{{type: sentencepiece, size: 400}}", "{{type: marian, size: 400, symbols: ['>>fra<<']}}"
).replace("layers: 2", "layers: 1")
"""A recipe whose ids are not those of its SentencePiece model, and whose sources begin with a language."""

LANGUAGE_MODEL = """\
task:
  type: language_model
  corpus: {{type: sample, train: 300, dev: 6, test: 6}}
  tokenizer: {{type: sentencepiece, size: 400}}
  max_length: 24
model:
  type: decoder_only
  d_model: 16
  embedding_std: 1.5
  {model}
  decoder: {{type: transformer, use_source: false, layers: 2, {stack}}}
search: {{type: beam, size: 3, alpha: 0, extra: 4}}
"""


def random_model(
    folder: Path,
    stack: str = "attention: {type: multihead, heads: 2}",
    model: str = "tie_embeddings: all",
    *,
    recipe: str = TRANSLATION,
    vocabulary: Path | None = None,
) -> seqx.TrainedModel:
    """Return a model whose parameters, those of norms and biases included, are all random.

    Args:
        folder: a new folder for the model
        stack: settings of encoder and decoder
        model: settings of the model
        recipe: the recipe without these
        vocabulary: the `task` folder of another model; None: learn one
    """
    write_model(
        folder, text=recipe.format(stack=stack, model=model), vocabulary=vocabulary, change=_randomize
    )
    predictor = seqx.load(folder, device="cpu", precision="fp32")
    return trained_model(folder, predictor.task, predictor.model, predictor.search)


def run_card(exporter: seqx.Exporter, model: seqx.TrainedModel, folder: Path) -> dict[str, Any]:
    """Export a model to a new folder, run the code of its model card there, and return the variables."""
    folder.mkdir()
    exporter.write(model, folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(code, names)
    return names


def _randomize(model: nn.Module) -> None:
    """Draw the parameters of norms and biases. With learned positions, EOS is probable after 5 tokens."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.normal_(0.8, 0.3)
    *_, embeddings = (module for module in model.modules() if isinstance(module, seqx.ScaledEmbedding))
    for positions in (module for module in model.modules() if isinstance(module, seqx_transformer.Learned)):
        steps = torch.arange(positions.limit or 0)[:, None]
        positions.table.add_(steps.sub(5).clamp(0, 8) * 2 * embeddings.weight[seqx.EOS])
