"""Find the rows of the corpus from which training examples were encoded."""

from collections import defaultdict
from collections.abc import Iterable

from seqx.data.store import Store
from seqx.interfaces.rows import row_texts
from seqx.interfaces.task import Rejected, Task

_MAX_ENCODED = 20_000  # largest number of rows of a corpus that are all encoded to find an example


def row_numbers(task: Task, store: Store, examples: Iterable[int]) -> dict[int, int]:
    """Return the number of the training row, from 0, of each example for which it is known.

    Examples have the order of the rows. If rows were dropped, the texts of examples are searched in the rows.
    In a large corpus, a text that the task has normalized is not found.

    Args:
        task: the task, with fetched corpus and loaded vocabulary
        store: the training examples
        examples: the indices of the wanted examples
    """
    dropped = store.rows - len(store)
    if not dropped:
        return {example: example for example in examples}
    wanted = defaultdict[tuple[str, ...], list[int]](list)
    for example in sorted(examples):
        if texts := tuple(store.text(example).values()):
            wanted[texts].append(example)
    if not wanted:
        return {}
    last = max(map(max, wanted.values())) + dropped
    parts = None if store.rows <= _MAX_ENCODED else {text for texts in wanted for text in texts}
    found = dict[int, int]()
    for number, row in zip(range(last + 1), task.rows("train"), strict=False):
        if parts is not None and parts.isdisjoint(row_texts(row)):
            continue
        encoded = task.example(row, training=True)
        if isinstance(encoded, Rejected):
            continue
        for example in wanted.get(tuple(encoded.text.values()), ()):
            if example <= number <= example + dropped and example not in found:
                found[example] = number
                break
    return found
