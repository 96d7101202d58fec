"""Checks of the encoded training examples, before the first update."""

from seqx.data.store import Store
from seqx.errors import PluginError, UserError
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task
from seqx.interfaces.tensors import Features
from seqx.parallel import World
from seqx.plugin.registry import where


def check_same_data(world: World, store: Store) -> None:
    """Refuse ranks that would train on different text (collective).

    Raises:
        UserError: a rank has another corpus or vocabulary than rank 0
    """
    identities = world.all_gather(store.identity)
    different = [rank for rank, identity in enumerate(identities) if identity != identities[0]]
    if different:
        raise UserError(
            f"rank {different[0]} has another corpus or vocabulary than rank 0; copy the same files to all "
            "machines, and install the same version of seqx"
        )


def check_columns(task: Task, store: Store) -> None:
    """Refuse examples with columns that do not fit the sizes of the task.

    Raises:
        PluginError: a column of `Task.vocab_sizes` is missing, has other features, or has too large ids
    """
    for name, size in task.vocab_sizes.items():
        if name not in store.columns:
            raise PluginError(
                f"{where(type(task))}: the examples of the task have no column {name!r}, but its vocab_sizes "
                f"have it; their columns are {', '.join(store.columns)}"
            )
        if not store.lengths(name).any():
            continue
        values, has_ids = store.columns[name].values, store.columns[name].has_ids
        if isinstance(size, Features):
            expected, fits = f"vectors of {size} features", not has_ids and values.shape[1:] == (size,)
        else:
            expected, fits = f"ids below {size:,}", has_ids and int(values.max()) < size
        if not fits:
            found = f"ids up to {int(values.max()):,}" if has_ids else "numbers that are not ids"
            if values.ndim > 1:
                found = f"vectors of {values.shape[1]} features"
            raise PluginError(
                f"{where(type(task))}: the examples of the task have {found} in the column {name!r}, but its "
                f"vocab_sizes say {expected}; correct one of them"
            )


def check_lengths(model: Model, task: Task, store: Store) -> None:
    """Refuse examples that are longer than the model can read or write.

    Raises:
        UserError: there are examples that are too long
    """
    if model.limit is None:
        return
    lengths = model.positions_used({column: store.lengths(column) for column in store.columns})
    longest, too_long = int(lengths.max()), int((lengths > model.limit).sum())
    if task.resegments:  # other segmentations may be longer, up to the limit of the task
        longest = max(longest, task.max_length or longest)
    if longest > model.limit:
        raise UserError(
            f"model: it reads and writes at most {model.limit} tokens, EOS included, but training examples "
            f"may have {longest}, and {too_long:,} of {len(store):,} are too long; raise the limit of its "
            "positional encoding, or set the task's max_length to leave out long examples"
        )
