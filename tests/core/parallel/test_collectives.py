"""Ranks make two small collective calls per update on the host, without pickle."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from seqx.parallel import World
from seqx.parallel.count_exchange import CountExchange
from seqx.parallel.parallelism import Parallelism
from seqx.testing.ranks import run_on_ranks
from seqx.training.trainer import Trainer
from tests.core.parallel.test_training import train

SETTINGS = ("training.steps=4", "training.validate_every=4", "training.save_every=4", "search.extra=2")
LARGEST = 16
"""The largest number of elements that one rank sends in a small call."""


def calls_per_update(world: World, folder: Path, strategy: str) -> list[Counter[str]]:
    """Train on this rank; return the numbers of calls in updates 2 and 3."""
    updates: list[Counter[str]] = []

    def record(module: Any, name: str) -> None:
        original = getattr(module, name)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if updates:
                updates[-1][name] += 1
                assert name != "all_gather" or args[1].numel() <= LARGEST
            return original(*args, **kwargs)

        setattr(module, name, recorded)  # this process ends afterwards

    for name in ("all_gather", "all_gather_object", "broadcast_object_list", "gather_object", "barrier"):
        record(dist, name)
    record(dist.distributed_c10d, "_object_to_tensor")  # it pickles
    update_started = Parallelism.update_started

    def new_update(self: Parallelism) -> None:
        updates.append(Counter())
        update_started(self)

    Parallelism.update_started = new_update  # type: ignore[method-assign]
    train(world, folder, "run", f"training.parallel={strategy}", *SETTINGS)
    return updates[1:3]


def on_two_ranks(folder: Path, function: Callable[[World], Any]) -> list[Any]:
    for rank in (0, 1):
        (folder / f"{rank}").mkdir(exist_ok=True)
    exits = run_on_ranks(2, function, folder)
    assert [each.code for each in exits] == [0, 0], exits
    return [each.result for each in exits]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_update_exchanges_counts_once_and_flags_once_without_pickle(strategy: str, tmp_path: Path) -> None:
    for calls in on_two_ranks(tmp_path, lambda world: calls_per_update(world, tmp_path, strategy)):
        assert calls == [{"all_gather": 2}] * 2


def test_further_collective_calls_in_an_update_are_counted(tmp_path: Path) -> None:
    def on_rank(world: World) -> Any:
        is_due = Trainer._is_due

        def faulty(trainer: Trainer) -> bool:
            trainer._flags.sync()
            world.all_gather(0)
            return is_due(trainer)

        Trainer._is_due = faulty  # type: ignore[method-assign, assignment]
        return calls_per_update(world, tmp_path, "ddp")

    for calls in on_two_ranks(tmp_path, on_rank):
        assert all(each.pop("_object_to_tensor") > 0 for each in calls)
        assert calls == [{"all_gather": 3, "all_gather_object": 1}] * 2


def test_ranks_agree_on_names_of_counts(tmp_path: Path) -> None:
    """A rank without examples learns the names from others; later calls exchange numbers only."""

    def on_rank(world: World) -> list[Any]:
        exchange, first = CountExchange(world), world.rank == 0
        return [
            exchange.gather({}, 1),
            exchange.gather({"loss": 3, "nll": 3} if first else {}, 7 + world.rank),
            exchange.gather({"loss": 2, "nll": 2} if first else {"loss": 5, "größe": 1}, 0),
            exchange.gather({}, 0),
        ]

    for nothing, partly, all_names, later in on_two_ranks(tmp_path, on_rank):
        assert nothing == ({}, [[1], [1]])
        assert partly == ({"loss": 3, "nll": 3}, [[7], [8]])
        assert all_names[0] == {"loss": 7, "nll": 2, "größe": 1}
        assert later[0] == {"loss": 0, "nll": 0, "größe": 0}
