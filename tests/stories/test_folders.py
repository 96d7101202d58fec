"""Run folders: other files are never overwritten or removed."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import seqx as seqx_package
from seqx.errors import UserError
from seqx.interfaces.scores import Answer, Evaluation
from seqx.run_folder import RunFolder
from seqx.storage.locks import folder_lock
from seqx.storage.text_lines import read_lines
from seqx.training.trainer import Trainer
from tests import forked
from tests.stories.tiny import TINY, done, files, refused, seqx, tiny


def test_run_refuses_a_folder_with_other_files() -> None:
    precious = Path("project/model/precious")
    precious.parent.mkdir(parents=True)
    precious.write_text("text", encoding="utf-8")
    before = files(Path("project"))
    assert refused("run", tiny(), "--folder", "project") == (
        "project: has no run, but other files (model); choose another folder (--folder)\n"
    )
    assert (
        refused("run", tiny(), "--folder", precious)
        == f"{precious}: is a file; choose another folder (--folder)\n"
    )
    assert files(Path("project")) == before


def test_run_refuses_a_folder_of_a_model_and_takes_an_empty_one() -> None:
    Path("runs/tiny").mkdir(parents=True)
    done("run", tiny(), "training.steps=2")
    before = files(Path("runs/tiny/model"))
    message = refused("run", tiny(), "training.steps=2", "--folder", "runs/tiny/model")
    assert (
        message == "runs/tiny/model: is the folder of a model; choose another folder (--folder) for the run\n"
    )
    assert files(Path("runs/tiny/model")) == before


def test_models_with_equal_vocabularies_form_an_ensemble() -> None:
    done("run", tiny(name="one.yaml"), "training.steps=2")
    done("run", tiny(name="other.yaml"), "training.steps=2", "task.max_length=20")
    assert done("translate", "runs/one", "runs/other", text="The dog sleeps.\n").endswith("\n")


def test_run_keeps_its_vocabulary_without_the_cache(tmp_path: Path) -> None:
    done("run", tiny(), "training.steps=2")
    os.environ["SEQX_CACHE"] = str(tmp_path / "new")  # the fixture restores it
    printed = seqx("run", tiny(), "training.steps=4").output
    assert "learning the vocabulary" not in printed
    assert "step 4/4" in printed


def test_run_that_stops_early_reports_it() -> None:
    settings = ("training.validate_every=2", "training.patience=1", "training.schedule.peak=1e-12")
    printed = seqx("run", tiny(), "training.steps=30", *settings).output
    assert "stopped after 4 of 30 updates: 1 validation without a better score\n" in printed
    printed = seqx("run", tiny(), "training.steps=31", *settings).output
    assert "stopped after 4 of 31 updates: 1 validation without a better score\n" in printed


def test_files_of_the_same_option_are_replaced() -> None:
    done("run", tiny())
    commands: list[tuple[list[str], str, str | None]] = [
        (["evaluate", "runs/tiny", "--sentences"], "sentences", None),
        (["translate", "runs/tiny", "--trace"], "trace", "a b\n"),
        (["translate", "runs/tiny", "--alignment"], "alignment", "a b\nc\n"),
        (["compare", "runs/tiny", "runs/tiny", "--html"], "html", None),
    ]
    for command, file, text in commands:
        Path(file).write_text("mine\n")
        assert f"{file}: exists already, and is not a file that" in refused(*command, file)
        assert Path(file).read_text() == "mine\n"
        Path(file).unlink()
        done(*command, file, text=text)
        written = Path(file).read_bytes()
        done(*command, file, text=text)
        assert Path(file).read_bytes() == written != b""


@pytest.mark.promise("links-stay-inside")
@pytest.mark.parametrize(
    "name", ["recipe.yaml", "origins.yaml", "identity.json", "environment.json", "model"]
)
def test_run_refuses_links_that_lead_out_of_its_folder(name: str, tmp_path: Path) -> None:
    """A run folder from somebody else may have links. Resuming its run would replace their targets."""
    recipe = tiny()
    done("run", recipe, "training.steps=2")
    entry, target = Path("runs/tiny", name), tmp_path / "mine"
    entry.rename(target)
    entry.symlink_to(target)
    before = files(tmp_path)
    assert refused("run", recipe, "training.steps=4") == (
        f"{entry}: is a link that leads out of the folder or nowhere; if you trust its target, replace the "
        "link by a copy\n"
    )
    assert files(tmp_path) == before


def test_run_keeps_links_to_folders_and_logs_on_another_disk(tmp_path: Path) -> None:
    done("run", tiny(), "training.steps=2")
    names = ("checkpoints", "outputs", "metrics.jsonl", "log.txt")
    (tmp_path / "disk").mkdir()
    for name in names:
        shutil.move(Path("runs/tiny", name), tmp_path / "disk" / name)
        Path("runs/tiny", name).symlink_to(tmp_path / "disk" / name)
    done("run", tiny(), "training.steps=4")
    assert all(Path("runs/tiny", name).is_symlink() for name in names)
    assert Path("runs/tiny/model/scores.json").is_file()


@pytest.mark.parametrize("name", ["checkpoints", "outputs"])
def test_run_does_not_begin_again_while_another_disk_is_missing(name: str, tmp_path: Path) -> None:
    done("run", tiny(), "training.steps=2")
    disk = tmp_path / "disk"
    disk.mkdir()
    entry = Path("runs/tiny", name)
    shutil.move(entry, disk / name)
    entry.symlink_to(disk / name)
    disk.rename(tmp_path / "not mounted")
    before = files(Path("runs/tiny"))
    assert "this run is finished" in done("run", tiny(), "training.steps=2")
    assert refused("run", tiny(), "training.steps=4") == (
        f"{entry}: is a link to a folder that does not exist; mount its disk, or remove the link\n"
    )
    assert files(Path("runs/tiny")) == before


@pytest.mark.parametrize("is_link", [False, True])
def test_run_refuses_a_recipe_of_the_user_in_its_folder(is_link: bool) -> None:
    """The run would write the resolved recipe, without the comments of the user, over it."""
    Path("mine").mkdir()
    recipe = tiny("# my comment\n" + TINY, "mine/other.yaml" if is_link else "mine/recipe.yaml")
    if is_link:
        Path("mine/recipe.yaml").symlink_to("other.yaml")
    assert refused("run", "mine/recipe.yaml", "--folder", "mine") == (
        "mine: has no run, but a recipe.yaml that a run would replace; choose another folder (--folder), or "
        "rename the recipe\n"
    )
    assert recipe.read_text(encoding="utf-8").startswith("# my comment\n")
    done("run", recipe, "training.steps=2", "--folder", "runs/other")
    Path("copy").mkdir()
    shutil.copy("runs/other/recipe.yaml", "copy/recipe.yaml")
    done("run", "copy/recipe.yaml", "--folder", "copy")  # it would be replaced by the same text


def drop_privileges() -> None:
    """If this process is root, become a user without privileges: root could write to the folder."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def test_finished_run_in_a_folder_that_cannot_be_written_prints_its_scores(
    finished: Callable[..., Path],
) -> None:
    run = finished()
    with tempfile.TemporaryDirectory() as place:  # all users may read it, unlike the folders of pytest
        copy = Path(shutil.copytree(run, Path(place, "run")))
        (copy / ".lock").unlink()
        recipe = shutil.copy(tiny(), place)
        folders = [folder for folder in copy.rglob("*") if folder.is_dir()]
        for folder in (copy, *folders, Path(place)):
            folder.chmod(0o555)
        try:
            command = ("run", recipe, "--folder", copy)
            result = forked.run(*command, before=drop_privileges, cwd=place)
            assert result.returncode == 0, result.stderr
            assert result.stdout.startswith(f"{copy}: this run is finished; its scores:\ndev bleu ")
            other = forked.run(*command, "training.seed=2", before=drop_privileges, cwd=place)
            assert (other.returncode, other.stdout) == (2, "")
            assert "has a run of another recipe" in other.stderr
        finally:
            for folder in (copy, *folders, Path(place)):
                folder.chmod(0o755)


def test_run_that_another_process_finishes_before_the_lock_is_not_tested_again(
    finished: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = finished() / "model" / "scores.json"
    hidden = scores.rename("hidden.json")

    def lock_later(*arguments: Any, **options: Any) -> AbstractContextManager[int]:
        hidden.rename(scores)
        return folder_lock(*arguments, **options)

    monkeypatch.setattr("seqx.run_folder.folder_lock", lock_later)
    monkeypatch.setattr(Trainer, "test", None)
    assert "\ndev bleu " in "\n" + done("run", tiny())


def test_is_finished_makes_the_checks_of_run(finished: Callable[..., Path]) -> None:
    run, recipe = finished(), tiny()
    assert seqx_package.is_finished(run, seqx_package.load_checked(str(recipe)))
    fewer = seqx_package.load_checked(str(recipe), None, ["training.steps=1"])
    with pytest.raises(UserError, match=r"more than training\.steps=1"):
        seqx_package.is_finished(run, fewer)
    (run / "identity.json").rename("mine")
    (run / "identity.json").symlink_to(Path("mine").absolute())
    with pytest.raises(UserError, match="is a link that leads out of the folder"):
        seqx_package.is_finished(run, seqx_package.load_checked(str(recipe)))


def test_outputs_with_line_feeds_are_one_line_each(tmp_path: Path) -> None:
    outputs = ("one\ntwo", "", "three\r\n", "\rfour\r")
    answers = [Answer(input="a", output=output, reference="b") for output in outputs]
    RunFolder(tmp_path).write_outputs("test", Evaluation(scores={}, answers=answers))
    assert [*read_lines(tmp_path / "outputs" / "test.txt")] == ["one two", "", "three  ", " four "]


def test_file_in_place_of_the_outputs_is_reported(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"outputs: cannot be written: File exists; choose another folder"):
        RunFolder(tmp_path).write_outputs("test", Evaluation(scores={}))
