"""The included plugins obey the laws."""

import atexit
import hashlib
import importlib
import tempfile
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import seqx.testing
import seqx_convolution
import seqx_models
import seqx_parsing
import seqx_recurrent
import seqx_sample
import seqx_search
import seqx_tagging
import seqx_text
import seqx_text_tasks
import seqx_training
import seqx_transformer
import seqx_transformer.testing
import seqx_translation
import seqx_watch
from seqx.testing.text import LINES
from tests.plugins.parsing.test_treebanks import TREE, release
from tests.plugins.translation.test_wmt14 import CRAWL, tar

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"][
    "entry-points"
]["seqx"]
PLUGIN_GROUP = [importlib.import_module(module) for module in sorted(set(ENTRY_POINTS.values()))]

SMALL: dict[str, Any] = {
    "layers": 2,
    "attention": partial(seqx_transformer.MultiHeadAttention, heads=4),
    "feedforward": partial(seqx_transformer.ReLU, width=24),
}
PRE_NORM = SMALL | {
    "attention": [
        partial(seqx_transformer.MultiHeadAttention, heads=2, d_k=k, d_v=5, bias=True) for k in (3, 4)
    ],
    "feedforward": seqx_transformer.Gated,
    "norm": seqx_transformer.RMSNorm,
    "norm_order": "pre",
    "residual_scale": 1.5,
    "positions": seqx_transformer.Learned,
    "initialisation": seqx_transformer.Normal,
}
# One layer is enough for the laws of models, because the laws of stacks use two.
ONE_LAYER = SMALL | {"layers": 1}
STACKS: dict[str, Any] = {
    "d_model": 16,
    "encoder": partial(seqx_transformer.TransformerEncoder, **ONE_LAYER),
    "decoder": partial(seqx_transformer.TransformerDecoder, **ONE_LAYER),
}
CONVOLUTION: dict[str, Any] = {
    "layers": 3,
    "width": [8, 12, 12],
    "kernel": [3, 1, 4],
    "positions": seqx_transformer.Learned,
}
RECURRENT: dict[str, Any] = {"layers": 2, "attention": partial(seqx_transformer.MultiHeadAttention, heads=2)}
SAMPLE = seqx_sample.Sample(train=200, dev=20, test=20)
TOKENIZER = seqx_text.SentencePiece(size=400)


def temporary_folder() -> Path:
    """Create a temporary folder without a fixture, because pytest collects the laws before fixtures exist."""
    temporary = tempfile.TemporaryDirectory()
    atexit.register(temporary.cleanup)
    return Path(temporary.name)


def conll() -> dict[str, Any]:
    """Write words and tags in columns; return the settings that read them."""
    file = temporary_folder() / "words.txt"
    file.write_text("Time NN B-NP\nflies VBZ O\n\n# an arrow\nAn\tDT\tB-NP\narrow\tNN\tI-NP\n")
    return dict.fromkeys(("train", "dev", "test"), str(file))


def treebanks() -> dict[Any, dict[str, Any]]:
    """Write small treebanks in the layouts of the LDC and NLTK; return the settings that read them."""
    folder = release(temporary_folder(), {2: 5, 3: 3, 4: 3})
    combined = folder / "corpora/treebank/combined"
    combined.mkdir(parents=True)
    for number in (1, 2, 3):
        (combined / f"wsj_{number:04}.mrg").write_text(TREE.format(number) * 3, encoding="utf-8")
    files = [str(file) for file in sorted(combined.iterdir())]
    sections = {"train": [2], "dev": [3], "test": [4]}
    numbers = {"train": (1, 1), "dev": (2, 2), "test": (3, 3)}
    return {
        seqx_parsing.NltkTreebank: {"folder": str(folder), **numbers},
        seqx_parsing.PennTreebank: {"folder": str(folder), **sections},
        seqx_parsing.TreebankFiles: {"train": files[:2], "dev": files[1:], "test": files[2:], "limit": 4},
    }


def text_file(name: str) -> Path:
    """Write a table, a translation memory or a SentencePiece model into a temporary folder."""
    folder = Path(temporary_folder())
    pairs = [(f"word {i}", f"Wort {i}") for i in range(9)]
    if name == "table.tsv":
        text = "en\tde\n" + "".join(f"{en}\t{de}\n" for en, de in pairs)
    else:
        segments = (
            f'<tu><tuv xml:lang="en"><seg>{en}</seg></tuv><tuv xml:lang="de"><seg>{de}</seg></tuv></tu>\n'
            for en, de in pairs
        )
        text = f"<tmx><body>{''.join(segments)}</body></tmx>"
    (folder / name).write_text(text, "utf-8")
    if name == "model.spm":
        tokenizer = seqx_text.SentencePiece(size=340)
        tokenizer.learn(LINES, folder)
        (folder / "sentencepiece.model").rename(folder / name)
    return folder / name


def same_splits(name: str) -> dict[str, Any]:
    """Return the settings of a corpus with English and German columns, whose splits are one file."""
    files = [str(text_file(name))]
    return {"columns": ["en", "de"], "train": files, "dev": files, "test": files}


def wmt14() -> dict[str, Any]:
    """Write a small local archive in place of the download; return the settings that use it."""
    content = tar(CRAWL)
    folder = temporary_folder()
    (folder / "crawl.tgz").write_bytes(content)
    archive = seqx_translation.Archive(
        url="https://nowhere.invalid/crawl.tgz",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        members={name[-2:]: name for name in CRAWL},
    )
    return {"archives": [archive], "local": folder, "heldout": SAMPLE}


test_pre_norm = seqx.testing.laws(
    seqx_transformer,
    settings={
        seqx_transformer.TransformerDecoder: PRE_NORM,
        seqx_transformer.TransformerEncoder: PRE_NORM,
    },
    without=[
        maker
        for maker in vars(seqx_transformer).values()
        if maker not in (seqx_transformer.TransformerDecoder, seqx_transformer.TransformerEncoder)
    ],
)
test_convolutional_language_model = seqx.testing.laws(
    seqx_convolution,
    settings={seqx_convolution.ConvolutionDecoder: CONVOLUTION | {"attention": None}},
    without=[seqx_convolution.ConvolutionEncoder],
)
test_recurrent_orders_and_directions = seqx.testing.laws(
    seqx_recurrent,
    settings={
        seqx_recurrent.GRUDecoder: RECURRENT | {"order": "bahdanau", "initial": "first", "residual": True},
        seqx_recurrent.GRUEncoder: {"layers": 3, "bidirectional": "first", "residual": True},
        seqx_recurrent.LSTMDecoder: RECURRENT | {"input_feeding": True, "initial": "last"},
        seqx_recurrent.LSTMEncoder: {"bidirectional": "none", "residual": True},
    },
)
test_recurrent_language_model = seqx.testing.laws(
    seqx_recurrent,
    settings={
        seqx_recurrent.GRUDecoder: {"attention": None, "initial": None},
        seqx_recurrent.LSTMDecoder: {"attention": None, "initial": None},
    },
    without=[seqx_recurrent.GRUEncoder, seqx_recurrent.LSTMEncoder],
)
test_laws = seqx.testing.laws(
    *PLUGIN_GROUP,
    settings=treebanks()
    | {
        seqx_convolution.ConvolutionDecoder: CONVOLUTION
        | {"attention": seqx_transformer.MultiHeadAttention, "source_positions": seqx_transformer.Sinusoidal},
        seqx_convolution.ConvolutionEncoder: CONVOLUTION,
        seqx.OptionalCallback: {"callback": seqx_watch.Metrics},
        seqx_models.Classifier: {"d_model": 16, "encoder": STACKS["encoder"]},
        seqx_models.DecoderOnly: {
            "d_model": 16,
            "decoder": partial(seqx_transformer.TransformerDecoder, **ONE_LAYER, use_source=False),
        },
        seqx_models.EncoderDecoder: STACKS,
        seqx_parsing.GuidedEncoderDecoder: STACKS | {"column": "target"},
        seqx_parsing.Parsing: {
            "corpus": seqx_sample.Sample(train=200, dev=20, test=20, columns=("tree",)),
            "tokenizer": TOKENIZER,
            "linearisation": seqx_parsing.TopDown(),
            "metrics": [seqx_parsing.Evalb()],
        },
        seqx_tagging.TaggingObjective: {"inner": seqx_training.CrossEntropy(), "column": "source"},
        seqx_tagging.TaggingModel: {
            "inner": partial(seqx_models.EncoderDecoder, **STACKS),
            "column": "source",
        },
        seqx_recurrent.GRUDecoder: RECURRENT,
        seqx_recurrent.LSTMDecoder: RECURRENT,
        seqx_sample.Sample: {"train": 50, "dev": 5, "test": 5},
        seqx_search.MinLength: {"length": 2},
        seqx_search.NoRepeatNgram: {"size": 2},
        seqx_tagging.Conll: conll(),
        seqx_tagging.Tagger: {"d_model": 16, "encoder": STACKS["encoder"]},
        seqx_tagging.Tagging: {
            "corpus": seqx_sample.Sample(train=100, dev=10, test=10, columns=("words", "chunks")),
            "tokenizer": TOKENIZER,
            "metrics": [seqx_tagging.SpanF1(), seqx_tagging.TagAccuracy()],
        },
        seqx_text.Marian: {"size": 80, "symbols": (">>fra<<",)},
        seqx_text.Files: dict.fromkeys(("train", "dev", "test"), [str(ROOT / "pyproject.toml")] * 2),
        seqx_text.Mixed: {"corpora": [SAMPLE, seqx_sample.Sample(train=5, dev=0, test=0, seed=2)]},
        seqx_text.MosesPunctuation: {"lang": "en"},
        seqx_text.MosesTokens: {"lang": "de"},
        seqx_text.SentencePiece: {"size": 340},
        seqx_text.SentencePieceFile: {"file": str(text_file("model.spm"))},
        seqx_text.Table: same_splits("table.tsv"),
        seqx_text.Tmx: same_splits("memory.tmx"),
        seqx_text_tasks.Classification: {
            "corpus": seqx_sample.Sample(train=200, dev=20, test=20, columns=("en", "tense")),
            "tokenizer": TOKENIZER,
            "metrics": [seqx_text.Accuracy(), seqx_text.F1()],
        },
        seqx_text_tasks.LanguageModel: {"corpus": SAMPLE, "tokenizer": TOKENIZER, "max_length": 24},
        seqx_text_tasks.TextToText: {
            "corpus": seqx_sample.Sample(train=200, dev=20, test=20, columns=("tense", "en", "gist")),
            "tokenizer": TOKENIZER,
            "template": "tense: {0} sentence: {1}",
            "target": 2,
            "metrics": [seqx_text.Rouge()],
        },
        seqx_text.TaggedCorpus: {"corpus": SAMPLE, "tag": "<2de>"},
        seqx_transformer.Combined: {
            "encodings": [seqx_transformer.Sinusoidal, seqx_transformer.Rotary, seqx_transformer.Shaw]
        },
        seqx_transformer.RestrictedAttention: {"window": 2},
        seqx_transformer.DeepNorm: {"beta": 0.5},
        seqx_transformer.TransformerDecoder: SMALL,
        seqx_transformer.TransformerEncoder: SMALL,
        seqx_translation.Translation: {
            "corpus": SAMPLE,
            "tokenizer": TOKENIZER,
            "metrics": [seqx_text.Chrf()],
        },
        seqx_translation.Wmt14: wmt14(),
    },
    without=[
        seqx_tagging.SpanF1,  # it needs tags, and these laws pass text
        seqx_text.Datasets,  # its package loads slowly
        seqx_text.MTData,  # its index takes half a minute to build
    ],
)
