"""The mistakes in predicted trees: groups, scores by label, and drawings with marked differences."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import seqx
from seqx_parsing.drawing import draw_svg
from seqx_parsing.evalb.brackets import BracketedLine, MalformedError, Span, bracket_ranges, read_line
from seqx_parsing.evalb.parameters import COLLINS
from seqx_parsing.evalb.sentence import compare
from seqx_parsing.evalb.totals import Totals, harmonic, percentage
from seqx_parsing.reader import read, with_tags
from seqx_parsing.tree import Tree

MAX_DRAWN = 40
"""The maximum number of words of a tree that is drawn."""

MAX_EXAMPLES, MAX_GROUPS = 20, 12
"""The maximum numbers of examples of a group, and of groups of a category."""

Labelled = tuple[Span, str]
Ranges = Mapping[Labelled, Sequence[tuple[int, int]]]
"""The characters of each bracket in a text: the first one, and the one after the last."""


def tree_mistakes(answers: Sequence[seqx.Answer]) -> list[seqx.MistakeGroup]:
    """Return groups of mistakes: no tree, missing and wrong brackets by label, labels, attachments.

    The brackets are those that EVALB counts with COLLINS.prm if all tags are correct.
    """
    mistakes = _Mistakes()
    for index, answer in enumerate(answers):
        gold, test = _line(answer.reference), _line(with_tags(answer.output, answer.reference))
        if len(test.words) != len(gold.words):
            mistakes.without_tree.append(index)
            continue
        found = {"reference": _ranges(gold, answer.reference), "output": _ranges(test, answer.output)}
        mistakes.add(index, gold.scored(COLLINS), test.scored(COLLINS), found)
    return list(mistakes.groups(len(answers)))


class _Mistakes:
    """Counts over sentences, by category and name."""

    def __init__(self) -> None:
        self.without_tree: list[int] = []
        self._found: dict[str, dict[str, list[seqx.Mistake]]] = {
            name: defaultdict(list) for name in ("missing", "wrong", "label", "attachment")
        }
        self._totals: dict[str, Counter[str]] = {name: Counter() for name in self._found}

    def add(
        self, index: int, gold: Sequence[Labelled], test: Sequence[Labelled], ranges: Mapping[str, Ranges]
    ) -> None:
        """Count the mistakes of a sentence; `ranges` are the characters of the brackets in both texts."""

        def mistake(detail: str, **brackets: Labelled) -> seqx.Mistake:
            marks = {side: ranges[side].get(bracket, [])[:1] for side, bracket in brackets.items()}
            return seqx.Mistake(index=index, detail=detail, marks=marks)

        missing, wrong = Counter(gold) - Counter(test), Counter(test) - Counter(gold)
        for category, side, brackets, of_all in (
            ("missing", "reference", missing, gold),
            ("wrong", "output", wrong, test),
        ):
            self._totals[category].update(label for _, label in of_all)
            for (span, label), count in brackets.items():
                detail = f"{label} over words {span[0] + 1} to {span[1]}"
                self._found[category][label] += [mistake(detail, **{side: (span, label)})] * count
        for span, label in missing:
            for other_span, other in wrong:
                if span == other_span:
                    self._found["label"][f"{other} instead of {label}"].append(
                        mistake(_words(span), reference=(span, label), output=(span, other))
                    )
        gold_parents, test_parents = dict(_parents(gold)), dict(_parents(test))
        for bracket in gold_parents.keys() & test_parents.keys():
            (before, label), (after, other) = gold_parents[bracket], test_parents[bracket]
            self._totals["attachment"][bracket[1]] += 1
            if before != after and label != other:
                name = f"{bracket[1]} below {other} instead of {label}"
                self._found["attachment"][name].append(
                    mistake(_words(bracket[0]), reference=bracket, output=bracket)
                )
        self._totals["label"].update(label for _, label in gold)

    def groups(self, sentences: int) -> Iterator[seqx.MistakeGroup]:
        """Yield the groups that are not empty, the largest of each category first."""
        if self.without_tree:
            yield seqx.MistakeGroup(
                name="no tree over the words of the sentence",
                category="trees",
                count=len(self.without_tree),
                total=sentences,
                unit="sentences",
                examples=[seqx.Mistake(index=index) for index in self.without_tree[:MAX_EXAMPLES]],
            )
        for category, title, unit in (
            ("missing", "missing brackets", "brackets of references"),
            ("wrong", "wrong brackets", "brackets of outputs"),
            ("label", "wrong labels of correct spans", "brackets of references"),
            ("attachment", "attachments", "brackets in both trees"),
        ):
            found = self._found[category]
            for name in sorted(found, key=lambda name: (-len(found[name]), name))[:MAX_GROUPS]:
                yield seqx.MistakeGroup(
                    name=name,
                    category=title,
                    count=len(found[name]),
                    total=self._totals[category][_label(category, name)],
                    unit=unit,
                    examples=found[name][:MAX_EXAMPLES],
                )


def _label(category: str, name: str) -> str:
    """Return the label whose brackets are counted as the total of a group."""
    return {"label": name.rsplit(" ", maxsplit=1)[-1], "attachment": name.split(" ", maxsplit=1)[0]}.get(
        category, name
    )


def _words(span: Span) -> str:
    return f"words {span[0] + 1} to {span[1]}"


def _ranges(line: BracketedLine, text: str) -> Ranges:
    """Return the characters of each bracket that counts, in a text with the brackets of the line."""
    characters, found = bracket_ranges(text), defaultdict[Labelled, list[tuple[int, int]]](list)
    if len(characters) == len(line.labels):
        for number, bracket in line.numbered(COLLINS):
            found[bracket].append(characters[number])
    return found


def _parents(brackets: Sequence[Labelled]) -> Iterator[tuple[Labelled, Labelled]]:
    """Yield each bracket with the bracket around it; `brackets` are in the order in which they open."""
    around: list[Labelled] = []
    for bracket in brackets:
        while around and around[-1][0][1] < bracket[0][1]:
            around.pop()
        if around:
            yield bracket, around[-1]
        around.append(bracket)


def _line(text: str) -> BracketedLine:
    try:
        return read_line(text, COLLINS)
    except MalformedError:
        return BracketedLine()


def label_scores(answers: Sequence[seqx.Answer]) -> list[seqx.ReportTable]:
    """Return a table with the scores of each label, the most frequent label first."""
    totals = Totals.of(
        compare(_line(answer.reference), answer.output, COLLINS, strict=True) for answer in answers
    )
    rows: list[Sequence[str | int | float]] = []
    for label in sorted(totals.gold | totals.test, key=lambda label: (-totals.gold[label], label)):
        recall = percentage(totals.matched_gold[label], totals.gold[label])
        precision = percentage(totals.matched_test[label], totals.test[label])
        f1 = harmonic(recall, precision) or 0.0
        counts = (totals.gold[label], totals.test[label], totals.matched_gold[label])
        rows.append((label or "(none)", *counts, recall, precision, f1))
    header = ("label", "in references", "in outputs", "correct", "recall", "precision", "F1")
    note = "EVALB's rules with COLLINS.prm; sentences without a tree count as errors."
    return [seqx.ReportTable(title="Scores by label", header=header, rows=rows, note=note)]


def draw_difference(answer: seqx.Answer) -> list[seqx.Drawing]:
    """Return the trees of the reference and the output; brackets that the other one lacks are marked."""
    texts = {"Reference": answer.reference, "Output": answer.output}
    try:
        trees = {title: tree for title, text in texts.items() for tree in read([text], title)}
    except seqx.UserError:
        return []
    if len(trees) < len(texts) or any(len([*tree.leaves()]) > MAX_DRAWN for tree in trees.values()):
        return []
    brackets = {title: Counter(tree.brackets()) for title, tree in trees.items()}
    return [
        seqx.Drawing(
            title=f"{title} ({sum((brackets[title] - brackets[other]).values())} of its brackets differ)",
            svg=draw_svg(trees[title], _unmatched(trees[title], trees[other])),
            text=texts[title],
        )
        for title, other in (("Reference", "Output"), ("Output", "Reference"))
    ]


def _unmatched(tree: Tree, other: Tree) -> frozenset[int]:
    """Return the numbers of the constituents, in the order of `Tree.brackets`, that the other tree lacks."""
    remaining = Counter(other.brackets())
    unmatched = set()
    for number, bracket in enumerate(tree.brackets()):
        if remaining[bracket]:
            remaining[bracket] -= 1
        else:
            unmatched.add(number)
    return frozenset(unmatched)
