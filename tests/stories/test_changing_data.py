"""Text that changes during a run, and damaged prepared data: one message each."""

from pathlib import Path

import pytest

from tests.stories.test_bad_data import corpus
from tests.stories.tiny import TINY, done, refused, tiny

EDITOR = """\
import os
from pathlib import Path

import seqx


class Editor(seqx.Callback):
    \"\"\"A callback that edits a file when a checkpoint is saved.\"\"\"

    @seqx.hookimpl
    def saved(self, step: int) -> None:
        if step == 2 and "EDIT" in os.environ:
            file = Path(os.environ["EDIT"])
            file.write_text(file.read_text().replace("dog", "cat") + os.environ["MORE"])


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Callback, editor=Editor)
"""


def with_editor(recipe: Path) -> Path:
    """Add to a recipe a callback that edits a file."""
    Path("editor.py").write_text(EDITOR, encoding="utf-8")
    text = recipe.read_text(encoding="utf-8").replace("callbacks: [", "callbacks: [editor, ")
    recipe.write_text(f"plugins: [editor.py]\n{text}", encoding="utf-8")
    return recipe


@pytest.mark.promise("text-changes-during-run")
@pytest.mark.parametrize("more", ["", "one more\n"])
def test_text_that_changes_during_a_run_is_refused(
    more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, file = with_editor(corpus(tmp_path / "text")), tmp_path / "text" / "dev.de"
    before = file.read_bytes()
    with monkeypatch.context() as context:
        context.setenv("EDIT", str(file))
        context.setenv("MORE", more)
        message = refused("run", recipe).splitlines()
    assert (
        message[-1] == f"{file}: changed since it was first read; restore it and run the same command again"
    )
    file.write_bytes(before)
    done("run", recipe)


@pytest.mark.promise("text-changes-between-starts")
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_text_that_changes_between_starts_is_refused(split: str, tmp_path: Path) -> None:
    recipe = corpus(tmp_path / "text")
    done("run", recipe, "training.steps=2")
    file = tmp_path / "text" / f"{split}.de"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"dog", b"pig"))
    message = refused("run", recipe).splitlines()
    assert message[-1] == (
        f"runs/tiny/data.json: the text of {split} has changed since this run began (its files, or "
        "the code that prepares them); restore it and run the same command again, or choose another "
        "folder (--folder)"
    )
    file.write_bytes(before)
    done("run", recipe, "training.steps=3")


CORPUS = """\
import seqx
import seqx_text


class Verbs(seqx.Corpus):
    def fetch(self, folder, progress, splits=seqx.SPLITS):
        pass

    def rows(self, split):
        for n in range(200 if split == "train" else 2):
            yield f"a dog sees {n} men", f"dogs see {n}"


class Right(seqx_text.Accuracy):
    \"""The accuracy.\"""


@seqx.hookimpl
def seqx_register(registry):
    registry.add(seqx.Corpus, verbs=Verbs)
    registry.add(seqx.Metric, right=Right)
"""


@pytest.mark.promise("plugin-of-text-changes")
@pytest.mark.parametrize(
    ("setting", "size", "metric", "is_prepared_again"),
    [
        ("verbs", 290, "bleu", True),
        ("{type: mixed, corpora: [verbs]}", 290, "bleu", True),
        ("{type: sample, train: 300, dev: 6, test: 6}", 400, "right", False),
    ],
)
def test_text_is_prepared_again_if_the_plugin_of_the_task_changes(
    setting: str, size: int, metric: str, is_prepared_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    text = TINY.replace("corpus: {type: sample, train: 300, dev: 6, test: 6}", f"corpus: {setting}")
    text = text.replace("[bleu, chrf]", f"[{metric}]").replace("size: 400", f"size: {size}")
    recipe = tiny(f"plugins: [verbs.py]\n{text}")
    entries = []
    for folder, code in (("before", CORPUS), ("after", CORPUS.replace("dog", "cat"))):
        Path("verbs.py").write_text(code, encoding="utf-8")
        done("run", recipe, "training.steps=1", "--folder", folder)
        entries.append(len([*Path("fresh").glob("*/made_from.json")]))
    assert entries == ([3, 6] if is_prepared_again else [3, 3])  # vocabulary, examples and warnings


def test_touched_file_counts_as_unchanged(tmp_path: Path) -> None:
    recipe = corpus(tmp_path / "text")
    done("run", recipe, "training.steps=2")
    (tmp_path / "text" / "dev.de").touch()
    done("run", recipe, "training.steps=3")


@pytest.mark.promise("damaged-prepared-data")
def test_damaged_prepared_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQX_CACHE", "fresh")
    recipe = corpus(tmp_path / "text")
    done("run", recipe, "training.steps=2")
    (target,) = Path("fresh").glob("*/target")
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1  # the size does not change
    target.write_bytes(content)
    message = refused("run", recipe).splitlines()[-1]
    assert message == (
        f"{target.parent}: a damaged store of prepared examples (the bytes of target are not those "
        "that were written); delete this folder; its examples will be prepared again"
    )
