"""Training and decoding with each component on the simulated GPU, compared with the CPU, without waits."""

import math
from collections.abc import Callable
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import seqx
from seqx.data.store import Store
from seqx.parallel.master_weights import MasterWeights
from seqx.parallel.parallelism import SingleDevice
from seqx_transformer import FeedForward, Initialisation, Kernel, Norm
from seqx_transformer.layers import Residual
from tests.simulated_gpu import backend  # noqa: F401  before the first backward pass
from tests.simulated_gpu.device import SimulatedGpu
from tests.simulated_gpu.small import (
    CPU,
    CUDA,
    LIMITS,
    SIZES,
    STACK,
    TEXT,
    Setup,
    Trained,
    assert_same_answers,
    decode,
    registry,
    setup,
    token_labels,
    train,
    training,
)

SIDES = ("encoder", "decoder")
OVERRIDES: dict[type, list[str]] = {  # overrides that select a component of an interface
    seqx.Encoder: ["model.encoder={{type: {}, layers: 2, dropout: 0}}"],
    seqx.Decoder: [
        "model.decoder={{type: {}, layers: 2, dropout: 0, attention: {{type: multihead, heads: 2}}}}"
    ],
    seqx.Attention: [f"model.{side}.attention={{{{type: {{}}, heads: 2}}}}" for side in SIDES],
    seqx.PositionalEncoding: [f"model.{side}.positions={{{{type: {{}}}}}}" for side in SIDES],
    FeedForward: [f"model.{side}.feedforward={{{{type: {{}}, width: 24}}}}" for side in SIDES],
    Kernel: [f"model.{side}.attention={{{{type: multihead, heads: 2, kernel: {{}}}}}}" for side in SIDES],
    Norm: [f"model.{side}.norm={{}}" for side in SIDES] + [f"model.{side}.norm_order=pre" for side in SIDES],
    Initialisation: [f"model.{side}.initialisation={{{{type: {{}}}}}}" for side in SIDES],
    seqx.Objective: ["training.objective={{type: {}}}"],
    seqx.Optimizer: ["training.optimizer={{type: {}}}"],
    seqx.Schedule: ["training.schedule={{type: {}, warmup: 2, peak: 0.01}}"],
    seqx.Model: [],
}
INNER = f"{{type: encoder_decoder, d_model: 16, encoder: {STACK}, decoder: {STACK}}}"
SPECIAL: dict[str, list[str]] = {  # overrides for components that need other settings
    "additive": [f"model.{side}.attention=additive" for side in SIDES],
    "multiplicative": [f"model.{side}.attention=multiplicative" for side in SIDES],
    "restricted": ["model.encoder.attention={type: restricted, heads: 2, window: 3}"],
    "t5": ["model.encoder.positions=t5", "model.decoder.positions={type: t5, ahead: false}"],
    "combined": [f"model.{side}.positions={{type: combined, encodings: [rotary, shaw]}}" for side in SIDES],
    "deepnorm": [f"model.{side}.initialisation={{type: deepnorm, beta: 0.5}}" for side in SIDES],
    "tagged": [
        "training.objective={type: tagged, column: source, inner: cross_entropy}",
        f"model={{type: tagging, column: source, dropout: 0, inner: {INNER}}}",
    ],
    "adam": ["training.optimizer={type: adam, eps: 1.0e-3}"],
    "adamw": ["training.optimizer={type: adamw, eps: 1.0e-3, decay: 0.1}"],
    "muon": ["training.optimizer={type: muon, eps: 1.0e-3}"],
    "constant": ["training.schedule={type: constant, rate: 0.01}"],
    "encoder_decoder": [],
    "classifier": [f"model={{type: classifier, d_model: 16, dropout: 0, encoder: {STACK}}}"],
    "tagger": [f"model={{type: tagger, d_model: 16, dropout: 0, encoder: {STACK}}}"],
    "decoder_only": [
        f"model={{type: decoder_only, d_model: 16, decoder: {STACK[:-1]}, use_source: false}}}}"
    ],
    "guided": [f"model={INNER.replace('encoder_decoder', 'guided, column: target', 1)}"],
    "tagging": [f"model={{type: tagging, column: source, dropout: 0, inner: {INNER}}}"],
}
NARROW = {"convolution": "convolution, width: 16"}  # the default width is 512
SHORT = LIMITS.clamp_max(4)
BASE: dict[type, str] = {  # components of `TEXT`; the cases of `encoder_decoder` test them
    seqx.Attention: "multihead",
    FeedForward: "relu",
    seqx.Optimizer: "adam",
    seqx.Schedule: "constant",
}
NOT_SIMULATED = {"cpu", "flex"}  # a kernel for CPUs only, and one that is compiled for a real GPU
HOST_ONLY = {Initialisation, seqx.Schedule}  # interfaces that run on the host; a test in float32 is enough
TRAINING_ONLY = {*HOST_ONLY, seqx.Objective, seqx.Optimizer}  # interfaces that decoding does not use
TOGETHER = (  # interfaces whose components do not depend on each other: one training tests one of each
    (seqx.PositionalEncoding, FeedForward, Norm),
    (Initialisation, seqx.Optimizer, seqx.Schedule),
)

Case = tuple[tuple[type, str], ...]
"""The components that a test exchanges, each with its interface."""


def components(interface: type) -> list[tuple[type, str]]:
    """Return the tested components of an interface."""
    names = registry().components(interface)
    return [(interface, n) for n in names if n not in NOT_SIMULATED and BASE.get(interface) != n]


def cases() -> list[Case]:
    """Return cases with each component of each interface."""
    alone = OVERRIDES.keys() - {interface for group in TOGETHER for interface in group}
    groups = (*((interface,) for interface in OVERRIDES if interface in alone), *TOGETHER)
    return [tuple(filter(None, case)) for group in groups for case in zip_longest(*map(components, group))]


CASES = cases()


def interfaces(case: Case) -> set[type]:
    return {interface for interface, _ in case}


def setup_of(folder: Path, case: Case) -> Setup:
    """Return the setup with the components of a case."""
    overrides = []
    for interface, name in case:
        named = NARROW.get(name, name)
        overrides += SPECIAL.get(name, [override.format(named) for override in OVERRIDES[interface]])
    return setup(folder, overrides)


@pytest.fixture(scope="module")
def trained_on_cpu(recipe_folder: Path, store: Store) -> Callable[[Case], Trained]:
    """Return a function from a case to its model after two updates on the CPU, in float32."""
    return cache(
        lambda case: train(setup_of(recipe_folder, case), store, CPU, updates=2, groups=groups_of(case))
    )


def groups_of(case: Case) -> int:
    """Return the number of microbatches in an update: one, if the components do not depend on it."""
    return 2 if interfaces(case) & {seqx.Model, seqx.Objective} else 1


def case_id(case: Case) -> str:
    return "-".join(f"{interface.__name__}-{name}" for interface, name in case)


def test_all_interfaces_that_run_on_a_device_are_listed() -> None:
    on_host = {
        "Callback",
        "Corpus",
        "Engine",
        "Exporter",
        "Importer",
        "Metric",
        "Normalizer",
        "Task",
        "Tokenizer",
    }
    in_test_search = {"Ensemble", "Linearisation", "ScoreProcessor", "Search"}
    needs_ranks = {"Parallelism"}  # one process simulates one GPU
    tested_below = {"InputLayer"}
    on_device = {interface.__name__ for interface in registry().interfaces()}
    on_device -= on_host | in_test_search | needs_ranks | tested_below
    assert on_device == {interface.__name__ for interface in OVERRIDES}
    assert all(f"type: {name}" in TEXT for name in BASE.values())


@pytest.mark.parametrize("name", registry().components(seqx.InputLayer))
def test_input_layer_on_gpu_equals_that_on_cpu(name: str) -> None:
    torch.manual_seed(1)
    layer = registry().components(seqx.InputLayer)[name].maker(seqx.Features(3), 16)
    source = seqx.Column.of(torch.randn(2, 9, 3), torch.tensor([9, 6]))
    expected, host_layout = layer.embed(source)
    with SimulatedGpu() as gpu:
        layer.to(CUDA)
        source = source.to(CUDA)
        gpu.reset()
        embeddings, layout = layer.embed(source)
        embeddings.sum().backward()
        assert not gpu.waits
        assert not gpu.mixes
        torch.testing.assert_close(embeddings.cpu(), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(layout.keep.cpu(), host_layout.keep)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_training_and_answers_on_gpu_equal_those_on_cpu(
    case: Case,
    recipe_folder: Path,
    store: Store,
    trained_on_cpu: Callable[[Case], Trained],
) -> None:
    config = setup_of(recipe_folder, case)
    host = trained_on_cpu(case)
    decodes = bool(interfaces(case) - TRAINING_ONLY)
    with SimulatedGpu() as gpu, training(config, store, CUDA, groups=groups_of(case)) as (device, stream):
        device.updates = [next(stream)]  # the host may wait when the optimizer creates its state
        gpu.reset()
        device.updates.append(next(stream))
        assert not gpu.waits
        device.model.eval()
        losses, weights = device.losses, device.weights
        if decodes:
            answers = decode(device.model, config.search, CUDA, limits=SHORT)
            labels = token_labels(device.model, CUDA)
        assert not gpu.mixes
    assert losses == pytest.approx(host.losses, rel=1e-5)
    torch.testing.assert_close(weights, host.weights, rtol=1e-4, atol=1e-5)
    if decodes:
        assert_same_answers(answers, decode(host.model, config.search, CPU, limits=SHORT))
        torch.testing.assert_close(labels, token_labels(host.model, CPU), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [case for case in CASES if interfaces(case) - HOST_ONLY], ids=case_id)
def test_training_in_bf16_with_dropout_neither_mixes_devices_nor_waits(
    case: Case,
    recipe_folder: Path,
    store: Store,
    trained_on_cpu: Callable[[Case], Trained],
) -> None:
    """Under autocast, the outputs of norms, residual sums, encoders and decoders are bfloat16."""
    config = setup_of(recipe_folder, case)
    expected = trained_on_cpu(case).losses
    with (
        SimulatedGpu() as gpu,
        training(config, store, CUDA, "bf16", groups=groups_of(case)) as (device, stream),
    ):
        for part in device.model.modules():
            if hasattr(part, "p"):
                vars(part)["p"] = 0.1
        dtypes = dtypes_of_outputs(device.model)
        device.updates = [next(stream)]
        gpu.reset()
        device.updates.append(next(stream))
        assert not gpu.waits
        device.model.eval()
        assert device.losses == pytest.approx(expected, rel=0.3)
        if interfaces(case) - TRAINING_ONLY:
            answers = decode(device.model, config.search, CUDA, precision="bf16", limits=SHORT)
            assert all(math.isfinite(h.score) for nbest in answers for h in nbest)
        assert not gpu.mixes
    if interfaces(case) & {seqx.Encoder, seqx.Decoder, Norm}:
        assert len(dtypes) > 1
        assert set(dtypes.values()) == {torch.bfloat16}, dtypes


def dtypes_of_outputs(model: nn.Module) -> dict[str, torch.dtype]:
    """Return a dict that gets the type of the outputs of each norm, residual sum and stack, by its name."""
    dtypes: dict[str, torch.dtype] = {}

    def record_dtype(name: str, part: nn.Module) -> None:
        def hook(_: object, __: object, out: Tensor | tuple[Tensor, object]) -> None:
            dtypes[name] = (out if isinstance(out, Tensor) else out[0]).dtype

        part.register_forward_hook(hook)

    for name, part in model.named_modules():
        if isinstance(part, Norm | Residual | seqx.Encoder | seqx.Decoder):
            record_dtype(name, part)
    return dtypes


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if interfaces(case) & {seqx.Encoder, seqx.Decoder, seqx.Model}],
    ids=case_id,
)
def test_bf16_weights_with_a_master_copy_train_almost_the_same_with_fewer_kernels(
    case: Case, recipe_folder: Path, store: Store
) -> None:
    config = setup_of(recipe_folder, case)
    losses, kernels = [], []
    for strategy in (SingleDevice, MasterWeights):
        with (
            SimulatedGpu() as gpu,
            training(config, store, CUDA, "bf16", groups=1, strategy=strategy) as (device, stream),
        ):
            next(stream)
            gpu.reset()
            losses.append(next(stream).loss)
            assert not gpu.mixes
            kernels.append(gpu.kernels)
            assert {weight.dtype for weight in device.weights.values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert kernels[1] < kernels[0]


def test_moving_average_weights_are_cast_once_per_search(recipe_folder: Path, store: Store) -> None:
    from seqx.training.ema import Average, Ema

    config = setup(recipe_folder, [])
    with SimulatedGpu() as gpu:
        device = train(config, store, CUDA, "bf16")
        average = Average(Ema(), device.model)
        average.add_weights()
        kernels = []
        for model in (device.model, average.model.eval()):
            assert isinstance(model, seqx.Generator)
            gpu.reset()
            decode(model, config.search, CUDA, precision="bf16", limits=SHORT)
            kernels.append(gpu.kernels)
        assert kernels[0] == kernels[1]


def test_moving_average_on_gpu_equals_that_on_cpu(recipe_folder: Path, store: Store) -> None:
    from seqx.training.ema import Average, Ema

    config = setup(recipe_folder, [])

    def averaged(device: torch.device) -> dict[str, Tensor]:
        with training(config, store, device) as (result, stream):
            average = Average(Ema(), result.model)
            for update in (next(stream) for _ in range(3)):
                average.add_weights(update.skipped)
                average.add_weights(torch.ones_like(update.skipped))  # a skipped update changes nothing
            return {name: weight.cpu() for name, weight in average.model.state_dict().items()}

    expected = averaged(CPU)
    with SimulatedGpu():
        actual = averaged(CUDA)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_ids_of_the_store_are_below_the_vocabulary_sizes(store: Store) -> None:
    assert max(int(column.values.max()) for column in store.columns.values()) < min(SIZES.values())
