"""seqx: sequence modelling with plugins and recipes.

The names in this module are public; plugins import `seqx` and none of its submodules. A name is imported when
it is first used, so that `import seqx` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from seqx.commands.arguments import split_overrides as split_overrides
    from seqx.commands.component_option import component_from_option as component_from_option
    from seqx.commands.stdin_command import StdinCommand as StdinCommand
    from seqx.commands.stdin_command import stdin_command as stdin_command
    from seqx.constraints import Intersection as Intersection
    from seqx.constraints import LexicalConstraint as LexicalConstraint
    from seqx.constraints import LexicalGrammar as LexicalGrammar
    from seqx.constraints import Surfaces as Surfaces
    from seqx.errors import PluginError as PluginError
    from seqx.errors import RecipeError as RecipeError
    from seqx.errors import RegistrationError as RegistrationError
    from seqx.errors import UserError as UserError
    from seqx.errors import unwritable as unwritable
    from seqx.inference import Predictor as Predictor
    from seqx.inference import load as load
    from seqx.interfaces.codec import Codec as Codec
    from seqx.interfaces.embedding import ScaledEmbedding as ScaledEmbedding
    from seqx.interfaces.embedding import smallest_limit as smallest_limit
    from seqx.interfaces.learning import Callback as Callback
    from seqx.interfaces.learning import Grammar as Grammar
    from seqx.interfaces.learning import Objective as Objective
    from seqx.interfaces.learning import Optimizer as Optimizer
    from seqx.interfaces.learning import Schedule as Schedule
    from seqx.interfaces.learning import Search as Search
    from seqx.interfaces.nbest import Candidate as Candidate
    from seqx.interfaces.nbest import NBest as NBest
    from seqx.interfaces.nbest import sum_warnings as sum_warnings
    from seqx.interfaces.networks import Attention as Attention
    from seqx.interfaces.networks import Decoder as Decoder
    from seqx.interfaces.networks import Encoder as Encoder
    from seqx.interfaces.networks import Ensemble as Ensemble
    from seqx.interfaces.networks import Model as Model
    from seqx.interfaces.networks import PositionalEncoding as PositionalEncoding
    from seqx.interfaces.networks import Positioned as Positioned
    from seqx.interfaces.scores import perplexity as perplexity
    from seqx.interfaces.text import SPLITS as SPLITS
    from seqx.interfaces.text import Corpus as Corpus
    from seqx.interfaces.text import Metric as Metric
    from seqx.interfaces.text import Normalizer as Normalizer
    from seqx.interfaces.text import ProgressReporter as ProgressReporter
    from seqx.interfaces.text import Split as Split
    from seqx.interfaces.text import Task as Task
    from seqx.interfaces.text import TextModel as TextModel
    from seqx.interfaces.text import Tokenizer as Tokenizer
    from seqx.interfaces.values import BOS as BOS
    from seqx.interfaces.values import EOS as EOS
    from seqx.interfaces.values import PAD as PAD
    from seqx.interfaces.values import UNK as UNK
    from seqx.interfaces.values import WORDS as WORDS
    from seqx.interfaces.values import Answer as Answer
    from seqx.interfaces.values import AnswerWarning as AnswerWarning
    from seqx.interfaces.values import Batch as Batch
    from seqx.interfaces.values import Evaluation as Evaluation
    from seqx.interfaces.values import Example as Example
    from seqx.interfaces.values import Hypothesis as Hypothesis
    from seqx.interfaces.values import KeyValue as KeyValue
    from seqx.interfaces.values import Layers as Layers
    from seqx.interfaces.values import Layout as Layout
    from seqx.interfaces.values import Mask as Mask
    from seqx.interfaces.values import Memory as Memory
    from seqx.interfaces.values import Rejected as Rejected
    from seqx.interfaces.values import Request as Request
    from seqx.interfaces.values import Score as Score
    from seqx.interfaces.values import State as State
    from seqx.interfaces.values import Tokens as Tokens
    from seqx.interfaces.values import fork as fork
    from seqx.interfaces.values import per_layer as per_layer
    from seqx.interfaces.values import rows as rows
    from seqx.plugin.hooks import hookimpl as hookimpl
    from seqx.plugin.registry import Make as Make
    from seqx.plugin.registry import Registry as Registry
    from seqx.recipe.differences import differences as differences
    from seqx.run_folder import Record as Record
    from seqx.runtime.devices import has_bf16 as has_bf16
    from seqx.runtime.devices import to_device as to_device
    from seqx.storage.bounded_read import read_bounded as read_bounded
    from seqx.storage.bounded_read import read_bounded_json as read_bounded_json
    from seqx.storage.json_format import first_error as first_error
    from seqx.storage.json_format import json_text as json_text
    from seqx.storage.json_format import read_json_as as read_json_as
    from seqx.storage.json_format import read_json_lines as read_json_lines
    from seqx.storage.locks import file_lock as file_lock
    from seqx.storage.text_lines import expand_path as expand_path
    from seqx.storage.text_lines import read_lines as read_lines
    from seqx.storage.text_lines import read_standard_input as read_standard_input
    from seqx.tasks.metric import CorpusTask as CorpusTask
    from seqx.tasks.metric import MetricTask as MetricTask
    from seqx.tasks.metric import denormalize as denormalize
    from seqx.tasks.metric import normalize as normalize
    from seqx.tasks.seq2seq import Seq2SeqTask as Seq2SeqTask
    from seqx.training.run_info import Run as Run
    from seqx.training.update import Update as Update

_NAMES = {
    # interfaces that plugins implement, and registration
    "seqx.interfaces.networks": "Attention Ensemble Decoder Encoder Model Positioned PositionalEncoding",
    "seqx.interfaces.learning": "Callback Grammar Objective Optimizer Schedule Search",
    "seqx.interfaces.text": (
        "SPLITS Corpus Metric Normalizer ProgressReporter Split Task TextModel Tokenizer"
    ),
    "seqx.interfaces.codec": "Codec",
    "seqx.plugin.registry": "Make Registry",
    "seqx.plugin.hooks": "hookimpl",
    # values that components exchange, and what components share
    "seqx.interfaces.values": (
        "BOS EOS PAD UNK WORDS Answer AnswerWarning Batch Rejected Evaluation Example Hypothesis "
        "KeyValue Layers Layout Mask Memory Request Score State Tokens fork per_layer rows"
    ),
    "seqx.interfaces.nbest": "Candidate NBest sum_warnings",
    "seqx.interfaces.scores": "perplexity",
    "seqx.interfaces.embedding": "ScaledEmbedding smallest_limit",
    "seqx.runtime.devices": "has_bf16 to_device",
    # base classes of tasks, and constraints of answers
    "seqx.tasks.metric": "CorpusTask MetricTask denormalize normalize",
    "seqx.tasks.seq2seq": "Seq2SeqTask",
    "seqx.constraints": "Intersection LexicalGrammar Surfaces LexicalConstraint",
    # models and runs
    "seqx.inference": "Predictor load",
    "seqx.training.run_info": "Run",
    "seqx.training.update": "Update",
    "seqx.run_folder": "Record",
    "seqx.recipe.differences": "differences",
    # commands
    "seqx.commands.stdin_command": "StdinCommand stdin_command",
    "seqx.commands.arguments": "split_overrides",
    "seqx.commands.component_option": "component_from_option",
    # files
    "seqx.storage.text_lines": "expand_path read_lines read_standard_input",
    "seqx.storage.bounded_read": "read_bounded read_bounded_json",
    "seqx.storage.json_format": "first_error json_text read_json_as read_json_lines",
    "seqx.storage.locks": "file_lock",
    # errors
    "seqx.errors": "PluginError RecipeError RegistrationError UserError unwritable",
}
"""The public names by module, in groups for readers."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_MODULES)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"seqx has no {name!r}; public names: {', '.join(sorted(_MODULES))}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # the next access does not call this function
    return value


def __dir__() -> list[str]:
    return list(__all__)
