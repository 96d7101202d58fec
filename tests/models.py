"""Model folders of small models with random weights."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_model
from torch import nn

import seqx
from seqx import recipe
from seqx.inference.loading import InferenceRecipe
from seqx.plugin.environment import environment
from seqx.plugin.loading import load_plugins
from seqx.storage import model_folder
from seqx.storage.weights import average

# An untrained model seldom ends an output before it has the maximum length, so this length is small.
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
search: {type: beam, size: 3, ratio: 0.25, extra: 4}
"""

_VOCABULARIES: dict[str, tempfile.TemporaryDirectory[str]] = {}
"""The vocabularies of tasks on the sample that this process has learned, by task."""

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


def write_model(
    folder: Path,
    *,
    seed: int = 0,
    text: str = RECIPE,
    vocabulary: Path | None = None,
    change: Callable[[nn.Module], None] = lambda _: None,
) -> Path:
    """Write a model folder.

    Args:
        folder: folder to write
        seed: seed of the weights
        text: recipe
        vocabulary: `task` folder of another model, whose vocabulary is used; None: learn one
        change: changes the weights
    """
    file = folder.parent / f"{folder.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    plugins = load_plugins()
    experiment = recipe.check(recipe.load(file).tree, plugins.registry, InferenceRecipe)()
    if vocabulary is None:
        vocabulary = folder.parent / f"{folder.name}-vocabulary"
        _learn(experiment.task, vocabulary, text)
    experiment.task.load(vocabulary)
    torch.manual_seed(seed)
    model = experiment.model(experiment.task.vocab_sizes)
    with torch.no_grad():
        change(model)
    weights = folder.parent / f"{folder.name}.safetensors"
    save_model(model, str(weights))
    model_folder.write_model(
        folder, average([weights]), recipe=text, vocabulary=vocabulary, info=environment(plugins)
    )
    return folder


def _learn(task: seqx.Task, vocabulary: Path, text: str) -> None:
    """Write the vocabulary of a recipe's task. That of a task on the sample, which is constant, is kept."""
    settings = yaml.safe_load(text)["task"]
    known = _VOCABULARIES.get(str(settings))
    if known is not None:
        shutil.copytree(Path(known.name, "task"), vocabulary)
        return
    vocabulary.mkdir()
    task.learn(vocabulary, lambda _, __: None)
    if settings["corpus"] == "sample" or settings["corpus"]["type"] == "sample":
        known = _VOCABULARIES[str(settings)] = tempfile.TemporaryDirectory()
        shutil.copytree(vocabulary, Path(known.name, "task"))
