"""`seqx.run` trains from Python with the checks, messages, folders and files of the command."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqx as api
from benchmarks.run_differences import differences
from seqx.runtime.signals import Stopped
from tests.stories.tiny import STOPPER, TINY, done, refused, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Path]:
    """Return the folder of a run that the command trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQX_CACHE", str(cache))
        patch.chdir(tmp_path_factory.mktemp("trained"))
        done("run", tiny(TINY))
        yield Path.cwd() / "runs/tiny"


def test_run_from_python_equals_the_command(trained: Path) -> None:
    run = api.run(tiny(TINY), "training.seed=1")
    assert run.folder == Path("runs/tiny")
    assert not differences(run.folder, trained)
    assert run.scores == api.Record.read(trained).scores
    assert run.predictor(device="cpu")(["a b", "c"]) == api.load(trained, device="cpu")(["a b", "c"])


def test_finished_run_is_read_and_not_trained_again(trained: Path) -> None:
    recipe = tiny(TINY)
    before = (trained / "log.txt").read_text(encoding="utf-8")
    assert api.run(recipe, folder=trained).scores == api.Record.read(str(trained)).scores
    assert (trained / "log.txt").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        (["training.stepz=3"], {}),
        (["model.d_model=7"], {}),
        (["training.tokens=301"], {"folder": "trained"}),
        ([], {"profile": "huge"}),
        ([], {"device": "moon"}),
    ],
)
def test_run_from_python_refuses_with_the_message_of_the_command(
    trained: Path, overrides: list[str], options: dict[str, str]
) -> None:
    recipe = tiny(TINY)
    if "folder" in options:
        options = {"folder": str(trained)}
    with pytest.raises(api.UserError) as refusal:
        api.run(recipe, *overrides, **options)  # type: ignore[arg-type]  # names of options
    arguments = [f"--{name}={value}" for name, value in options.items()]
    assert f"{refusal.value}\n" == refused("run", recipe, *overrides, *arguments)


def test_run_from_python_says_which_recipe_is_missing() -> None:
    with pytest.raises(api.UserError, match="nowhere"):
        api.run("nowhere.yaml")


def test_interrupted_run_from_python_saves_and_resumes(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("stopper.py").write_text(STOPPER, encoding="utf-8")
    text = TINY.replace("callbacks: [", "plugins: [./stopper.py]\ncallbacks: [stopper, ")
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("STOP_AT", "3")
    with pytest.raises(Stopped) as stopped:
        api.run(tiny(text))
    assert signal.getsignal(signal.SIGTERM) is handler
    assert (
        "runs/tiny: stopped by SIGTERM, the checkpoint of update 3 is kept; call seqx.run again"
        in capsys.readouterr().err
    )
    assert stopped.value._render_traceback_() == ["stopped by SIGTERM"]
    assert api.Record.read("runs/tiny").scores is None
    monkeypatch.delenv("STOP_AT")
    assert api.run(tiny(text)).scores == api.Record.read(trained).scores


def test_run_in_another_thread_trains_and_leaves_signals_alone(trained: Path) -> None:
    recipe, found = tiny(TINY), []
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    thread = threading.Thread(target=lambda: found.append(api.run(recipe)))
    thread.start()
    thread.join()
    assert found[0].scores == api.Record.read(trained).scores
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_run_from_python_refuses_several_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        api.UserError, match=r"^seqx\.run trains with one process; start several with seqx run"
    ):
        api.run(tiny(TINY))


def test_errors_that_a_user_can_fix_have_no_traceback_in_a_notebook() -> None:
    assert api.UserError("recipe.yaml:1:1: wrong; do this")._render_traceback_() == [
        "recipe.yaml:1:1: wrong; do this"
    ]
