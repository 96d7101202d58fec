"""Run folders: other files are never overwritten or removed."""

import os
from pathlib import Path

from tests.stories.tiny import done, files, refused, seqx, tiny


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
