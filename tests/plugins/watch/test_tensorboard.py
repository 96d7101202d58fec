"""The callback `tensorboard`, whose files are read with TensorBoard."""

import warnings
from pathlib import Path

import pytest

from seqx_watch import TensorBoard
from tests.plugins.watch.simulation import Simulation, run


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own, about its dependencies
        module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = module.EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
    return {
        tag: [(point.step, round(point.value, 4)) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_curves_of_a_resumed_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    simulation = Simulation(run(tmp_path, steps=40), TensorBoard(every=10))
    simulation.start()
    simulation.update(1, 20)
    simulation.evaluate(20, 20.0)
    simulation.save(20)
    simulation.update(21, 30)
    simulation.fail(KeyboardInterrupt())
    simulation = Simulation(run(tmp_path, steps=40, done=20), TensorBoard(every=10))
    simulation.start()
    simulation.update(21, 40)
    simulation.fail(KeyboardInterrupt())  # in the validation, which the resumed run repeats
    simulation = Simulation(run(tmp_path, steps=40, done=40), TensorBoard(every=10))
    simulation.start()
    simulation.evaluate(40, 22.0)
    simulation.save(40)
    simulation.evaluate(40, 23.0, is_final=True)
    simulation.evaluate(40, 21.0, "test", is_final=True)
    simulation.finish()
    found = curves(tmp_path)
    assert found["train/loss"] == [(10, 4.945), (20, 4.845), (30, 4.745), (40, 4.645)]
    assert found["train/nll"][0] == (10, 3.945)
    assert found["dev/bleu"] == [(20, 20.0), (40, 22.0)]
    assert found["dev/perplexity"] == [(20, 7.25), (40, 7.25)]
    assert found["model/dev/bleu"] == [(40, 23.0)]
    assert found["model/test/chrf"] == [(40, 42.0)]
    assert {tag for tag in found if tag.startswith("train/")} == {
        f"train/{name}"
        for name in (
            *(
                "loss",
                "nll",
                "perplexity",
                "learning_rate",
                "norm",
                "tokens_per_second",
                "padding",
                "skipped",
            ),
        )
    }
