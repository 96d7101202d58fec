"""The format ONNX: an encoder and a decoder with a cache, as graphs.

Letters in shapes: B sentences, S source tokens, T earlier target tokens, H heads, K the width of a head, V
symbols of the vocabulary.
"""

import copy
import json
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import seqx
from seqx_transformer.attention import EAGER, MultiHeadAttention
from seqx_transformer.export import common
from seqx_transformer.export.card import write_card
from seqx_transformer.export.scores import check_scores
from seqx_transformer.slots import TransformerState

_CODE = """\
import json
import numpy as np
import onnxruntime
import sentencepiece

encoder, decoder = (onnxruntime.InferenceSession(f"{name}.onnx") for name in ("encoder", "decoder"))
source, target = (sentencepiece.SentencePieceProcessor(f"{side}.spm") for side in ("source", "target"))
with open("symbols.json", encoding="utf-8") as file:
    symbols = json.load(file)
known = {symbol: i for i, symbol in enumerate(symbols["source"])}
tokens = [%s*source.encode("This is a test.", out_type=str)]
ids = [max(3, known.get(token, 3)) for token in tokens]  # 3 is an unknown token
ids = np.array([[*ids, 2]])  # 2 ends a sentence
memory = {"keep": np.ones_like(ids, bool)}
names = [output.name for output in encoder.get_outputs()]
memory |= zip(names, encoder.run(None, {"ids": ids, **memory}))
empty = [i for i in decoder.get_inputs() if "past" in i.name]
past = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in empty}
output = [1]  # 1 begins a sentence
while output[-1] != 2 and len(output) < 60:
    logits, *present = decoder.run(None, {"ids": np.array([output[-1:]]), **memory, **past})
    past = dict(zip(past, present))
    output.append(2 + int(logits[0, 2:].argmax()))
print(target.decode([symbols["target"][i] for i in output if i > 3]))
"""


class Onnx(seqx.Exporter):
    """The graphs `encoder.onnx` and `decoder.onnx`, which ONNX Runtime computes.

    The encoder maps a source to the keys and values that the decoder attends to. The decoder advances by one
    token, and extends the keys and values of the target. The numbers of sentences and tokens may vary between
    calls. torch traces the graphs, so a model may have any attention, positions and layers that torch can
    trace. The export fails if scores that ONNX Runtime computes differ from those of seqx.
    """

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        """Yield a problem if the model is not an encoder-decoder model with a Transformer decoder."""
        for module in ("onnx", "onnxscript", "onnxruntime"):
            seqx.import_extra(module, "onnx")
        try:
            seqx.describe(model.task, "task")
        except seqx.UnspecifiedError as error:
            yield f"{'.'.join(error.setting)}: {error.name} cannot be expressed in other programs' formats"
            return  # the sources of such a task may be vectors, which the check below does not pass
        if not isinstance(model.model, seqx.Generator) or not isinstance(
            _start(model.model, torch.tensor([[seqx.EOS]]), torch.tensor([[True]])), TransformerState
        ):
            yield "model: only encoder-decoder models with a Transformer decoder can be exported to ONNX"

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        """Write the graphs, compare the scores with those of seqx, and write the model card."""
        text = seqx.describe(model.task)
        assert isinstance(model.model, seqx.Generator), "`problems` has checked it"
        _export(_traceable(model.model), folder)
        common.write_sentencepiece(text, folder)
        ids = {"pad": seqx.PAD, "bos": seqx.BOS, "eos": seqx.EOS, "unk": seqx.UNK}
        symbols = {"source": [*text.source.symbols], "target": [*text.target.symbols]}
        content = seqx.json_text(symbols, ensure_ascii=False)
        (folder / "symbols.json").write_text(content + "\n", encoding="utf-8")
        (folder / "ids.json").write_text(json.dumps(ids) + "\n", encoding="utf-8")
        check_scores(model.model, text, lambda *sides: Session(folder).scores(*sides), "ONNX Runtime")
        code = _CODE % common.language_code(text)
        write_card(model, folder, "ONNX Runtime", ["onnxruntime", "numpy", "sentencepiece"], code)


def _start(model: seqx.Generator, ids: Tensor, keep: Tensor) -> Any:
    """Return the state before the first target token, for sources [B, S]."""
    return model.start(model.encode(seqx.Column(ids, seqx.Layout.of(keep))), None)


class _Encoder(nn.Module):
    """The graph of the encoder."""

    def __init__(self, model: seqx.Generator) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, keep: Tensor) -> tuple[Tensor, ...]:
        """Return keys and values [B, H, S, K] of each layer, for sources [B, S]."""
        return _tensors(_start(self.model, ids, keep).source)


class _Decoder(nn.Module):
    """The graph of one step of the decoder."""

    def __init__(self, model: seqx.Generator) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: Tensor, keep: Tensor, past: Sequence[Tensor], source: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logits [B, V] after the tokens [B, 1], and all keys and values of the target.

        Args:
            ids: the last token of each target [B, 1]; at the first step BOS
            keep: true for source tokens, false for padding [B, S]
            past: keys and values [B, H, T, K] of the earlier target tokens, for each layer
            source: the result of the encoder
        """
        batch, length = past[0].size(0), past[0].size(2)
        target = seqx.Layout.of(torch.ones(batch, length, dtype=torch.bool))
        lengths = torch.full((batch,), length, dtype=torch.int64)
        state = TransformerState(lengths, target, _pairs(past, target), _pairs(source, seqx.Layout.of(keep)))
        outputs, extended = self.model.advance(ids, state, None)
        return self.model.head(outputs[:, -1]), _tensors(extended.past)


def _tensors(pairs: Iterable[seqx.KeyValue]) -> tuple[Tensor, ...]:
    return tuple(tensor for pair in pairs for tensor in (pair.keys, pair.values))


def _pairs(tensors: Sequence[Tensor], layout: seqx.Layout) -> tuple[seqx.KeyValue, ...]:
    both = zip(tensors[::2], tensors[1::2], strict=True)
    return tuple(seqx.KeyValue(keys, values, layout) for keys, values in both)


def _traceable(model: seqx.Generator) -> seqx.Generator:
    """Return a copy of a model for tracing.

    Its weights are plain parameters, and its attention kernel does not depend on the inputs.
    """
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach().clone(), requires_grad=False)
        for weight in model.parameters()
    }
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        if isinstance(module, MultiHeadAttention):
            module.kernel = EAGER
    return copied.eval()


def _export(model: seqx.Generator, folder: Path) -> None:
    """Trace the graphs, and write them.

    Raises:
        UserError: torch cannot trace the model
    """
    batch, source, past = (torch.export.Dim(name) for name in ("batch", "source", "past"))
    ids, keep = torch.full((3, 7), seqx.UNK), torch.ones(3, 7, dtype=torch.bool)
    encoder, decoder = _Encoder(model), _Decoder(model)
    with torch.no_grad():
        memory = encoder(ids, keep)
        earlier = tuple(
            torch.zeros(*tensor.shape[:2], 5, tensor.size(3)) for tensor in _first_past(model, memory, keep)
        )
    sides = [f"{i // 2}_{('keys', 'values')[i % 2]}" for i in range(len(memory))]
    of_source, of_past = [f"source_{side}" for side in sides], [f"past_{side}" for side in sides]
    graphs: dict[str, tuple[nn.Module, tuple[Any, ...], tuple[Any, ...], list[str], list[str]]] = {
        "encoder": (encoder, (ids, keep), ({0: batch, 1: source},) * 2, ["ids", "keep"], of_source),
        "decoder": (
            decoder,
            (ids[:, :1], keep, earlier, memory),
            (
                {0: batch},
                {0: batch, 1: source},
                *(tuple({0: batch, 2: n} for _ in memory) for n in (past, source)),
            ),
            ["ids", "keep", *of_past, *of_source],
            ["logits", *(f"present_{side}" for side in sides)],
        ),
    }
    for name, (graph, inputs, shapes, input_names, output_names) in graphs.items():
        try:
            with torch.no_grad(), _quiet():
                program = torch.onnx.export(
                    graph.eval(),
                    inputs,
                    dynamo=True,
                    dynamic_shapes=shapes,
                    input_names=input_names,
                    output_names=output_names,
                    verbose=False,
                )
                assert program is not None, "dynamo returns a program"
                program.save(str(folder / f"{name}.onnx"))
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0]
            raise seqx.UserError(f"model: torch cannot export the {name} to ONNX: {reason}") from error


def _first_past(model: seqx.Generator, memory: Sequence[Tensor], keep: Tensor) -> tuple[Tensor, ...]:
    """Return the keys and values of the target after one token; the caller uses their shapes."""
    lengths = torch.zeros(len(keep), dtype=torch.int64)
    state = TransformerState(lengths, None, None, _pairs(memory, seqx.Layout.of(keep)))
    _, after = model.advance(torch.full((len(keep), 1), seqx.BOS), state, None)
    return _tensors(after.past)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of torch's exporter about problems that a user cannot solve."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class Session:
    """The exported graphs in ONNX Runtime.

    Args:
        folder: the exported folder
    """

    def __init__(self, folder: Path) -> None:
        runtime = seqx.import_extra("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._encoder, self._decoder = (
            runtime.InferenceSession(str(folder / f"{name}.onnx"), options) for name in ("encoder", "decoder")
        )

    def steps(self, source: Sequence[int], targets: Iterable[int]) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the logits [V] after BOS and after each target token, for one source that ends with EOS.

        A token is read from `targets` only after the logits that predict it were yielded, so `targets` may
        depend on the logits.
        """
        ids = np.array([[*source]])
        memory: dict[str, Any] = {"keep": np.ones_like(ids, dtype=bool)}
        names = [output.name for output in self._encoder.get_outputs()]
        memory |= zip(names, self._encoder.run(None, {"ids": ids, **memory}), strict=True)
        past = {
            each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
            for each in self._decoder.get_inputs()
            if each.name.startswith("past")
        }
        waiting = iter(targets)
        token: int | None = seqx.BOS
        while token is not None:
            logits, *present = self._decoder.run(None, {"ids": np.array([[token]]), **memory, **past})
            past = dict(zip(past, present, strict=True))
            yield logits[0]
            token = next(waiting, None)

    def scores(self, sources: list[list[int]], targets: list[list[int]]) -> list[float]:
        """Return the log-probability of each target with EOS. `sources` and `targets` have no EOS."""
        found = []
        for source, target in zip(sources, targets, strict=True):
            logits = torch.from_numpy(np.stack([*self.steps([*source, seqx.EOS], target)])).double()
            ids = torch.tensor([*target, seqx.EOS])
            found.append(math.fsum(logits.log_softmax(-1).gather(1, ids[:, None]).flatten().tolist()))
        return found

    def greedy(self, source: Sequence[int], limit: int) -> list[int]:
        """Return the target ids of greedy search, without EOS, for a source that ends with EOS."""
        output: list[int] = []
        for logits in self.steps(source, output):
            token = seqx.EOS + int(logits[seqx.EOS :].argmax())
            if token == seqx.EOS or len(output) == limit:
                break
            output.append(token)
        return output
