"""Each model of the recipes trains and decodes in bf16 as in fp32, with any instruction set of the CPU."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import seqx
from seqx import recipe
from seqx.interfaces.tensors import Batch
from seqx.plugin.loading import Plugins, load_plugins
from seqx.runtime.devices import autocast
from seqx.testing.samples import SIZES, SOURCE, TARGET, TARGET_LENGTHS, B
from seqx.training.description import Experiment

pytestmark = pytest.mark.isa

RECIPES = Path(__file__).parents[2] / "recipes"
PROFILES = recipe.load(RECIPES / "compare_components.yaml").profiles
RECIPES_AND_PROFILES = [
    *(("compare_components", profile) for profile in PROFILES),
    *((name, None) for name in ("multi30k_lstm", "multi30k_convs2s", "multi30k_hybrid")),
]
CPU = torch.device("cpu")
LIMITS = torch.full((B,), 5)

cached_plugins = cache(load_plugins)


def load_experiment(name: str, profile: str | None, plugins: Plugins) -> Experiment:
    tree = recipe.load(RECIPES / f"{name}.yaml", profile, overrides=["model.d_model=64"]).tree
    return recipe.check(tree, plugins.registry, Experiment)()


@pytest.mark.parametrize(("name", "profile"), RECIPES_AND_PROFILES, ids=lambda part: part or "no_profile")
def test_models_train_and_search_in_bf16(name: str, profile: str | None) -> None:
    experiment = load_experiment(name, profile, cached_plugins())
    model = experiment.model(SIZES).eval()
    batch = Batch({"source": SOURCE, "target": TARGET}, int(TARGET_LENGTHS.sum()))
    losses, norms = [], []
    for precision in ("fp32", "bf16"):
        model.zero_grad()
        with autocast(CPU, precision):
            loss = experiment.training.objective(model, batch)["loss"] / batch.count
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(isinstance(gradient, Tensor) and gradient.dtype == torch.float32 for gradient in gradients)
        losses.append(float(loss.detach()))
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        with torch.no_grad(), autocast(CPU, precision):
            assert experiment.search is not None
            assert isinstance(model, seqx.Generator)
            assert len(experiment.search(model, SOURCE, LIMITS, None)) == B
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert norms[1] == pytest.approx(norms[0], rel=0.1)
