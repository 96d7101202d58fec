"""The exchange of an update's counts between ranks: one small collective call, without pickle."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from seqx.parallel.process_group import World


class CountExchange:
    """The sums of named counts over all ranks.

    Ranks send numbers only. They agree on the names first, and again only if a rank has a count with another
    name. A rank without examples has no counts of its own, but gets those of the other ranks.

    Args:
        world: the ranks
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._names: list[str] = []  # the same on all ranks

    def gather(self, own: Mapping[str, int], *numbers: int) -> tuple[Counter[str], list[list[int]]]:
        """Return the counts over all ranks, and the further numbers of each rank (collective).

        Args:
            own: the counts of this rank
            numbers: further numbers of this rank; each rank passes equally many
        """
        new_names = json.dumps(sorted(own)).encode() if not own.keys() <= {*self._names} else b""
        row = [len(new_names), *numbers, *(own.get(name, 0) for name in self._names)]
        gathered = self._world.all_gather_ints(row)
        if longest := max(length for length, *_ in gathered):
            self._agree_on_names(new_names.ljust(longest))
            return self.gather(own, *numbers)
        first = 1 + len(numbers)
        totals = [sum(column) for column in zip(*(each[first:] for each in gathered), strict=True)]
        counts = Counter(dict(zip(self._names, totals, strict=True)))
        return counts, [each[1:first] for each in gathered]

    def _agree_on_names(self, own: Sequence[int]) -> None:
        """Add the names of all ranks to those that all know; `own` is padded JSON (collective)."""
        texts = (bytes(row).strip() for row in self._world.all_gather_ints(own))
        names = {name for text in texts if text for name in json.loads(text)}
        self._names = sorted({*self._names, *names})
