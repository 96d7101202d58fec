"""Small models with random weights, written as a run would write them."""

from pathlib import Path

import torch
from safetensors.torch import save_model

from seqx import recipe
from seqx.inference.loading import InferenceRecipe
from seqx.plugin.environment import environment
from seqx.plugin.loading import load_plugins
from seqx.storage import model_folder
from seqx.storage.weights import average

RECIPE = """\
task:
  type: translation
  corpus: {type: sample, train: 300, dev: 6, test: 6}
  tokenizer: {type: sentencepiece, model: bpe, size: 400}
  metrics: [bleu, chrf]
  max_length: 24
model:
  type: encoder_decoder
  d_model: 32
  tie_embeddings: all
  embedding_std: 0.5
  encoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
  decoder: {type: transformer, layers: 1, attention: {type: multihead, heads: 2}}
search: {type: beam, size: 3, extra: 4}
"""

PARSING = """\
task:
  type: parsing
  corpus: {type: sample, columns: [tree], train: 300, dev: 6, test: 6}
  tokenizer: {type: sentencepiece, model: unigram, size: 400}
  linearisation: top_down
  tags: predicted
  metrics: [evalb, {type: evalb, strict: true}]
model:
  type: tagging
  inner:
    type: encoder_decoder
    d_model: 16
    encoder:
      type: transformer
      layers: 1
      attention: {type: multihead, heads: 2}
      feedforward: {type: relu, width: 32}
    decoder:
      type: transformer
      layers: 1
      attention: {type: multihead, heads: 2}
      feedforward: {type: relu, width: 32}
search: {type: beam, size: 3, ratio: 2, extra: 20}
"""


def write_model(folder: Path, *, seed: int = 0, text: str = RECIPE, learnt: Path | None = None) -> Path:
    """A model's folder; `learnt` is the `task` folder of another one, whose vocabulary it shares."""
    file = folder.parent / f"{folder.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    found = load_plugins()
    made = recipe.check(recipe.load(file).tree, found.registry, InferenceRecipe)
    experiment = made()
    if learnt is None:
        learnt = folder.parent / f"{folder.name}-vocabulary"
        learnt.mkdir()
        experiment.task.learn(learnt, lambda _what, _share: None)
    experiment.task.load(learnt)
    torch.manual_seed(seed)
    model = experiment.model(experiment.task.vocab_sizes)
    weights = folder.parent / f"{folder.name}.safetensors"
    save_model(model, str(weights))
    model_folder.write_model(
        folder, average([weights]), recipe=text, vocabulary=learnt, info=environment(found)
    )
    return folder
