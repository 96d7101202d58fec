"""Read the file of a sweep."""

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError

import seqx
from seqx_runs.sweep_trials import Configuration, Halving, Sweep

_RANGES = ("uniform", "log_uniform")
_SAMPLE_SEED = 12345
_MAX_TRIALS = 10_000


class SweepFile(BaseModel):
    """The fields of the file of a sweep."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: str | Annotated[list[str], MinLen(1)]
    profile: str | Annotated[list[str | None], MinLen(1)] | None = None
    settings: dict[str, Any] = {}
    sample: Annotated[int, Ge(1)] | None = None
    seeds: Annotated[int, Ge(1)] | Annotated[list[int], MinLen(1)] | None = None
    baseline: dict[str, Any] | None = None
    halving: Halving | None = None


def read_sweep(file: Path, folder: Path | None = None, overrides: Sequence[str] = ()) -> Sweep:
    """Read the file of a sweep.

    Args:
        file: the file
        folder: the folder of the sweep, with the run folders in it; None: runs/NAME
        overrides: settings of all trials, as KEY=VALUE; they replace those of the file

    Raises:
        UserError: the file cannot be read, or its fields are wrong
    """
    fields = _read_fields(file)
    settings = {**fields.settings, **dict(map(_parsed, overrides))}
    if fields.seeds is not None and "training.seed" in settings:
        raise seqx.UserError(
            f"{file}: settings: training.seed is set, but `seeds` sets it; remove one of them"
        )
    axes: dict[str, Any] = {
        "recipe": _as_list(fields.recipe),
        "profile": _as_list(fields.profile),
    }
    axes |= {key: _values(key, value, fields, file) for key, value in settings.items()}
    wanted = fields.seeds
    _check_count(axes, fields.sample, len(wanted) if isinstance(wanted, list) else wanted or 1, file)
    seeds = _seeds(wanted, file)
    configurations = _configurations(axes, fields.sample, file.parent)
    return Sweep(
        name=file.stem,
        configurations=configurations,
        seeds=seeds,
        baseline=_baseline(configurations, fields.baseline, file),
        halving=fields.halving,
        folder=folder or Path("runs", file.stem),
    )


def _read_fields(file: Path) -> SweepFile:
    """Read the fields of the file of a sweep.

    Raises:
        UserError: the file cannot be read, or has no fields of a sweep
    """
    plain = seqx.read_yaml(file)
    if not isinstance(plain, dict):
        raise seqx.UserError(f"{file}: is not a sweep; it needs at least `recipe: NAME`")
    try:
        return SweepFile.model_validate(plain)
    except ValidationError as error:
        known = ", ".join(SweepFile.model_fields)
        raise seqx.UserError(
            f"{file}: {seqx.first_error(error, plain)}; the fields of a sweep are {known}"
        ) from None


def _seeds(wanted: int | list[int] | None, file: Path) -> list[int] | list[None]:
    """Return the seeds of all configurations; None: the seed of the recipe."""
    if not wanted:
        return [None]
    seeds = wanted if isinstance(wanted, list) else [*range(1, wanted + 1)]
    if len(set(seeds)) < len(seeds):
        raise seqx.UserError(f"{file}: seeds: a seed occurs twice; remove one")
    return seeds


def _check_count(axes: Mapping[str, Any], sample: int | None, seeds: int, file: Path) -> None:
    """Refuse more trials than `_MAX_TRIALS`, in a message that names the field with the most values."""
    lists = {key: len(values) for key, values in axes.items()} if sample is None else {"sample": sample}
    counts = {**lists, "seeds": seeds}
    trials = math.prod(counts.values())
    if trials > _MAX_TRIALS:
        largest = max(counts, key=counts.__getitem__)
        name = largest if largest in SweepFile.model_fields else f"settings: {largest}"
        product = " x ".join(f"{count:,} ({key})" for key, count in counts.items() if count > 1)
        raise seqx.UserError(
            f"{file}: {name}: {trials:,} trials are too many: {product}; the maximum is {_MAX_TRIALS:,}, so "
            "set fewer values"
        )


def _parsed(override: str) -> tuple[str, Any]:
    """Return the key and the value of KEY=VALUE; a list is wrapped, because it is one value to try."""
    key, value = seqx.parsed_override(override)
    return key, [value] if isinstance(value, list) else value


def _recipe_file(name: str, folder: Path) -> str:
    """Return the argument of `seqx run` for a recipe; a file is relative to the folder of the sweep."""
    return str(folder / name) if Path(name).suffix in (".yaml", ".yml", ".json") else name


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _values(key: str, value: Any, fields: SweepFile, file: Path) -> list[Any] | Mapping[str, Any]:
    """Return the values of a setting, or its range."""
    if isinstance(value, list):
        if not value:
            raise seqx.UserError(f"{file}: settings: {key} has no values; list at least one")
        if len({json.dumps(each) for each in value}) < len(value):
            raise seqx.UserError(f"{file}: settings: {key} lists a value twice; remove one")
        return value
    if not (isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _RANGES):
        return [value]
    ((name, bounds),) = value.items()
    numbers = (
        isinstance(bounds, list) and len(bounds) == 2 and all(type(each) in (int, float) for each in bounds)
    )
    if not numbers or bounds[0] >= bounds[1] or (name == "log_uniform" and bounds[0] <= 0):
        positive = " and greater than 0" if name == "log_uniform" else ""
        raise seqx.UserError(
            f"{file}: settings: {key}: is not a range; write {{{name}: [LOW, HIGH]}}, with LOW less than HIGH"
            f"{positive}"
        )
    if fields.sample is None:
        raise seqx.UserError(
            f"{file}: settings: {key} is a range; set `sample` to the number of configurations"
        )
    return value


def _configurations(axes: Mapping[str, Any], sample: int | None, folder: Path) -> list[Configuration]:
    """Return all combinations of the values, or a random sample of them."""
    choices = (
        [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        if sample is None
        else [*_sampled(axes, sample)]
    )
    varied = [key for key in axes if len({json.dumps(choice[key]) for choice in choices}) > 1]
    short = dict(zip(varied, _short_names(varied), strict=True))
    return [
        Configuration(
            recipe=choice["recipe"],
            recipe_file=_recipe_file(choice["recipe"], folder),
            profile=choice["profile"],
            settings={key: value for key, value in choice.items() if key not in ("recipe", "profile")},
            varied={short[key]: choice[key] for key in varied},
        )
        for choice in choices
    ]


def _sampled(axes: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Yield at most `count` different random choices. A larger `count` yields the same first ones."""
    seen: set[str] = set()
    for attempt in range(20 * count):
        seed = f"{_SAMPLE_SEED} {attempt}"
        choice = {key: _drawn(values, random.Random(f"{seed} {key}")) for key, values in axes.items()}  # noqa: S311
        text = json.dumps(choice)
        if text not in seen:
            seen.add(text)
            yield choice
        if len(seen) == count:
            return


def _drawn(values: Any, rng: random.Random) -> Any:
    """Return a random value of a list or a range."""
    if isinstance(values, list):
        return rng.choice(values)
    ((name, (low, high)),) = values.items()
    drawn = rng.uniform(low, high) if name == "uniform" else low * (high / low) ** rng.random()
    return round(drawn) if isinstance(low, int) and isinstance(high, int) else float(f"{drawn:.3g}")


def _short_names(keys: Sequence[str]) -> list[str]:
    """Return the shortest ends of the dotted keys that are different."""
    names = []
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in keys if other != key]
        names.append(
            next(end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others))
        )
    return names


def _baseline(
    configurations: Sequence[Configuration], wanted: Mapping[str, Any] | None, file: Path
) -> Configuration:
    """Return the configuration with the wanted values; without any, the first one."""
    if wanted is None:
        return configurations[0]
    found = [
        each
        for each in configurations
        if all(
            {"recipe": each.recipe, "profile": each.profile, **each.settings}.get(key) == value
            for key, value in wanted.items()
        )
    ]
    if len(found) != 1:
        count = "no configuration has" if not found else f"{len(found)} configurations have"
        raise seqx.UserError(f"{file}: baseline: {count} these values; name the values of exactly one")
    return found[0]
