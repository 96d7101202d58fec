"""The folder of a stranger's model: it names nothing outside, decides over no memory, and runs nothing."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import seqx
from seqx.commands.loading import load_checked, load_checked_run
from seqx.storage.json_format import FORMAT
from seqx.storage.manifest import MANIFEST, sha256
from seqx.storage.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS, read_header
from seqx.storage.weights import WEIGHTS, read_weights
from tests.models import write_model

TERABYTE = 1 << 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "good")


@pytest.fixture
def theirs(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "theirs")


def load(folder: Path, *, trust_local_plugins: bool = False) -> seqx.Predictor:
    """Load a model after writing a manifest that fits its files, as anybody who changes them can."""
    files = {
        str(path.relative_to(folder)): {
            "size": path.stat().st_size,
            "sha256": sha256(path) if path.stat().st_size < 1 << 24 else "0" * 64,
        }
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}))
    return seqx.load(folder, trust_local_plugins=trust_local_plugins)


def rewritten(file: Path, before: str, after: str) -> None:
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after), "utf-8")


@pytest.mark.promise("model-recipes-stay-inside")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("extends: /etc/passwd", "the recipe of a model cannot extend another recipe"),
        ("extends: wmt_en_de", "the recipe of a model cannot extend another recipe"),
        ("plugins: [../mine.py]", "is outside of the model's folder"),
        ("plugins: [/tmp/mine.py]", "is outside of the model's folder"),
        ("a: &a [*a]", "aliases expand to too many values"),
        ("a: !!python/object/apply:os.system [id]", "knows no tag"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_its_recipe_names_nothing_outside(line: str, told: str, trust: bool, theirs: Path) -> None:
    recipe = theirs / "recipe.yaml"
    recipe.write_text(f"{line}\n{recipe.read_text('utf-8')}", "utf-8")
    with pytest.raises(seqx.UserError, match=r"recipe.yaml:1:\d+: ") as caught:
        load(theirs, trust_local_plugins=trust)
    assert told in str(caught.value)


OPENED = """\
import sys
from pathlib import Path

import seqx
from seqx_text import SentencePiece

folder = sys.argv[1]
seqx.load(folder)(["warm up"])  # modules are imported on the way
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event in HOOKED else None)
seqx.load(folder)(["The dog sleeps .", "", "x" * 300])
print("\\n".join(sorted({str(name) for name in opened if isinstance(name, str | Path)})))
""".replace("HOOKED", "('open', 'os.listdir', 'os.scandir', 'subprocess.Popen', 'socket.connect', 'exec')")


@pytest.mark.slow
@pytest.mark.promise("models-open-only-their-folder")
def test_nothing_but_the_folder_is_opened(theirs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a\n")
    rewritten(
        theirs / "recipe.yaml",
        "corpus: {type: sample, train: 300, dev: 6, test: 6}",
        f"corpus: {{type: files, train: [{secret}, {secret}], dev: [{secret}, {secret}], "
        f"test: [{secret}, {secret}]}}",
    )
    with (theirs / "recipe.yaml").open("a") as recipe:
        recipe.write(f"training: {{init_from: {secret}}}\npublished: {secret}\n")
    load(theirs)
    command = [sys.executable, "-c", OPENED, str(theirs)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    names = result.stdout.splitlines()
    assert str(theirs / "recipe.yaml") in names
    here = (str(theirs), sys.prefix, sys.base_prefix, str(Path(__file__).parents[3]), "/proc/", "/sys/")
    strangers = [name for name in names if not name.startswith(here) and "site-packages" not in name]
    assert set(strangers) <= {"."}  # where Python looks for modules, so that a folder is listed


@pytest.mark.promise("shapes-before-building")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("d_model: 32", "d_model: 1048576"),
        ("layers: 1", "layers: 1000000000"),
        ("layers: 1", "layers: 100000"),
        ("heads: 2", "heads: 1"),
        ("d_model: 32", "d_model: 4611686018427387904"),
    ],
)
def test_what_its_recipe_wants_is_compared_before_it_is_built(before: str, after: str, theirs: Path) -> None:
    rewritten(theirs / "recipe.yaml", before, after)
    if after == "heads: 1":  # of which the tensors are the same
        assert load(theirs)(["a"])
        return
    with pytest.raises(
        seqx.UserError, match=r"holds the weights of another model|too large; the maximum is 16,777,216"
    ):
        load(theirs)


def sparse(file: Path) -> None:
    os.truncate(file, TERABYTE)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def deep(file: Path) -> None:
    file.write_text("[" * 200_000)


def other(file: Path) -> None:
    file.write_text('{"format": 1, "plugins": [1], "symbols": 7}')


@pytest.mark.promise("model-files-are-bounded")
@pytest.mark.parametrize("damage", [sparse, pipe, device, deep, other])
@pytest.mark.parametrize("name", ["recipe.yaml", "model.json", "task/tokenizer/sentencepiece.model", WEIGHTS])
def test_any_of_its_files_may_be_anything(damage: Callable[[Path], None], name: str, theirs: Path) -> None:
    damage(theirs / name)
    with pytest.raises(seqx.UserError) as caught:
        load(theirs)
    assert name.rpartition("/")[2] in str(caught.value)


SECRET = "password: [hunter2\n"


@pytest.mark.promise("links-stay-inside")
@pytest.mark.parametrize(
    "name",
    ["recipe.yaml", "model.json", "task", "task/tokenizer/sentencepiece.model", WEIGHTS, MANIFEST, "other"],
)
@pytest.mark.parametrize("through", [False, True])
def test_no_link_leads_out_of_its_folder(name: str, through: bool, model: Path, tmp_path: Path) -> None:
    theirs = shutil.copytree(model, tmp_path / "theirs")
    secret = tmp_path / "secret"
    if name == "task":
        shutil.move(theirs / name, secret)
    else:
        secret.write_text(SECRET)
    target = secret
    if through:  # a link within the folder to one that leaves it
        target = theirs / "another"
        target.symlink_to("../secret")
    (theirs / name).unlink(missing_ok=True)
    (theirs / name).symlink_to(target)
    for use in (lambda: seqx.load(theirs), lambda: load_checked(str(theirs / "recipe.yaml"))):
        with pytest.raises(
            seqx.UserError, match="is a link that leads out of the folder or nowhere"
        ) as caught:
            use()
        assert "hunter2" not in str(caught.value)
        assert str(caught.value).startswith(f"{theirs}/")


@pytest.mark.promise("links-stay-inside")
@pytest.mark.parametrize("target", ["/dev/zero", "nothing", "recipe.yaml", "/proc/self/environ", "."])
def test_links_to_no_file(target: str, theirs: Path) -> None:
    (theirs / "recipe.yaml").unlink()
    (theirs / "recipe.yaml").symlink_to(target)
    with pytest.raises(seqx.UserError):
        load(theirs)


def test_links_within_the_folder_and_to_it_are_followed(model: Path, tmp_path: Path) -> None:
    theirs = shutil.copytree(model, tmp_path / "theirs")
    (theirs / "model.json").rename(theirs / "about.json")
    (theirs / "model.json").symlink_to("about.json")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to("../theirs")
    (tmp_path / "link").symlink_to("run")
    for folder in (theirs, tmp_path / "run", tmp_path / "link", tmp_path / "link" / "model"):
        assert len(seqx.load(folder)(["A dog sleeps."])) == 1


@pytest.mark.promise("links-stay-inside")
def test_a_run_of_a_stranger_is_read_without_links_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").symlink_to("../secret")
    for use in (lambda: seqx.Record.read(run), lambda: load_checked_run(run, trust_local_plugins=True)):
        with pytest.raises(seqx.UserError, match=r"recipe\.yaml: is a link that leads out of the folder"):
            use()


@pytest.mark.promise("links-stay-inside")
def test_a_recipe_extends_only_recipes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "link.yaml").symlink_to("secret")
    for name in ("./secret", "./link.yaml"):
        (tmp_path / "r.yaml").write_text(f"extends: {name}\n")
        with pytest.raises(
            seqx.RecipeError, match=r"is not a recipe; the name of a recipe ends in \.yaml"
        ) as caught:
            load_checked(str(tmp_path / "r.yaml"))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("damage", [sparse, pipe, device])
def test_hashes_are_taken_of_plain_files_of_bounded_size(
    damage: Callable[[Path], None], model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model, tmp_path / "theirs")
    file = "task/tokenizer/sentencepiece.model"
    damage(folder / file)
    about = json.loads((folder / MANIFEST).read_text())
    about["files"][file]["size"] = (folder / file).stat().st_size
    (folder / MANIFEST).write_text(json.dumps(about))
    with pytest.raises(seqx.UserError, match=r"sentencepiece.model: (cannot be read|is a link)"):
        seqx.load(folder)


@pytest.mark.promise("json-is-checked")
@pytest.mark.parametrize(
    "plugins", [7, [], {"x": 1}, {"x": {"version": []}}, {"x": {"sha256": 1}}, {"x": None}, "text"]
)
def test_what_it_says_of_plugins(plugins: object, theirs: Path) -> None:
    about = json.loads((theirs / "model.json").read_text())
    (theirs / "model.json").write_text(json.dumps({**about, "plugins": plugins}))
    with pytest.raises(seqx.UserError, match=r"model.json: cannot be read \(plugins"):
        load(theirs)


@pytest.mark.parametrize("number", [-5, True, None, 1.5, [1], "x" * 10_000])
def test_its_format_is_one(number: object, theirs: Path) -> None:
    about = json.loads((theirs / "model.json").read_text())
    (theirs / "model.json").write_text(json.dumps({**about, "format": number}))
    with pytest.raises(
        seqx.UserError, match=r"model.json: cannot be read \(format: .* is not a format number\)"
    ) as caught:
        load(theirs)
    assert len(str(caught.value)) < 400


def test_model_of_format_1_is_refused(theirs: Path) -> None:
    info = json.loads((theirs / "model.json").read_text())
    (theirs / "model.json").write_text(json.dumps({**info, "format": 1}))
    message = r"model\.json: has format 1, which this version of seqx cannot read \(it reads format 2\)"
    with pytest.raises(seqx.UserError, match=message):
        load(theirs)
    (theirs / MANIFEST).unlink()
    with pytest.raises(seqx.UserError, match=message):
        seqx.load(theirs)


def test_model_without_manifest_is_damaged(theirs: Path) -> None:
    (theirs / MANIFEST).unlink()
    with pytest.raises(seqx.UserError, match=r"manifest\.json: cannot be read \(it is missing\)"):
        seqx.load(theirs)


def written(file: Path, entries: object, tail: int = 24, length: int | None = None) -> Path:
    said = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(said) if length is None else length) + said + bytes(tail))
    return file


def entry(dtype: object = "F32", shape: object = (2, 3), offsets: object = (0, 24)) -> dict[str, object]:
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.promise("weight-headers-are-bounded")
@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (entry(dtype="F9"), "weight has the unknown type 'F9'"),
        (entry(dtype=3), "weight.dtype"),
        (entry(shape=[2, 4]), "the offsets of weight do not match its shape and type"),
        (entry(shape=[-2, -3]), "weight.shape.0"),
        (entry(shape=[2**62, 2**62]), "the offsets of weight do not match"),
        (entry(shape=[1] * 9), "weight.shape"),
        (entry(offsets=[8, 32]), "the offsets of weight do not match"),
        (entry(offsets=[0, 2**64]), "weight.data_offsets.1"),
        (entry(shape=[2], offsets=[0, 8]), "its tensors have 24 bytes, but 8 according to its header"),
        ([1], "its header is not a JSON object"),
        ({"weight": 3}, "weight: Input should be"),
        ({"weight": entry()["weight"], "other": {}}, "other.dtype: Field required"),
        ({f"{number:x}": {} for number in range(MAX_TENSORS + 1)}, "its header names 100,001 tensors"),
        (entry(dtype="F" * 1_000_000), "weight has the unknown type 'FFF"),
        ({"w" * 1_000_000: {}}, "www....dtype: Field required"),
        ({"w" * 1_000_000: entry(shape=[2])["weight"]}, "www... do not match its shape and type"),
        ({}, "its tensors have 24 bytes, but 0 according to its header"),
    ],
)
def test_a_header_that_is_wrong_is_told(entries: object, told: str, tmp_path: Path) -> None:
    file = written(tmp_path / "x.safetensors", entries)
    with pytest.raises(seqx.UserError, match=r"x.safetensors: cannot be read") as caught:
        read_header(file)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.promise("weight-headers-are-bounded")
def test_a_header_is_no_longer_than_any_is(tmp_path: Path) -> None:
    file = written(tmp_path / "x", entry(), length=MAX_HEADER_BYTES + 1)
    sparse(file)
    with pytest.raises(seqx.UserError, match="the maximum is 16,777,216"):
        read_header(file)
    with pytest.raises(seqx.UserError, match="but the file only"):
        read_header(written(tmp_path / "y", entry(), length=5000))
    assert read_header(written(tmp_path / "z", entry()))["weight"].shape == (2, 3)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (entry(shape=[3, 2]), r"weight is \[3, 2\] and should be \[2, 3\]"),
        (entry(dtype="I32"), "weight is of torch.int32 and should be of torch.float32"),
        ({"x": entry()["weight"]}, r"weight is missing \(and 1 more\)"),
    ],
)
def test_weights_of_another_model_are_not_loaded(entries: object, told: str, tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2, bias=False)
    before = model.weight.clone()
    with pytest.raises(seqx.UserError, match=f"holds the weights of another model: {told}"):
        read_weights(model, written(tmp_path / "x", entries))
    assert torch.equal(model.weight, before)
