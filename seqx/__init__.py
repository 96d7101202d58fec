"""seqx: sequence modelling with plugins and recipes.

The names in this module are public; plugins import `seqx` and none of its submodules. A name is imported when
it is first used, so that `import seqx` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The only list of public names. Type checkers read these imports, and `_modules` reads them as text.
if TYPE_CHECKING:  # interfaces of networks
    from seqx.interfaces.input_layer import InputLayer as InputLayer
    from seqx.interfaces.input_layer import source_input as source_input
    from seqx.interfaces.networks import Attention as Attention
    from seqx.interfaces.networks import Decoder as Decoder
    from seqx.interfaces.networks import Encoder as Encoder
    from seqx.interfaces.networks import Ensemble as Ensemble
    from seqx.interfaces.networks import Generator as Generator
    from seqx.interfaces.networks import Integers as Integers
    from seqx.interfaces.networks import Model as Model
    from seqx.interfaces.networks import PositionalEncoding as PositionalEncoding
    from seqx.interfaces.networks import Positioned as Positioned
    from seqx.interfaces.slots import Slots as Slots

if TYPE_CHECKING:  # interfaces of training and decoding
    from seqx.interfaces.learning import Callback as Callback
    from seqx.interfaces.learning import Grammar as Grammar
    from seqx.interfaces.learning import Objective as Objective
    from seqx.interfaces.learning import Optimizer as Optimizer
    from seqx.interfaces.learning import Schedule as Schedule
    from seqx.interfaces.learning import ScoreProcessor as ScoreProcessor
    from seqx.interfaces.learning import Search as Search

if TYPE_CHECKING:  # parallel strategies
    from seqx.parallel.ddp import DDP as DDP
    from seqx.parallel.fsdp import FSDP as FSDP
    from seqx.parallel.parallelism import Parallelism as Parallelism
    from seqx.parallel.parallelism import Step as Step
    from seqx.parallel.process_group import World as World

if TYPE_CHECKING:  # interfaces of text and tasks
    from seqx.interfaces.codec import Codec as Codec
    from seqx.interfaces.starting_point import StartingPoint as StartingPoint
    from seqx.interfaces.task import Split as Split
    from seqx.interfaces.task import Task as Task
    from seqx.interfaces.task import TextModel as TextModel
    from seqx.interfaces.text import SPLITS as SPLITS
    from seqx.interfaces.text import Corpus as Corpus
    from seqx.interfaces.text import Metric as Metric
    from seqx.interfaces.text import Normalizer as Normalizer
    from seqx.interfaces.text import ProgressReporter as ProgressReporter
    from seqx.interfaces.text import RequiredData as RequiredData
    from seqx.interfaces.text import Tokenizer as Tokenizer

if TYPE_CHECKING:  # descriptions of components for exporters
    from seqx.interfaces.specification import AttentionSpec as AttentionSpec
    from seqx.interfaces.specification import EmbeddingSpec as EmbeddingSpec
    from seqx.interfaces.specification import FeedForwardSpec as FeedForwardSpec
    from seqx.interfaces.specification import LayerSpec as LayerSpec
    from seqx.interfaces.specification import LinearSpec as LinearSpec
    from seqx.interfaces.specification import ModelSpec as ModelSpec
    from seqx.interfaces.specification import NormSpec as NormSpec
    from seqx.interfaces.specification import PositionsSpec as PositionsSpec
    from seqx.interfaces.specification import SearchSpec as SearchSpec
    from seqx.interfaces.specification import StackSpec as StackSpec
    from seqx.interfaces.specification import TextSpec as TextSpec
    from seqx.interfaces.specification import TokenizerSpec as TokenizerSpec
    from seqx.interfaces.specification import UnspecifiedError as UnspecifiedError
    from seqx.interfaces.specification import describe as describe

if TYPE_CHECKING:  # formats of other programs
    from seqx.interfaces.exchange import Engine as Engine
    from seqx.interfaces.exchange import Exporter as Exporter
    from seqx.interfaces.exchange import ImportedModel as ImportedModel
    from seqx.interfaces.exchange import Importer as Importer
    from seqx.interfaces.exchange import TrainedModel as TrainedModel

if TYPE_CHECKING:  # tensors and their layout
    from seqx.interfaces.tensors import Batch as Batch
    from seqx.interfaces.tensors import Column as Column
    from seqx.interfaces.tensors import Features as Features
    from seqx.interfaces.tensors import KeyValue as KeyValue
    from seqx.interfaces.tensors import Layout as Layout
    from seqx.interfaces.tensors import Mask as Mask
    from seqx.interfaces.tensors import Memory as Memory
    from seqx.interfaces.tensors import State as State
    from seqx.interfaces.tensors import fork as fork
    from seqx.interfaces.tensors import rows as rows

if TYPE_CHECKING:  # token ids, examples, answers and scores
    from seqx.interfaces.learning import Hypothesis as Hypothesis
    from seqx.interfaces.learning import SearchTrace as SearchTrace
    from seqx.interfaces.learning import TracedHypothesis as TracedHypothesis
    from seqx.interfaces.mistakes import Drawing as Drawing
    from seqx.interfaces.mistakes import Mistake as Mistake
    from seqx.interfaces.mistakes import MistakeGroup as MistakeGroup
    from seqx.interfaces.mistakes import ReportTable as ReportTable
    from seqx.interfaces.scores import Answer as Answer
    from seqx.interfaces.scores import AnswerWarning as AnswerWarning
    from seqx.interfaces.scores import Evaluation as Evaluation
    from seqx.interfaces.scores import Interval as Interval
    from seqx.interfaces.scores import Score as Score
    from seqx.interfaces.scores import Significance as Significance
    from seqx.interfaces.scores import main_scores as main_scores
    from seqx.interfaces.scores import perplexity as perplexity
    from seqx.interfaces.scores import signature_settings as signature_settings
    from seqx.interfaces.task import Candidate as Candidate
    from seqx.interfaces.task import Example as Example
    from seqx.interfaces.task import InputError as InputError
    from seqx.interfaces.task import Inputs as Inputs
    from seqx.interfaces.task import NBest as NBest
    from seqx.interfaces.task import Rejected as Rejected
    from seqx.interfaces.task import Request as Request
    from seqx.interfaces.task import Values as Values
    from seqx.interfaces.task import sum_warnings as sum_warnings
    from seqx.interfaces.tensors import BOS as BOS
    from seqx.interfaces.tensors import EOS as EOS
    from seqx.interfaces.tensors import PAD as PAD
    from seqx.interfaces.tensors import UNK as UNK
    from seqx.interfaces.tensors import WORDS as WORDS

if TYPE_CHECKING:  # parts of networks
    from seqx.interfaces.tensors import Layers as Layers
    from seqx.interfaces.tensors import ScaledEmbedding as ScaledEmbedding
    from seqx.interfaces.tensors import per_layer as per_layer
    from seqx.interfaces.tensors import smallest_limit as smallest_limit
    from seqx.interfaces.tensors import word_states as word_states
    from seqx.runtime.cpu_threads import cpus as cpus
    from seqx.runtime.devices import copy_to_host as copy_to_host
    from seqx.runtime.devices import to_device as to_device
    from seqx.runtime.devices import true_indices as true_indices
    from seqx.runtime.packed_weights import PackedWeight as PackedWeight
    from seqx.runtime.precision import has_bf16 as has_bf16

if TYPE_CHECKING:  # losses over target tokens
    from seqx.training.chunked_loss import TokenLoss as TokenLoss
    from seqx.training.chunked_loss import chunked_loss as chunked_loss
    from seqx.training.chunked_loss import outputs_before_targets as outputs_before_targets
    from seqx.training.chunked_loss import target_ids as target_ids

if TYPE_CHECKING:  # parts of tasks
    from seqx.tasks.columns import missing_column as missing_column
    from seqx.tasks.columns import select_columns as select_columns
    from seqx.tasks.label_mistakes import LabelPair as LabelPair
    from seqx.tasks.label_mistakes import label_mistakes as label_mistakes
    from seqx.tasks.metric import CorpusTask as CorpusTask
    from seqx.tasks.metric import MetricTask as MetricTask
    from seqx.tasks.metric import answer_significance as answer_significance
    from seqx.tasks.metric import score_answers as score_answers
    from seqx.tasks.seq2seq import GenerationTask as GenerationTask
    from seqx.tasks.seq2seq import Seq2SeqTask as Seq2SeqTask
    from seqx.tasks.seq2seq import TextPairTask as TextPairTask
    from seqx.tasks.seq2seq import denormalize as denormalize
    from seqx.tasks.seq2seq import normalize as normalize

if TYPE_CHECKING:  # parts of grammars
    from seqx.constraints import Intersection as Intersection
    from seqx.constraints import LexicalConstraint as LexicalConstraint
    from seqx.constraints import LexicalGrammar as LexicalGrammar
    from seqx.constraints import Surfaces as Surfaces

if TYPE_CHECKING:  # registration, and the arguments of callbacks
    from seqx.plugin.hooks import hookimpl as hookimpl
    from seqx.plugin.notebook import notebook_html as notebook_html
    from seqx.plugin.registry import Make as Make
    from seqx.plugin.registry import Registry as Registry
    from seqx.training.optional_callback import OptionalCallback as OptionalCallback
    from seqx.training.run_info import Run as Run
    from seqx.training.update import Update as Update

if TYPE_CHECKING:  # models, runs and recipes
    from seqx.commands.loading import resolved_recipe as resolved_recipe
    from seqx.commands.recipe_run import run as run
    from seqx.commands.recorded_answers import RecordedAnswers as RecordedAnswers
    from seqx.inference import Predictor as Predictor
    from seqx.inference import load as load
    from seqx.inference.attention_maps import AttentionMaps as AttentionMaps
    from seqx.inference.parts import InputParts as InputParts
    from seqx.recipe.differences import differences as differences
    from seqx.recipe.overrides import parsed_override as parsed_override
    from seqx.recipe.yaml_tree import read_yaml as read_yaml
    from seqx.run_record import Record as Record
    from seqx.storage.metrics_file import MetricsFile as MetricsFile
    from seqx.storage.metrics_file import MetricsLine as MetricsLine
    from seqx.storage.metrics_file import RecordedMetrics as RecordedMetrics
    from seqx.storage.metrics_file import ScoreLine as ScoreLine

if TYPE_CHECKING:  # commands
    from seqx.commands.arguments import device_option as device_option
    from seqx.commands.arguments import profile_option as profile_option
    from seqx.commands.arguments import split_overrides as split_overrides
    from seqx.commands.arguments import trust_option as trust_option
    from seqx.commands.component_option import component_from_option as component_from_option
    from seqx.commands.loading import CheckedRecipe as CheckedRecipe
    from seqx.commands.loading import is_finished as is_finished
    from seqx.commands.loading import load_checked as load_checked
    from seqx.commands.markdown_table import markdown_table as markdown_table
    from seqx.commands.model_options import ModelOptions as ModelOptions
    from seqx.commands.model_options import model_options as model_options
    from seqx.commands.output_path import OutputPath as OutputPath
    from seqx.commands.replay import Replay as Replay
    from seqx.commands.replayed_update import ReplayedBatch as ReplayedBatch
    from seqx.commands.replayed_update import ReplayedExample as ReplayedExample
    from seqx.commands.replayed_update import ReplayedLoss as ReplayedLoss
    from seqx.commands.replayed_update import ReplayedWeights as ReplayedWeights
    from seqx.commands.request_lines import RequestLines as RequestLines
    from seqx.commands.request_lines import request_options as request_options
    from seqx.commands.stdin_command import StdinCommand as StdinCommand
    from seqx.commands.stdin_command import stdin_command as stdin_command
    from seqx.commands.text_format import format_duration as format_duration
    from seqx.commands.text_format import format_long_duration as format_long_duration
    from seqx.commands.text_format import format_number as format_number
    from seqx.commands.trial import Trial as Trial
    from seqx.commands.trial import TrialUpdates as TrialUpdates
    from seqx.commands.trial import largest_microbatches as largest_microbatches
    from seqx.commands.trial import update_microbatches as update_microbatches
    from seqx.runtime.signals import StopRequest as StopRequest

if TYPE_CHECKING:  # optional extras
    from seqx.runtime.extras import import_extra as import_extra

if TYPE_CHECKING:  # errors
    from seqx.errors import NotFiniteError as NotFiniteError
    from seqx.errors import OtherRecipeError as OtherRecipeError
    from seqx.errors import PluginError as PluginError
    from seqx.errors import RecipeError as RecipeError
    from seqx.errors import RegistrationError as RegistrationError
    from seqx.errors import UserError as UserError
    from seqx.errors import unwritable as unwritable

if TYPE_CHECKING:  # files and JSON
    from seqx.storage.append_only_file import AppendOnlyFile as AppendOnlyFile
    from seqx.storage.atomic import atomic_file as atomic_file
    from seqx.storage.atomic import write_atomically as write_atomically
    from seqx.storage.bounded_read import read_bounded as read_bounded
    from seqx.storage.bounded_read import read_bounded_json as read_bounded_json
    from seqx.storage.cache_folder import default_cache as default_cache
    from seqx.storage.json_format import first_error as first_error
    from seqx.storage.json_format import json_text as json_text
    from seqx.storage.json_format import read_json_as as read_json_as
    from seqx.storage.json_format import read_json_lines as read_json_lines
    from seqx.storage.locks import file_lock as file_lock
    from seqx.storage.locks import folder_lock as folder_lock
    from seqx.storage.text_lines import expand_path as expand_path
    from seqx.storage.text_lines import read_lines as read_lines
    from seqx.storage.text_lines import read_parts as read_parts
    from seqx.storage.text_lines import read_standard_input as read_standard_input


def _modules() -> dict[str, str]:
    """Return the public names with the modules that define them, from the imports above."""
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123  pathlib would make the import slower
        lines = [line.split() for line in file if line.startswith("    from ")]
    return {name: module for _, module, _, name, _, _ in lines}


_MODULES = _modules()

__all__ = ["__version__", *sorted(_MODULES)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"seqx has no {name!r}; public names: {', '.join(sorted(_MODULES))}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # the next access does not call this function
    return value


def __dir__() -> list[str]:
    return list(__all__)
