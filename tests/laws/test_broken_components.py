"""For each law of training, search, text and tasks, a faulty component breaks this law and no other."""

import dataclasses
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx.testing import laws_of
from seqx_sample import Sample
from seqx_search import Greedy, RepetitionPenalty
from seqx_text import Accuracy, Chrf, Lowercase, SentencePiece
from seqx_text_tasks import Classification
from seqx_training.cross_entropy import CrossEntropy
from seqx_training.optimizers import Adam
from seqx_training.schedules import InverseSquareRoot
from seqx_translation import Translation


class CorrectObjective(CrossEntropy):
    """An objective that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, model: seqx.Model, batch: seqx.Batch) -> Mapping[str, Tensor]:
        sums = dict(super().forward(model, batch))
        keep = batch.columns["target"].layout.keep
        match self.fault:
            case "padding_does_not_change_sums":
                sums["loss"] = sums["loss"] + batch.columns["target"].values[~keep].sum()
            case "names_of_sums_and_counts_agree":
                sums["uncounted"] = sums["loss"]
            case "sums_add_up_over_microbatches":
                sums["loss"] = sums["loss"] / batch.count
            case "better_model_has_smaller_loss":
                sums["loss"] = sums["loss"] - 100 * batch.count
            case "gradient_step_reduces_the_loss":
                sums["loss"] = 2 * sums["loss"].detach() - sums["loss"]
        return sums


class Forgetful(torch.optim.Adam):
    """An optimizer that ignores the state it should load."""

    def load_state_dict(self, state_dict: Any) -> None: ...


class Decaying(torch.optim.Adam):
    """An optimizer that decays weights at any learning rate."""

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.mul_(0.9999)
        return super().step(closure)


class CorrectOptimizer(Adam):
    """An optimizer that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()

    def check(self, module: nn.Module) -> None:
        if self.fault == "check_refuses_what_build_refuses" and isinstance(module, nn.Sequential):
            raise seqx.UserError("no matrices")

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        if self.fault == "reduces_the_loss_of_a_regression":
            return super().build(nn.ModuleList(list(module.children())[1:]))
        if self.fault == "resumes_with_the_same_updates":
            return Forgetful(module.parameters())
        if self.fault == "learning_rate_zero_changes_nothing":
            return Decaying(module.parameters())
        return super().build(module)


class CorrectSchedule(InverseSquareRoot):
    """A schedule that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "steps", [])

    def __call__(self, step: int, steps: int) -> float:
        steps_so_far: list[int] = getattr(self, "steps")  # noqa: B009
        steps_so_far.append(step)
        if self.fault == "rates_are_positive_and_finite" and step > 100_000:
            return 0.0
        return super().__call__(
            len(steps_so_far) if self.fault == "rate_depends_on_the_step_only" else step, steps
        )


class CorrectSearch(Greedy):
    """A search that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()

    def max_lengths(self, lengths: Tensor) -> Tensor:
        limits = super().max_lengths(lengths)
        return 0 * limits if self.fault == "limits_do_not_decrease_with_the_source" else limits

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        limits: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,
    ) -> list[list[seqx.Hypothesis]]:
        if self.fault == "respects_length_limits":
            limits = limits + 1
        nbests = super().__call__(model, source, limits, grammar, memory)
        if self.fault == "finds_the_best_hypothesis" and grammar is None and int(limits.max()) == 20:
            return [[dataclasses.replace(h, ids=[*h.ids, 4]) for h in hypotheses] for hypotheses in nbests]
        if self.fault == "log_probabilities_are_those_of_the_model":
            return [[dataclasses.replace(h, logprob=-9.0) for h in hypotheses] for hypotheses in nbests]
        if self.fault == "obeys_the_grammar" and grammar is not None:
            return [[dataclasses.replace(h, ids=[5]) for h in hypotheses] for hypotheses in nbests]
        if self.fault == "drops_hypotheses_without_allowed_symbols":
            return [hypotheses or [seqx.Hypothesis(ids=[4], score=0, logprob=0)] for hypotheses in nbests]
        if self.fault == "answers_do_not_depend_on_the_batch" and len(nbests) == 1:
            return [[dataclasses.replace(nbests[0][0], ids=[])]]
        return nbests


class CorrectProcessor(RepetitionPenalty):
    """A score processor that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()

    def __call__(self, scores: Tensor, ids: Tensor) -> Tensor:
        if self.fault == "each_hypothesis_is_processed_alone":
            ids = ids[:1].expand_as(ids)
        processed = super().__call__(scores, ids)
        match self.fault:
            case "arguments_are_not_changed":
                return scores.copy_(processed)
            case "scores_are_at_most_0":
                return processed + 9
            case "forbidden_symbols_stay_forbidden":
                return processed.clamp_min(-1e9)
        return processed


class CorrectNormalizer(Lowercase):
    """A normalizer that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()

    def __call__(self, text: str) -> str:
        return super().__call__(text) + ("\n" if self.fault == "line_stays_one_line" else "")


class CorrectTokenizer(SentencePiece):
    """A tokenizer that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__(size=340)
        self.extra: list[int] = []

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        try:
            super().learn(lines, folder)
        except seqx.UserError as error:
            raise RuntimeError if self.fault == "errors_of_the_lines_are_raised" else error from None
        if self.fault == "learning_is_deterministic" and folder.name == "b":
            self.extra = [seqx.UNK]

    def load(self, folder: Path) -> None:
        super().load(folder)
        if self.fault == "learned_files_can_be_loaded" and folder.name == "moved":
            self.extra = [seqx.UNK]

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        if self.fault == "ids_are_in_the_vocabulary" and "<pad>" in text:
            return [seqx.PAD]
        return [*super().encode(text, rng), *self.extra]

    def decode(self, ids: Sequence[int]) -> str:
        text = super().decode(ids)
        if self.fault == "decode_ignores_special_ids" and seqx.PAD in ids:
            return text + "<pad>"
        return text.lower() if self.fault == "decode_inverts_encode" else text


class CorrectCorpus(Sample):
    """A corpus that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__(train=9, dev=5, test=5)
        self.reads = 0
        self.fetched: set[str] = set()

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        self.fetched.update(splits)

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        self.reads += 1
        is_reversed = self.fault == "rows_are_deterministic" and self.reads % 2
        first = self.fault == "one_split_can_be_fetched" and len(self.fetched) == 1
        yield from list(super().rows(split))[first:][:: -1 if is_reversed else 1]


class CorrectMetric(Chrf):
    """A metric that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()

    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, seqx.Score]:
        if self.fault == "references_score_best":
            outputs = references
        scores = super().__call__(outputs, references)
        if self.fault == "scores_depend_on_the_pairs_only":
            return {
                name: dataclasses.replace(score, value=score.value + len(outputs[0]))
                for name, score in scores.items()
            }
        if self.fault == "signatures_declare_their_results":
            characters = sum(map(len, outputs))
            return {
                name: dataclasses.replace(score, signature=f"{score.signature}|characters:{characters}")
                for name, score in scores.items()
            }
        return scores

    def score_names(self) -> Sequence[str]:
        return ["bleu"] if self.fault == "scores_match_score_names" else super().score_names()


class CountingGrammar(seqx.Grammar):
    """A grammar that allows all symbols, except UNK in each call whose number is a multiple of `period`."""

    def __init__(self, size: int, period: int | None) -> None:
        self.size, self.period, self.calls = size, period, 0

    def start(self, rows: int, max_lengths: Tensor) -> seqx.State:
        return torch.zeros(rows)

    def allowed(self, state: seqx.State) -> Tensor:
        self.calls += 1
        allowed = torch.ones(len(state), self.size, dtype=torch.bool)
        allowed[:, seqx.UNK] = self.period is None or self.calls % self.period > 0
        return allowed

    def advance(self, state: seqx.State, tokens: Tensor) -> seqx.State:
        return state


class CorrectTask(Translation):
    """A task that obeys all laws except the one named by `fault`."""

    fault = ""

    def __init__(self) -> None:
        sample = Sample(train=60, dev=6, test=6)
        super().__init__(corpus=sample, tokenizer=SentencePiece(size=330), metrics=[Chrf()])

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> seqx.Grammar:
        fault = self.fault == "grammar_depends_on_the_written_symbols_only"
        return CountingGrammar(self.tokenizer.size, 2 if fault else None)

    @property
    def vocab_sizes(self) -> Mapping[str, int]:
        sizes = super().vocab_sizes
        return {**sizes, "target": 5} if self.fault == "examples_are_valid" else sizes

    def identity(self) -> Mapping[str, object]:
        unique = {"fault": id(self)} if self.fault == "learned_files_can_be_loaded" else {}
        return {**super().identity(), **unique}

    def score(self, *args: Any) -> Mapping[str, seqx.Score]:
        if self.fault == "references_score_best":
            return {"chrf": seqx.Score(value=50.0, signature="")}
        return super().score(*args)

    def score_names(self) -> Sequence[str] | None:
        return ["bleu"] if self.fault == "scores_match_score_names" else super().score_names()

    def example(self, row: tuple[str, ...], *, training: bool) -> seqx.Example | seqx.Rejected:
        example = super().example(row, training=training)
        if self.fault == "targets_end_with_eos" and isinstance(example, seqx.Example):
            columns = {**example.columns, "target": [*example.columns["target"], seqx.EOS]}
            return dataclasses.replace(example, columns=columns)
        return example

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        return super().symbols(column, ids)[: -1 if self.fault == "symbols_describe_each_token" else None]

    def read(self, text: str) -> Mapping[str, list[int]]:
        columns = super().read(text)
        if self.fault == "inputs_are_encoded_like_examples":
            return {**columns, "source": columns["source"][::-1]}
        return columns

    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        output = super().write(ids, text, labels)
        return output[::-1] if self.fault == "decoded_references_score_well" else output


class CorrectExporter(seqx.Exporter):
    """An exporter of the weights of encoders that obeys all laws except the one named by `fault`."""

    fault = ""

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        if self.fault == "unknown_model_is_refused_or_written":
            return []
        name = type(model.model).__name__
        return [f"{'' if self.fault == 'problems_name_settings' else 'model: '}{name} has no encoder"]

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        torch.save(model.model.get_submodule("encoder").state_dict(), folder / "encoder.pt")


class CorrectImporter(seqx.Importer):
    """An importer that obeys all laws except the one named by `fault`."""

    fault = ""

    def read(self, source: Path, vocabulary: Path) -> seqx.ImportedModel:
        try:
            recipe = json.loads(source.read_bytes())
        except (OSError, ValueError) as error:
            if self.fault == "unreadable_sources_are_refused":
                raise
            raise seqx.UserError(f"{source}: cannot be read ({error}); name a file in JSON") from None
        return seqx.ImportedModel(recipe=recipe, weights={})


CORRECT: dict[type, Any] = {
    seqx.Exporter: CorrectExporter,
    seqx.Importer: CorrectImporter,
    seqx.Corpus: CorrectCorpus,
    seqx.Metric: CorrectMetric,
    seqx.Normalizer: CorrectNormalizer,
    seqx.Objective: CorrectObjective,
    seqx.Optimizer: CorrectOptimizer,
    seqx.Schedule: CorrectSchedule,
    seqx.Search: CorrectSearch,
    seqx.ScoreProcessor: CorrectProcessor,
    seqx.Task: CorrectTask,
    seqx.Tokenizer: CorrectTokenizer,
}
FAULTS = [
    (interface, law.__name__)
    for interface, maker in CORRECT.items()
    for law in laws_of(interface, maker)
    # The first one is about tasks that do not use a search; mistakes/training.py breaks the other one.
    if law.__name__ not in ("answers_are_those_of_the_model", "no_method_is_misspelt")
]


@pytest.mark.parametrize("interface", CORRECT, ids=lambda interface: interface.__name__)
def test_components_without_fault_obey_all_laws(broken: Any, interface: type) -> None:
    assert not broken(interface, CORRECT[interface])


@pytest.mark.parametrize(("interface", "fault"), FAULTS, ids=lambda x: getattr(x, "__name__", x))
def test_faulty_component_breaks_only_its_law(broken: Any, interface: type, fault: str) -> None:
    doc = None if fault == "every_setting_is_documented" else "Broken."
    faulty = type("Faulty", (CORRECT[interface],), {"fault": fault, "__doc__": doc})
    assert broken(interface, faulty) == {fault}


class CorrectClassification(Classification):
    """A classification that answers with the worst label if `fault` is true."""

    fault = False

    def __init__(self) -> None:
        sample = Sample(train=60, dev=6, test=6, columns=("en", "tense"))
        super().__init__(corpus=sample, tokenizer=SentencePiece(size=330), metrics=[Accuracy()])

    def answer(
        self, model: seqx.Model, inputs: seqx.Inputs, search: seqx.Search | None
    ) -> list[list[seqx.Candidate]]:
        if self.fault:
            inputs = dataclasses.replace(inputs, num_answers=9)
        return [answers[::-1] if self.fault else answers for answers in super().answer(model, inputs, search)]


def test_task_whose_answers_are_not_those_of_the_model_breaks_only_this_law(broken: Any) -> None:
    assert not broken(seqx.Task, CorrectClassification)
    faulty = type("Faulty", (CorrectClassification,), {"fault": True, "__doc__": "Broken."})
    assert broken(seqx.Task, faulty) == {"answers_are_those_of_the_model"}
