"""Tensors that pass between components keep the layout of their tokens."""

import torch

import seqx
from seqx.interfaces.tensors import Column, Layout

DEVICE = torch.device("meta")  # not the device of the tensors below


def tokens() -> Column:
    starts = torch.tensor([[1, 0, 1, 0, 0], [1, 1, 0, 0, 0]])
    return Column.of(torch.tensor([[7, 8, 9, 7, 2], [5, 6, 2, 0, 0]]), torch.tensor([5, 3]), starts)


def words(layout: Layout) -> list[list[int]]:
    assert layout.words is not None
    return [row[:kept].tolist() for row, kept in zip(layout.words, layout.keep.sum(1).tolist(), strict=True)]


def test_word_indices_are_counted_per_sentence() -> None:
    assert words(tokens().layout) == [[0, 0, 1, 1, 1], [0, 1, 1]]
    assert Column.of(torch.tensor([[7, 2]]), torch.tensor([2])).layout.words is None


def test_word_indices_are_kept_by_to_rows_and_fork() -> None:
    moved = tokens().to(DEVICE).layout.words
    assert moved is not None
    assert moved.device == DEVICE
    batch = seqx.Batch({"source": tokens()}, 8).to(DEVICE).columns["source"].layout.words
    assert batch is not None
    assert batch.device == DEVICE
    memory = seqx.Memory(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), tokens().layout)
    selected = seqx.rows(memory, torch.tensor([1, 0, 1]))
    assert words(selected.layout) == [[0, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1]]
    forked = seqx.fork(memory, 2)
    assert words(forked.layout) == [[0, 0, 1, 1, 1]] * 2 + [[0, 1, 1]] * 2
    unknown = seqx.rows(Layout.of(torch.ones(2, 3, dtype=torch.bool)), torch.tensor([1]))
    assert unknown.words is None


def test_extended_layout_has_word_indices_if_both_layouts_have_them() -> None:
    layout = tokens().layout
    more = Layout.of(torch.ones(2, 1, dtype=torch.bool), layout.keep.sum(1))
    both = layout.extend(more._replace(words=torch.tensor([[2], [2]])))
    assert both.words is not None
    assert both.words.tolist() == [[0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 1, 2]]
    assert both.positions.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 2, 2, 3]]
    assert layout.extend(more).words is None
    assert more.extend(layout).words is None
