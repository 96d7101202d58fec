"""The sums and means over several updates."""

import dataclasses
import math

import pytest
import torch

import seqx
from seqx_watch.metrics import Window
from tests.plugins.watch.simulation import update


def test_window_means_are_per_token() -> None:
    window = Window()
    for step, (loss, tokens) in enumerate([(2.0, 100), (4.0, 300)], 1):
        window.add(
            seqx.Update(
                **{
                    **vars(update(step)),
                    "sums": {"loss": torch.tensor(loss * tokens)},
                    "counts": {"loss": tokens},
                    "tokens": tokens,
                    "seconds": tokens / 50,
                    "padding": loss / 100,
                }
            )
        )
    reading = window.read()
    assert (reading.step, reading.updates, reading.tokens, reading.skipped) == (2, 2, 400, 0)
    assert reading.loss == pytest.approx(3.5)
    assert reading.nll is None
    assert reading.perplexity == pytest.approx(math.exp(3.5))
    assert reading.tokens_per_second == pytest.approx(50)
    assert reading.padding == pytest.approx(0.03)
    assert reading.learning_rate == 2e-5


def test_window_perplexity_excludes_label_smoothing() -> None:
    window = Window()
    window.add(update(1, loss=5.0, nll=4.0))
    assert window.read().perplexity == pytest.approx(math.exp(4))


@pytest.mark.parametrize(
    ("nll", "perplexity"), [(800.0, math.inf), (math.inf, math.inf), (709.0, math.exp(709))]
)
def test_window_perplexity_can_be_infinite(nll: float, perplexity: float) -> None:
    window = Window()
    window.add(update(1, nll=nll))
    assert window.read().perplexity == pytest.approx(perplexity, rel=1e-3)


def test_window_divides_other_terms_by_their_own_count() -> None:
    window = Window()
    for step, (kl, count) in enumerate([(2.0, 100), (4.0, 300)], 1):
        plain = update(step)
        sums, counts = {**plain.sums, "kl": torch.tensor(kl * count)}, {**plain.counts, "kl": count}
        window.add(dataclasses.replace(plain, sums=sums, counts=counts))
    assert window.read().others == {"kl": pytest.approx(3.5)}


def test_window_is_empty_after_reading() -> None:
    window = Window()
    window.add(update(1, loss=5.0))
    assert window.read().loss == 5
    window.add(update(2, loss=3.0))
    assert window.read().loss == 3
    assert window.updates == 0


def test_window_excludes_skipped_updates_from_means() -> None:
    window = Window()
    window.add(update(1, loss=math.nan, nll=math.nan, norm=math.inf, skipped=True))
    window.add(update(2, loss=3.0))
    reading = window.read()
    assert (reading.skipped, reading.loss, reading.tokens) == (1, 3.0, 2000)
    window.add(update(3, loss=math.nan, norm=math.inf, skipped=True))
    reading = window.read()
    assert math.isnan(reading.loss)
    assert math.isnan(reading.perplexity)
    assert reading.norm == math.inf


def test_window_does_not_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: torch.Tensor) -> None:
        raise AssertionError("read from the device")

    for name in ("__float__", "__int__", "__bool__", "__index__", "item", "tolist", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    window = Window()
    for step in range(1, 4):
        window.add(update(step))
    with pytest.raises(AssertionError, match="read from the device"):
        window.read()


def test_window_adds_many_updates_one_after_another() -> None:
    window, total = Window(), torch.tensor(0.0)
    for step, loss in enumerate(torch.rand(300), 1):
        window.add(dataclasses.replace(update(step), sums={"loss": loss}, counts={"loss": 1}))
        total = total + loss
        if step == 150:
            state = window.state_dict()
            window = Window()
            window.load_state_dict(state)
    assert window.read().loss == float(total) / 300


def test_window_restores_sums_that_earlier_versions_kept_on_the_device() -> None:
    window = Window()
    window.add(update(1, loss=3.0))
    state = window.state_dict()
    state["counts"] = {name: torch.tensor(count) for name, count in state["counts"].items()}
    state["skipped"] = torch.tensor(2)
    window.load_state_dict(state)
    window.add(update(2, loss=5.0))
    reading = window.read()
    assert (reading.loss, reading.skipped, reading.updates) == (4.0, 2, 2)
