"""Sizes of a model and of its training that fit the amount of text and a budget of time."""

from dataclasses import dataclass

from seqx.commands.recipes import EFFICIENCY

_FLOP_PER_PARAMETER = 6  # floating-point operations per parameter and token, forward and backward
_SCORING = 6  # time of a token of a beam search, relative to one of training (from `seqx plan`)
_FORWARD = 1 / 3  # the same for a forward pass
_MAX_VALIDATIONS = 5
_SCORING_SHARE = 0.5  # the largest share of the budget for scores, if one validation fits into it
MAX_EPOCHS = 40  # chosen by hand
FEW_UPDATES = 400  # 3,000 pairs of Multi30k: 1.2 BLEU after 200 updates, 14.7 after 610
_MIN_UPDATES = 1000  # of a larger model, so that it is not trained too briefly
_MIN_STEPS, _WARMUP = 20, 4000
_POINTS, _RECORD_EVERY = 50, 100  # points of a curve; the most updates between two points
_ROUNDING = 1.1  # the time may exceed the budget by this factor, because the number of updates is rounded
_MIN_VOCABULARY, _MAX_VOCABULARY = 400, 32_000  # 260 symbols are bytes and special symbols


@dataclass(frozen=True)
class Preset:
    """The size of a model.

    Args:
        d_model: its width
        layers: the layers of each stack
        tokens: target tokens per update
        words: the number of words of training text from which this size is useful
        peak: the largest learning rate
        efficiency: the speed of training, as a fraction of the speed of large matrix products
    """

    d_model: int
    layers: int
    tokens: int
    words: int
    peak: float
    efficiency: float = EFFICIENCY


PRESETS = (
    Preset(d_model=128, layers=2, tokens=2000, words=0, peak=3e-3, efficiency=0.12),
    Preset(d_model=256, layers=3, tokens=4000, words=300_000, peak=1.5e-3),
    Preset(d_model=512, layers=6, tokens=16_000, words=5_000_000, peak=8e-4),
)


@dataclass(frozen=True)
class Sizes:
    """The sizes that a recipe gets, and the estimated number of its parameters and seconds of the run."""

    preset: Preset
    vocabulary: int
    dropout: float
    steps: int
    parameters: int
    seconds: float  # of the whole run, scoring included
    scoring_seconds: float  # of all validations, and of the final model
    validations: int  # during training
    is_limited_by_text: bool  # false: the time limits the number of updates
    fits_budget: bool  # false: scores take so long that the run takes longer than its budget

    def template_values(self) -> dict[str, object]:
        """Return the values of the placeholders in a starting point."""
        every = max(1, self.steps // self.validations)
        return {
            "d_model": self.preset.d_model,
            "layers": self.preset.layers,
            "heads": self.preset.d_model // 64 * 2 if self.preset.d_model < 512 else 8,
            "width": 4 * self.preset.d_model,
            "dropout": self.dropout,
            "vocabulary": self.vocabulary,
            "steps": self.steps,
            "warmup": min(_WARMUP, max(1, self.steps // 10)),
            "peak": self.preset.peak,
            "every": every,
            "save_every": max(1, every // 5),
            "record_every": max(1, min(_RECORD_EVERY, self.steps // _POINTS)),
        }


def sizes(
    words: int,
    stacks: int,
    budget_seconds: float,
    flops_per_second: float,
    *,
    dev_words: int = 0,
    test_words: int = 0,
    has_search: bool = True,
) -> Sizes:
    """Choose the largest model that the text and the budget allow, and the number of updates.

    There are five validations, or fewer if scores would take more than half of the budget. If a single
    validation and the scores of the final model take more than that, half of the budget is for updates, and
    the run takes longer than its budget.

    Args:
        words: the words of training text on the target side
        stacks: the number of stacks of layers
        budget_seconds: seconds of the run
        flops_per_second: the speed of large matrix products on this machine
        dev_words: the words of the development set
        test_words: the words of the test set
        has_search: outputs are found by a search
    """
    vocabulary = round(min(_MAX_VOCABULARY, max(_MIN_VOCABULARY, 8.7 * words**0.5)) / 20) * 20
    per_word = tokens_per_word(vocabulary)
    cost = per_word * (_SCORING if has_search else _FORWARD)  # time of a scored word, in trained tokens

    def seconds(preset: Preset, tokens: float) -> float:
        operations = _FLOP_PER_PARAMETER * _parameters(preset, stacks, vocabulary) * tokens
        return operations / (flops_per_second * preset.efficiency)

    def most_validations(preset: Preset) -> int:
        left = _SCORING_SHARE * budget_seconds - seconds(preset, cost * (dev_words + test_words))
        each = seconds(preset, cost * dev_words)
        return max(1, int(min(_MAX_VALIDATIONS, left / each))) if each else _MAX_VALIDATIONS

    def scoring_seconds(preset: Preset) -> float:
        return seconds(preset, cost * ((most_validations(preset) + 1) * dev_words + test_words))

    def most_updates(preset: Preset) -> float:
        left = budget_seconds - min(_SCORING_SHARE * budget_seconds, scoring_seconds(preset))
        return left / seconds(preset, preset.tokens)

    chosen = PRESETS[0]
    for preset in PRESETS:
        if words >= preset.words and most_updates(preset) >= _MIN_UPDATES:
            chosen = preset
    in_time, useful = most_updates(chosen), MAX_EPOCHS * max(1.0, words * per_word) / chosen.tokens
    steps = max(_MIN_STEPS, _rounded(min(in_time, useful)))
    scoring = scoring_seconds(chosen)
    total = seconds(chosen, steps * chosen.tokens) + scoring
    return Sizes(
        preset=chosen,
        vocabulary=vocabulary,
        dropout=0.1 if words > PRESETS[-1].words else 0.2 if words > PRESETS[1].words else 0.3,
        steps=steps,
        parameters=_parameters(chosen, stacks, vocabulary),
        seconds=total,
        scoring_seconds=scoring,
        validations=most_validations(chosen),
        is_limited_by_text=useful < in_time,
        fits_budget=total <= _ROUNDING * budget_seconds,
    )


def tokens_per_word(vocabulary: int) -> float:
    """Return the approximate number of BPE tokens per word, EOS included.

    The vocabulary is learned from the text. The formula was fitted to the German texts of Tatoeba and
    Multi30k with 1,500 to 100,000 lines: 2.33 and 1.93 tokens with the smallest vocabularies, 1.52 and 1.43
    with the largest.
    """
    return 1.2 * (_MAX_VOCABULARY / vocabulary) ** 0.15


def _parameters(preset: Preset, stacks: int, vocabulary: int) -> int:
    """Return the approximate number of parameters: 12 d^2 per layer, and tied embeddings."""
    return preset.d_model * (12 * preset.d_model * preset.layers * stacks + vocabulary)


def _rounded(number: float) -> int:
    """Round a number to two significant digits."""
    return int(float(f"{number:.1e}"))
