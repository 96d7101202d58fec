"""Sequence tagging: one label per word, as a task, or beside another task of a model."""

import seqx
from seqx_tagging.conll import Conll
from seqx_tagging.metrics import SpanF1, TagAccuracy
from seqx_tagging.tagger import Tagger
from seqx_tagging.task import Tagging
from seqx_tagging.token_labels import TaggingModel, TaggingObjective

__all__ = ["Conll", "SpanF1", "TagAccuracy", "Tagger", "Tagging", "TaggingModel", "TaggingObjective"]


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    """Register the task, the models, the objective, the metrics and the corpus."""
    registry.add(seqx.Task, tagging=Tagging)
    registry.add(seqx.Model, tagger=Tagger, tagging=TaggingModel)
    registry.add(seqx.Objective, tagged=TaggingObjective)
    registry.add(seqx.Metric, span_f1=SpanF1, tag_accuracy=TagAccuracy)
    registry.add(seqx.Corpus, conll=Conll)
