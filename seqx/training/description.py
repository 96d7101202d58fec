"""The content of a recipe: the experiment, and published results to compare it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Gt

from seqx.interfaces.learning import Callback, Search
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task
from seqx.interfaces.text import Metric
from seqx.plugin.code import code_digests
from seqx.plugin.loading import Plugins
from seqx.plugin.registry import Make
from seqx.recipe import Configured
from seqx.training.config import Training


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published results of an experiment, shown beside the results of the run.

    Args:
        source: the publication
        parameters: the number of parameters of the model
        dev: scores on the development set, by the name of a metric or `perplexity`
        test: scores on the test set, by the same names
    """

    source: str
    parameters: Annotated[float, Gt(0)] | None = None
    dev: Mapping[str, float] | None = None
    test: Mapping[str, float] | None = None


class Experiment:
    """The experiment that a recipe describes.

    Args:
        task: the corpus, the vocabulary and the metrics
        model: the network
        training: the settings of training
        search: the decoding algorithm, for tasks whose outputs are written token by token
        callbacks: components that observe the run
        published: results to compare the run with; nothing is computed from them
    """

    not_settings: ClassVar[Mapping[str, str]] = {
        "profile": "choose a profile on the command line, with --profile NAME",
        "extend": "write extends: RECIPE",
        "plugin": "write plugins: [./FILE.py]",
    }

    def __init__(
        self,
        *,
        task: Task,
        model: Make[Model],
        training: Training,
        search: Search | None = None,
        callbacks: list[Callback] | None = None,
        published: Published | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.training = training
        self.search = search
        self.callbacks = callbacks or []
        self.published = published


def cache_key_settings(recipe: Configured[Experiment], plugins: Plugins) -> dict[str, Any]:
    """Return the values that determine the examples: settings of the task, and digests of plugin code.

    The settings of metrics are not included.
    """
    task = recipe.settings["task"]
    assert isinstance(task, Configured), "a task is a component"
    used = {name: list(value.used()) for name, value in task.settings.items()}
    metrics = {name for name, parts in used.items() if any(issubclass(c.interface, Metric) for c in parts)}
    settings = {name: value for name, value in task.plain().items() if name not in metrics}
    components = [c for name, parts in used.items() if name not in metrics for c in parts]
    if task.component is not None:
        components.append(task.component)
    code = code_digests(plugins, components)
    return {**settings, "code of plugins": code} if code else settings
