"""Weights on disk: checkpoints of a run, their mean, and the folder of a finished model.

Each is a folder that is written beside its place, with a manifest of sizes and hashes as its last file, and
then renamed; readers look at sizes always, and at the hash of a file when they read it.
"""

import pickle
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from seqx.errors import DamagedError, UserError, unreadable, unwritable
from seqx.interfaces.scores import ValidationScore
from seqx.interfaces.values import Score
from seqx.runtime.devices import uses_cuda
from seqx.storage import manifest, state_dict
from seqx.storage.atomic import clear, whole_file, whole_folder
from seqx.storage.identity import Identity
from seqx.storage.json_format import FORMAT, json_text, read_as, read_json
from seqx.storage.manifest import Manifest
from seqx.storage.safetensors_header import check_fits, header

LARGEST = 1 << 28
"""Most bytes of a file in a model's folder that holds no weights."""

WEIGHTS = "model.safetensors"
SCORES = "scores.json"


_Count = Annotated[int, Ge(0), Lt(1 << 63)]
_Seconds = Annotated[float, Ge(0), Lt(1 << 40)]  # finite, and less than any clock counts


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come."""

    step: _Count = 0  # updates made
    epoch: _Count = 0
    index: _Count = 0  # updates made in this epoch
    tokens: _Count = 0  # target tokens learnt from
    seconds: _Seconds = 0.0  # spent in training, over all starts
    best: float | None = None  # the task's first score on the development set, where it was best
    best_step: _Count = 0
    stale: _Count = 0  # validations since the score that patience watches was best
    waits_for: str | None = None  # the name of that score; None: the task's first score
    leader: ValidationScore | None = None  # the best value of that score
    pending: bool = False  # stopped before the validation and the saving that are due after this update


@dataclass(frozen=True, kw_only=True)
class About:
    """What a checkpoint says of itself, in `checkpoint.json`."""

    format: Annotated[int, Ge(1)]
    score: float | None  # of the validation after this update
    ranked: bool  # it may be averaged or chosen, not only resumed from
    progress: Progress
    figure: ValidationScore | None = None  # of the same validation; `score` is its rank
    made_from: Identity | None = None  # None in checkpoints of earlier versions of seqx


_ABOUT = TypeAdapter(About)
_STEP = re.compile(r"\d{8,}", re.ASCII)
_ASIDE = ".damaged"


class Checkpoints:
    """The checkpoints of a run, `checkpoints/STEP/`; each is either complete or absent.

    Args:
        folder: where they lie
        identity: of the run; checkpoints of other runs are refused; None: it is not known
    """

    def __init__(self, folder: Path, identity: Identity | None = None) -> None:
        self.folder = folder
        self.identity = identity

    def steps(self) -> list[int]:
        """The steps at which there is a checkpoint, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if _STEP.fullmatch(path.name))

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / f"{step:08}"

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        saved: Mapping[str, Any],
        *,
        figure: ValidationScore | None = None,
        ranked: bool = True,
    ) -> Path:
        """Write a checkpoint, and read it again.

        Args:
            progress: how far the run has come
            model: whose weights are averaged and chosen
            saved: states by their names, see `seqx.storage.state_dict`
            figure: the score of the validation after this update, by which checkpoints are compared
            ranked: it may be averaged or chosen, not only resumed from

        Raises:
            UserError: it cannot be written, or is not read as it was written
        """
        path = self.path(progress.step)
        about = About(
            format=FORMAT,
            score=None if figure is None else figure.rank,
            ranked=ranked,
            progress=progress,
            figure=figure,
            made_from=self.identity,
        )
        self._clear()  # what a save that was killed left may be what fills the disk
        with _written(path) as new:
            save_model(model, str(new / WEIGHTS))
            state_dict.write(new, {**saved, _RANDOM: random_states()})
            (new / "checkpoint.json").write_text(json_text(asdict(about), indent=2) + "\n", encoding="utf-8")
        return path

    def about(self, step: int) -> About:
        """What is known of a checkpoint without its tensors.

        Raises:
            DamagedError: a file is missing, cut, or not what was written
            UserError: it is of another step or of another run
        """
        path = self.path(step)
        found = _manifest(path, "checkpoint.json")
        about = read_as(_ABOUT, path / "checkpoint.json")
        _check_first(path, about.format, found)
        if about.progress.step != step:
            right = self.path(about.progress.step)
            raise UserError(
                f"{path}: holds the checkpoint of update {about.progress.step}; rename it to {right.name}, "
                f"or move it out of {self.folder}"
            )
        if self.identity is not None:
            self.identity.check(path, about.made_from)
        return about

    def check(self) -> None:
        """Check which run and step each checkpoint belongs to; damaged checkpoints are not reported here.

        Raises:
            UserError: one is of another step or of another run
        """
        for step in self.steps():
            with suppress(DamagedError):
                self.about(step)

    def progress(self) -> Progress | None:
        """How far the newest checkpoint has come; None: there is none."""
        steps = self.steps()
        return self.about(steps[-1]).progress if steps else None

    def resume(
        self,
        model: nn.Module,
        device: torch.device,
        tell: Callable[[str], object],
        *,
        before: int | None = None,
    ) -> tuple[Progress, dict[str, Any]] | None:
        """Restore the newest checkpoint that is whole; None: there is none at all.

        Args:
            model: gets its weights
            device: gets the other tensors
            tell: hears of each that is damaged, which is set aside
            before: only checkpoints of earlier updates; None: all

        Raises:
            UserError: all are damaged, or one is of another model or another run
        """
        self.check()
        damaged: dict[int, DamagedError] = {}
        for step in reversed([step for step in self.steps() if before is None or step < before]):
            try:
                found = self.restore(step, model, device)
            except DamagedError as error:
                damaged[step] = error
                continue
            for other, why in damaged.items():
                self._set_aside(other, f"{why}; going on from the checkpoint of update {step}", tell)
            return found
        if damaged:
            raise UserError(
                f"{next(iter(damaged.values()))}; no checkpoint before it is whole: "
                f"remove {self.folder} to begin anew"
            )
        aside = [path.name for path in self.folder.glob(f"*{_ASIDE}")] if before is None else []
        if aside:
            raise UserError(
                f"{self.folder}: only damaged checkpoints are left ({min(aside)}); put a whole one back, "
                f"or remove {self.folder} to begin anew"
            )
        return None

    def restore(self, step: int, model: nn.Module, device: torch.device) -> tuple[Progress, dict[str, Any]]:
        """Give a model the weights of a step, and torch its random states; returns the other states.

        Raises:
            DamagedError: a file is missing, cut, or not what was written
            UserError: it is another model's, or of a newer seqx
        """
        path = self.path(step)
        about = self.about(step)
        found = _STATES[about.format](path, device)
        read_weights(model, path / WEIGHTS)
        try:
            set_random_states(found.pop(_RANDOM))
        except (LookupError, TypeError, AttributeError, RuntimeError) as error:
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise DamagedError(f"{path}: its random states cannot be read ({said})") from None
        return about.progress, found

    def prune(self, keep: int, *, choose: str, tell: Callable[[str], object]) -> None:
        """Remove all checkpoints except the newest, the best, and the `keep` last or best ranked ones.

        `tell` hears of each that is damaged, which is set aside.
        """
        self._clear()
        chosen = [
            *self.chosen(keep, choose=choose, tell=tell),
            *self.chosen(1, choose="best", tell=tell),
        ]
        steps = self.steps()
        wanted = {*steps[-1:], *chosen}
        for step in steps:
            if step not in wanted:  # out of sight first, so that nobody ever finds half of one
                self.path(step).rename(self.folder / f".{step:08}.old")
        self._clear()

    def mean(
        self, count: int, *, choose: str, tell: Callable[[str], object], set_aside: bool = True
    ) -> tuple[list[int], dict[str, Tensor]]:
        """The mean weights of the last, or the best, `count` checkpoints that are whole, and which these are.

        `tell` hears of each that is damaged, which is set aside, unless somebody else may be working here.

        Raises:
            UserError: there is no checkpoint, or none is whole
        """
        damaged: dict[int, DamagedError] = {}
        while steps := self._chosen(count, choose, damaged):
            try:
                weights = average([self.path(step) / WEIGHTS for step in steps])
            except DamagedError:
                for step in steps:
                    self._examine(step, lambda step: _read(self.path(step) / WEIGHTS), damaged)
                continue
            for step, why in damaged.items():
                said = f"{why}; it is not averaged"
                if set_aside:
                    self._set_aside(step, said, tell)
                else:
                    tell(said)
            return steps, weights
        newest = "".join(f"; {error}" for error in [*damaged.values()][-1:])
        raise UserError(f"{self.folder}: there is no whole checkpoint to make a model of{newest}")

    def chosen(self, count: int, *, choose: str, tell: Callable[[str], object]) -> list[int]:
        """The last, or the best, `count` ranked checkpoints, in order; the newest one when none is ranked.

        `tell` hears of each whose files are not as long as they were, or that says nothing of itself; it is
        set aside, if another one is whole.
        """
        damaged: dict[int, DamagedError] = {}
        steps = self._chosen(count, choose, damaged)
        for step, why in damaged.items() if steps else ():
            self._set_aside(step, f"{why}; going on without it", tell)
        return steps

    def _chosen(self, count: int, choose: str, damaged: dict[int, DamagedError]) -> list[int]:
        """The same of those that are not known to be `damaged`, to which others are added."""
        about: dict[int, About] = {}
        for step in self.steps():
            if step not in damaged:
                self._examine(step, lambda step: about.update({step: self.about(step)}), damaged)
        ranked = [step for step, said in about.items() if said.ranked]
        if choose == "best":
            scored = [step for step in ranked if about[step].score is not None]
            ranked = sorted(scored, key=lambda step: (about[step].score, step)) or ranked
        return sorted(ranked[-count:]) or list(about)[-1:]

    def _examine(self, step: int, look: Callable[[int], object], damaged: dict[int, DamagedError]) -> None:
        """Look at a checkpoint; what is damaged is noted, and what was pruned meanwhile is none."""
        try:
            look(step)
        except DamagedError as error:
            if self.path(step).is_dir():
                damaged[step] = error

    def _set_aside(self, step: int, why: str, tell: Callable[[str], object]) -> None:
        """Let a damaged checkpoint be none, but leave it there to be looked at."""
        aside = self.path(step).with_suffix(_ASIDE)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            self.path(step).rename(aside)
        except OSError as error:
            tell(f"{why}; it stays where it is ({error.strerror or error})")
        else:
            tell(f"{why}; it is now {aside.name}")

    def _clear(self) -> None:
        """Remove what is out of sight: what is pruned, and what a save that was killed has left."""
        clear(self.folder)
        for half in self.folder.glob(".*"):
            shutil.rmtree(half, ignore_errors=True)


def average(files: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of weights, tensor by tensor, computed in double precision."""
    total: dict[str, Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    for file in files:
        weights = _read(file)
        if total and _shapes(weights) != _shapes(total):
            raise UserError(f"{file}: holds other tensors than {files[0]}; average checkpoints of one run")
        for name, tensor in weights.items():
            kinds[name] = tensor.dtype
            total[name] = total.get(name, 0) + tensor.double()
    return {name: (tensor / len(files)).to(kinds[name]) for name, tensor in total.items()}


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    recipe: str,
    learnt: Path,
    about: Mapping[str, Any],
    beside: Mapping[str, Path] | None = None,
) -> None:
    """Write a model's folder, which needs nothing else: weights, recipe, what was learnt, files `beside`."""
    with _written(folder) as new:
        save_file(dict(weights), str(new / WEIGHTS), metadata={"format": "pt"})
        (new / "recipe.yaml").write_text(recipe, encoding="utf-8")
        shutil.copytree(learnt, new / "task")
        for name, file in (beside or {}).items():
            (new / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, new / name)
        (new / "model.json").write_text(
            json_text({"format": FORMAT, **about}, indent=2) + "\n", encoding="utf-8"
        )


def write_scores(folder: Path, scores: Mapping[str, Mapping[str, Score]]) -> None:
    """Write `scores.json`: for each split its scores, each with its signature."""
    whole_file(folder / SCORES, scores_text(scores))


def scores_text(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """Return what `scores.json` holds."""
    plain = {
        split: {name: score.to_json() for name, score in named.items()} for split, named in scores.items()
    }
    return json_text(plain, indent=2) + "\n"


def read_weights(model: nn.Module, file: Path) -> None:
    """Give a model the weights of a file.

    Raises:
        DamagedError: it cannot be read, or is not what was written
        UserError: it is of another model
    """
    said = header(file)
    _manifest(file.parent, file.name)
    check_fits(model, said, file)
    try:
        load_model(model, str(file))
    except (SafetensorError, OSError) as error:
        raise unreadable(file, error) from None
    except RuntimeError as error:
        first, *rest = [line.strip() for line in str(error).splitlines()[1:] or [str(error)]]
        more = f" (and {len(rest)} more)" if rest else ""
        raise UserError(f"{file}: holds the weights of another model: {first}{more}") from None


@contextmanager
def _written(folder: Path) -> Iterator[Path]:
    """A whole folder with its manifest, read again; what writes tensors has its own words for a full disk."""
    with whole_folder(folder, check=partial(_verify, place=folder)) as new:
        try:
            yield new
            Manifest.seal(new, FORMAT)
        except (SafetensorError, RuntimeError) as error:
            raise unwritable(folder, error, "check the disk") from None


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def check_model(folder: Path) -> None:
    """See that a model's folder holds what was written, to the last byte; one of format 1 cannot tell.

    Raises:
        DamagedError: it does not
    """
    try:
        found = _manifest(folder)
        if found is not None:
            others = (name for name in found.files if name != WEIGHTS)  # those are checked when they are read
            found.check(*others, most=LARGEST)
        _check_first(folder, read_json(folder / "model.json").get("format", FORMAT), found)
    except DamagedError as error:
        raise DamagedError(
            f"{error}; copy the model anew (settings are changed with KEY=VALUE, not in its files)"
        ) from None


def _check_first(folder: Path, number: int, found: Manifest | None) -> None:
    """The first format has no manifest and no states in JSON; every other has a manifest."""
    if number > 1 and found is None:
        raise DamagedError(f"{folder / manifest.NAME}: cannot be read (it is missing)")
    later = next((name for name in (manifest.NAME, state_dict.TREE) if (folder / name).exists()), None)
    if number == 1 and later is not None:
        raise DamagedError(f"{folder / later}: cannot be read (beside it is format 1, which has none)")


def _manifest(folder: Path, *names: str) -> Manifest | None:
    """A folder's manifest, by which its files have their sizes, and these their hashes; None: it has none."""
    found = Manifest.read(folder, FORMAT)
    if found is not None:
        found.check_sizes()
        if names:
            found.check(*names)
    return found


def _verify(new: Path, *, place: Path) -> None:
    """What was written, and is to take its place, can be read, from the disk."""
    try:
        found = Manifest.read(new, FORMAT)
        assert found is not None, "it was written last"
        found.forget()
        found.check_sizes()
        found.check()
    except (DamagedError, OSError) as error:
        said = str(error).replace(str(new), str(place))
        raise UserError(
            f"{said}, though it was just written; older checkpoints are kept: see to the disk, and the same "
            "command goes on from them"
        ) from None


def _read(file: Path) -> dict[str, Tensor]:
    header(file)
    _manifest(file.parent, file.name)
    try:
        return load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise unreadable(file, error) from None


def random_states() -> dict[str, Tensor | list[Tensor]]:
    """Return torch's random states, of the CPU and, where this process uses CUDA, of each GPU."""
    cuda = torch.cuda.get_rng_state_all() if uses_cuda() else []  # reading them would initialise CUDA
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_states(found: Mapping[str, Any]) -> None:
    """Have torch draw what it would have drawn then."""
    torch.set_rng_state(found["cpu"].cpu())
    if uses_cuda():
        for index, state in enumerate(found["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state.cpu(), index)


_RANDOM = "random"  # beside states under their names


_TORN = (RuntimeError, EOFError, ValueError, LookupError, TypeError, pickle.UnpicklingError)


def _states_1(folder: Path, device: torch.device) -> dict[str, Any]:
    """Those of format 1, by an unpickler that makes nothing but tensors and plain values."""
    file = folder / "training.pt"
    try:
        saved = torch.load(file, map_location=device, weights_only=True)
        return {**saved["states"], _RANDOM: saved["rng"]}
    except OSError as error:
        raise unreadable(file, error) from None
    except _TORN as error:
        # Torch's own words on what it refuses to unpickle tell the user to trust the file.
        why = "damaged" if isinstance(error, pickle.UnpicklingError) else error
        raise DamagedError(f"{file}: cannot be read ({why})") from None


def _states_2(folder: Path, device: torch.device) -> dict[str, Any]:
    _manifest(folder, state_dict.TREE, state_dict.TENSORS)
    return state_dict.read(folder, device)


_STATES: Mapping[int, Callable[[Path, torch.device], dict[str, Any]]] = {1: _states_1, 2: _states_2}
"""How each format's states are read; a new format adds a line, and none is ever taken away."""
