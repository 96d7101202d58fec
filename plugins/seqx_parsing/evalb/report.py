"""The table of EVALB, byte for byte, and additional tables."""

import math
from collections.abc import Iterable, Sequence

from seqx_parsing.evalb.parameters import Parameters
from seqx_parsing.evalb.sentence import SentenceCounts, Status
from seqx_parsing.evalb.totals import Totals, harmonic, percentage

_HEAD = """\
  Sent.                        Matched  Bracket   Cross        Correct Tag
 ID  Len.  Stat. Recal  Prec.  Bracket gold test Bracket Words  Tags Accracy
============================================================================"""
_FOOT = "=" * 76


def table(sentences: Sequence[SentenceCounts], parameters: Parameters) -> str:
    """Return EVALB's table: one line per sentence, the totals, and two summaries."""
    totals = Totals.of(sentences)
    short = Totals.of(sentence for sentence in sentences if sentence.length <= parameters.cutoff)
    return "\n".join(
        [
            _HEAD,
            *(_row(number, sentence) for number, sentence in enumerate(sentences, 1)),
            _FOOT,
            _sums(totals),
            "=== Summary ===",
            "",
            "-- All --",
            *_summary(totals),
            "",
            f"-- len<={parameters.cutoff} --",
            *_summary(short),
            "",
        ]
    )


def _row(number: int, sentence: SentenceCounts) -> str:
    matched, gold, test = len(sentence.pairs), len(sentence.gold), len(sentence.test)
    return (
        f"{number:4}  {sentence.length:3}    {sentence.status:d}  "
        f"{percentage(matched, gold):6.2f} {percentage(matched, test):6.2f}   "
        f"{matched:3}    {gold:3}  {test:3}    {sentence.crossing:3}   "
        f"{sentence.words:4}  {sentence.tags:4}   {percentage(sentence.tags, sentence.words):6.2f}"
    )


def _sums(totals: Totals) -> str:
    gold, test = totals.brackets
    brackets = (
        f"                {totals.recall:6.2f} {totals.precision:6.2f} "
        f"{totals.matched:6} {gold:5} {test:5}  {totals.crossing:5}"
    )
    words = f"  {totals.words:5} {totals.tags:5}   {totals.tag_accuracy:6.2f}"
    return brackets * bool(gold and test) + words


def _summary(totals: Totals) -> Iterable[str]:
    valid = totals.valid
    f1 = harmonic(totals.recall, totals.precision)
    for name, number in {
        "Number of sentence        ": totals.sentences,
        "Number of Error sentence  ": totals.errors,
        "Number of Skip  sentence  ": totals.skipped,
        "Number of Valid sentence  ": valid,
    }.items():
        yield f"{name}= {number:6}"
    for name, value in {
        "Bracketing Recall         ": totals.recall,
        "Bracketing Precision      ": totals.precision,
        "Bracketing FMeasure       ": math.nan if f1 is None else f1,
        "Complete match            ": totals.complete_match,
        "Average crossing          ": totals.crossing / valid if valid else 0.0,
        "No crossing               ": percentage(totals.without_crossing, valid),
        "2 or less crossing        ": percentage(totals.at_most_two_crossings, valid),
        "Tagging accuracy          ": totals.tag_accuracy,
    }.items():
        yield f"{name}= {value:6.2f}"


def label_table(totals: Totals) -> str:
    """Return a table with the scores of each label, the most frequent label first.

    "found" counts matched brackets of the reference, "correct" matched brackets of the output. They differ
    for labels that EQ_LABEL declares equal to other labels.
    """
    labels = sorted(totals.gold | totals.test, key=lambda label: (-totals.gold[label], label))
    width = max([8, *map(len, labels)])
    lines = [
        "-- Labels --",
        f"{'Label':{width}}  Recall   Prec.      F1      gold    found     test  correct",
        "=" * (width + 61),
    ]
    for label in labels:
        recall = percentage(totals.matched_gold[label], totals.gold[label])
        precision = percentage(totals.matched_test[label], totals.test[label])
        scores = (recall, precision, harmonic(recall, precision) or 0.0)
        counts = (
            totals.gold[label],
            totals.matched_gold[label],
            totals.test[label],
            totals.matched_test[label],
        )
        lines.append(
            f"{label or '(none)':{width}}"
            + "".join(f"  {score:6.2f}" for score in scores)
            + "".join(f" {count:8}" for count in counts).replace(" ", "  ", 1)
        )
    return "\n".join([*lines, ""])


def error_list(sentences: Sequence[SentenceCounts], parameters: Parameters, warnings: Sequence[str]) -> str:
    """Return the sentences that do not match their reference with the reasons, then the warnings."""
    lines = ["-- Errors --"]
    for number, sentence in enumerate(sentences, 1):
        if sentence.reason:
            lines.append(f"{number:4}  {sentence.status.name.lower():5}  {sentence.reason}")
    unlabelled = sum(label == "" for sentence in sentences for label in (*sentence.gold, *sentence.test))
    if unlabelled:
        lines.append(
            f"{unlabelled} brackets without a label are counted, as in EVALB; did you mean (TOP ...)?"
        )
    lines += warnings
    errors = sum(sentence.status is Status.ERROR for sentence in sentences)
    if errors > parameters.max_error:
        most = parameters.max_error
        lines.append(f"There are more errors than {most} (MAX_ERROR); EVALB would stop without a summary.")
    return "\n".join([*lines, ""] if len(lines) > 1 else [*lines, "none", ""])
