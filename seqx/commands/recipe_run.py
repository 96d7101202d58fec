"""A run of a recipe, for the command `seqx run` and the function `seqx.run`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from seqx.commands.loading import CheckedRecipe, load_checked
from seqx.errors import PluginError, UserError
from seqx.experiment import run as run_experiment
from seqx.interfaces.scores import Score
from seqx.parallel import SINGLE_PROCESS, World
from seqx.plugin.blame import message_naming_plugin
from seqx.run_folder import RunFolder
from seqx.run_record import Record
from seqx.runtime.signals import Stopped, StopRequest
from seqx.storage.checkpoints import Checkpoints
from seqx_toolkit import DISTRIBUTION


def run(
    recipe: str | Path,
    *overrides: str,
    profile: str | None = None,
    folder: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    changed_plugins: bool = False,
) -> Record:
    """Train and test the model of a recipe, or resume a run, in this process, as `seqx run` does.

    An interrupted run saves a checkpoint, and calling this function again resumes it. A finished run is only
    read, and a line on standard error says so. A notebook shows a view of the result.

    Args:
        recipe: a file, or the name of a recipe of seqx
        overrides: settings as KEY=VALUE, such as "training.steps=1000"
        profile: the profile to apply
        folder: the folder of the run; None: runs/RECIPE[-PROFILE] in the working directory
        device: "auto", "cpu", "cuda", "cuda:1", ...
        threads: threads on a CPU; None: as many as the run began with
        changed_plugins: resume the run even if its local plugins have changed

    Raises:
        UserError: an error that the user can fix, with the message that `seqx run` prints
        Stopped: a signal, for example by Ctrl-C, asked the run to stop; it is a `KeyboardInterrupt`
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("seqx.run trains with one process; start several with seqx run --devices N")
    stop = StopRequest()
    with stop.handling_signals():
        started = RecipeRun.load(str(recipe), overrides, profile, None if folder is None else Path(folder))
        started = replace(started, again="call seqx.run again")
        if started.is_finished:
            click.echo(
                f"{started.folder.absolute()}: this run is finished, so it is read and not trained again",
                err=True,
            )
        started.train(device=device, threads=threads, changed_plugins=changed_plugins, stop=stop)
    return Record.read(started.folder)


@dataclass(frozen=True)
class RecipeRun:
    """A checked recipe, and the name and the folder of its run."""

    checked: CheckedRecipe
    name: str
    folder: Path
    again: str = "run the same command again"  # how to resume, in messages

    @classmethod
    def load(
        cls, recipe: str, overrides: tuple[str, ...], profile: str | None, folder: Path | None
    ) -> "RecipeRun":
        """Load and check a recipe.

        Args:
            recipe: a file, or the name of a recipe of seqx
            overrides: settings as KEY=VALUE
            profile: the profile to apply
            folder: the folder of the run; None: it is named after the recipe

        Raises:
            RecipeError: the recipe has problems
        """
        checked = load_checked(recipe, profile, overrides)
        name = checked.recipe.name + (f"-{profile}" if profile else "")
        return cls(checked, name, folder or Path("runs", name))

    @property
    def is_finished(self) -> bool:
        """True if the run has its scores."""
        return RunFolder(self.folder).final_scores(self.checked.configured) is not None

    def train(
        self,
        *,
        device: str,
        threads: int | None,
        changed_plugins: bool,
        stop: StopRequest,
        world: World = SINGLE_PROCESS,
    ) -> Mapping[str, Mapping[str, Score]]:
        """Run the recipe or resume its run, and return the scores; see `seqx.experiment.run` for parameters.

        Raises:
            UserError: an error that the user can fix, or an error of a plugin
            KeyboardInterrupt: the run was interrupted; a message says how to resume it
        """
        with self._reporting_failure(world):
            return run_experiment(
                self.checked.configured,
                self.checked.plugins,
                name=self.name,
                folder=self.folder,
                device=device,
                number_of_threads=threads,
                changed_plugins=changed_plugins,
                stop=stop,
                world=world,
            )

    @contextmanager
    def _reporting_failure(self, world: World) -> Iterator[None]:
        """Report a signal, an interrupt or a plugin's error in the block, and how to resume the run.

        Other errors are raised again, with a note about components of external plugins, which may be the
        cause.
        """
        try:
            yield
        except KeyboardInterrupt as error:
            state = (
                f"stopped by {error}, {self._last_checkpoint()}"
                if isinstance(error, Stopped)
                else "interrupted"
            )
            if world.is_rank_zero:
                click.echo(f"{self.folder}: {state}; {self.again} to continue", err=True)
            raise
        except UserError:
            raise
        except Exception as error:
            message = message_naming_plugin(error)
            if message is None:
                if components := self._external_components():
                    error.add_note(
                        f"The recipe uses {', '.join(components)}. Perhaps a method of such a component has "
                        "returned something wrong: run its laws (seqx.testing.laws)."
                    )
                raise
            raise PluginError(f"{message}\n{self._advice()}") from error

    def _external_components(self) -> list[str]:
        """Return the components of the recipe that are not included in seqx, with their files and lines."""
        found = []
        for component in self.checked.configured.used():
            plugin = self.checked.plugins.of(component)
            if plugin is not None and plugin.source != DISTRIBUTION:
                found.append(f"the {component.interface.__name__} {component.name!r} ({component.where})")
        return list(dict.fromkeys(found))

    def _last_checkpoint(self) -> str:
        steps = Checkpoints(self.folder / "checkpoints").steps()
        return f"the checkpoint of update {steps[-1]} is kept" if steps else "no checkpoint was written yet"

    def _advice(self) -> str:
        """Return the advice after an error of a plugin: how to resume the run."""
        start = "from there" if Checkpoints(self.folder / "checkpoints").steps() else "from the start"
        return (
            f"{self.folder}: {self._last_checkpoint()}; fix the plugin, and {self.again} to "
            f"continue {start} (with --changed-plugins, if the plugin is a local file)"
        )
