"""Model folders from untrusted sources: they open no other file, exhaust no memory, and run no code."""

import json
import os
import shutil
import struct
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
from tests import forked
from tests.models import write_model

TERABYTE = 1 << 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "good")


@pytest.fixture
def untrusted(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "untrusted")


def load(folder: Path, *, trust_local_plugins: bool = False) -> seqx.Predictor:
    """Load a model after writing a manifest that matches its changed files, as an attacker can."""
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


def replace_text(file: Path, before: str, after: str) -> None:
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after), "utf-8")


@pytest.mark.promise("model-recipes-stay-inside")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extends: /etc/passwd", "the recipe of a model cannot extend another recipe"),
        ("extends: wmt_en_de", "the recipe of a model cannot extend another recipe"),
        ("plugins: [../mine.py]", "is outside of the model's folder"),
        ("plugins: [/tmp/mine.py]", "is outside of the model's folder"),
        ("a: &a [*a]", "aliases expand to more than 20,000 values"),
        ("a: !!python/object/apply:os.system [id]", "is not supported; remove it"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_recipe_of_a_model_names_no_file_outside_its_folder(
    line: str, message: str, trust: bool, untrusted: Path
) -> None:
    recipe = untrusted / "recipe.yaml"
    recipe.write_text(f"{line}\n{recipe.read_text('utf-8')}", "utf-8")
    with pytest.raises(seqx.UserError, match=r"recipe.yaml:1:\d+: ") as caught:
        load(untrusted, trust_local_plugins=trust)
    assert message in str(caught.value)


RECORD_OPENED_FILES = """\
import sys
from pathlib import Path

import seqx
from seqx_text import SentencePiece

folder = sys.argv[1]
seqx.load(folder)(["warm up"])  # import all modules before recording
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event in EVENTS else None)
seqx.load(folder)(["The dog sleeps .", "", "x" * 300])
print("\\n".join(sorted({str(name) for name in opened if isinstance(name, str | Path)})))
""".replace("EVENTS", "('open', 'os.listdir', 'os.scandir', 'subprocess.Popen', 'socket.connect', 'exec')")


@pytest.mark.slow
@pytest.mark.promise("models-open-only-their-folder")
def test_loading_a_model_opens_only_files_of_its_folder(untrusted: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a\n")
    replace_text(
        untrusted / "recipe.yaml",
        "corpus: {type: sample, train: 300, dev: 6, test: 6}",
        f"corpus: {{type: files, train: [{secret}, {secret}], dev: [{secret}, {secret}], "
        f"test: [{secret}, {secret}]}}",
    )
    with (untrusted / "recipe.yaml").open("a") as recipe:
        recipe.write(f"training: {{init_from: {secret}}}\npublished: {secret}\n")
    load(untrusted)
    script = tmp_path / "record.py"
    script.write_text(RECORD_OPENED_FILES, encoding="utf-8")
    result = forked.run(sys.executable, script, untrusted)
    assert result.returncode == 0, result.stderr
    names = result.stdout.splitlines()
    assert str(untrusted / "recipe.yaml") in names
    allowed = (str(untrusted), sys.prefix, sys.base_prefix, str(Path(__file__).parents[3]), "/proc/", "/sys/")
    other_names = [name for name in names if not name.startswith(allowed) and "site-packages" not in name]
    assert set(other_names) <= {"."}  # Python lists this folder when it searches for modules


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
def test_recipe_is_compared_with_the_weights_before_the_model_is_built(
    before: str, after: str, untrusted: Path
) -> None:
    replace_text(untrusted / "recipe.yaml", before, after)
    if after == "heads: 1":  # the shapes of the weights do not depend on the number of heads
        assert load(untrusted)(["a"])
        return
    with pytest.raises(
        seqx.UserError, match=r"holds the weights of another model|too large; the maximum is 16,777,216"
    ):
        load(untrusted)


def make_sparse(file: Path) -> None:
    os.truncate(file, TERABYTE)


def make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link_to_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def write_nested_json(file: Path) -> None:
    file.write_text("[" * 200_000)


def write_other_json(file: Path) -> None:
    file.write_text('{"format": 1, "plugins": [1], "symbols": 7}')


@pytest.mark.promise("model-files-are-bounded")
@pytest.mark.parametrize(
    "damage", [make_sparse, make_pipe, link_to_device, write_nested_json, write_other_json]
)
@pytest.mark.parametrize("name", ["recipe.yaml", "model.json", "task/tokenizer/sentencepiece.model", WEIGHTS])
def test_load_reports_a_model_file_of_any_content(
    damage: Callable[[Path], None], name: str, untrusted: Path
) -> None:
    damage(untrusted / name)
    with pytest.raises(seqx.UserError) as caught:
        load(untrusted)
    assert name.rpartition("/")[2] in str(caught.value)


SECRET = "password: [hunter2\n"


@pytest.mark.promise("links-stay-inside")
@pytest.mark.parametrize(
    "name",
    ["recipe.yaml", "model.json", "task", "task/tokenizer/sentencepiece.model", WEIGHTS, MANIFEST, "other"],
)
@pytest.mark.parametrize("indirect", [False, True])
def test_load_refuses_links_out_of_the_model_folder(
    name: str, indirect: bool, model: Path, tmp_path: Path
) -> None:
    untrusted = shutil.copytree(model, tmp_path / "untrusted")
    secret = tmp_path / "secret"
    if name == "task":
        shutil.move(untrusted / name, secret)
    else:
        secret.write_text(SECRET)
    target = secret
    if indirect:  # a link to another link in the folder, which leads out of it
        target = untrusted / "another"
        target.symlink_to("../secret")
    (untrusted / name).unlink(missing_ok=True)
    (untrusted / name).symlink_to(target)
    for read in (lambda: seqx.load(untrusted), lambda: load_checked(str(untrusted / "recipe.yaml"))):
        with pytest.raises(
            seqx.UserError, match="is a link that leads out of the folder or nowhere"
        ) as caught:
            read()
        assert "hunter2" not in str(caught.value)
        assert str(caught.value).startswith(f"{untrusted}/")


@pytest.mark.promise("links-stay-inside")
@pytest.mark.parametrize("target", ["/dev/zero", "nothing", "recipe.yaml", "/proc/self/environ", "."])
def test_load_refuses_links_to_no_regular_file(target: str, untrusted: Path) -> None:
    (untrusted / "recipe.yaml").unlink()
    (untrusted / "recipe.yaml").symlink_to(target)
    with pytest.raises(seqx.UserError):
        load(untrusted)


def test_load_follows_links_within_the_model_folder_and_to_it(model: Path, tmp_path: Path) -> None:
    untrusted = shutil.copytree(model, tmp_path / "untrusted")
    (untrusted / "model.json").rename(untrusted / "about.json")
    (untrusted / "model.json").symlink_to("about.json")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to("../untrusted")
    (tmp_path / "link").symlink_to("run")
    for folder in (untrusted, tmp_path / "run", tmp_path / "link", tmp_path / "link" / "model"):
        assert len(seqx.load(folder)(["A dog sleeps."])) == 1


@pytest.mark.promise("links-stay-inside")
def test_run_folder_with_links_out_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").symlink_to("../secret")
    for read in (lambda: seqx.Record.read(run), lambda: load_checked_run(run, trust_local_plugins=True)):
        with pytest.raises(seqx.UserError, match=r"recipe\.yaml: is a link that leads out of the folder"):
            read()


@pytest.mark.promise("links-stay-inside")
def test_recipe_extends_only_files_that_are_recipes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "link.yaml").symlink_to("secret")
    for name in ("./secret", "./link.yaml"):
        (tmp_path / "r.yaml").write_text(f"extends: {name}\n")
        with pytest.raises(
            seqx.RecipeError, match=r"is not a recipe; the name of a recipe ends in \.yaml"
        ) as caught:
            load_checked(str(tmp_path / "r.yaml"))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("damage", [make_sparse, make_pipe, link_to_device])
def test_manifest_hashes_only_regular_files_of_bounded_size(
    damage: Callable[[Path], None], model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model, tmp_path / "untrusted")
    file = "task/tokenizer/sentencepiece.model"
    damage(folder / file)
    info = json.loads((folder / MANIFEST).read_text())
    info["files"][file]["size"] = (folder / file).stat().st_size
    (folder / MANIFEST).write_text(json.dumps(info))
    with pytest.raises(seqx.UserError, match=r"sentencepiece.model: (cannot be read|is a link)"):
        seqx.load(folder)


@pytest.mark.promise("json-is-checked")
@pytest.mark.parametrize(
    "plugins", [7, [], {"x": 1}, {"x": {"version": []}}, {"x": {"sha256": 1}}, {"x": None}, "text"]
)
def test_plugins_of_model_json_are_validated(plugins: object, untrusted: Path) -> None:
    info = json.loads((untrusted / "model.json").read_text())
    (untrusted / "model.json").write_text(json.dumps({**info, "plugins": plugins}))
    with pytest.raises(seqx.UserError, match=r"model.json: cannot be read \(plugins"):
        load(untrusted)


@pytest.mark.parametrize("number", [-5, True, None, 1.5, [1], "x" * 10_000])
def test_format_of_model_json_is_validated(number: object, untrusted: Path) -> None:
    info = json.loads((untrusted / "model.json").read_text())
    (untrusted / "model.json").write_text(json.dumps({**info, "format": number}))
    with pytest.raises(
        seqx.UserError, match=r"model.json: cannot be read \(format: .* is not a format number\)"
    ) as caught:
        load(untrusted)
    assert len(str(caught.value)) < 400


def test_model_of_format_1_is_refused(untrusted: Path) -> None:
    info = json.loads((untrusted / "model.json").read_text())
    (untrusted / "model.json").write_text(json.dumps({**info, "format": 1}))
    message = r"model\.json: has format 1, which this version of seqx cannot read \(it reads format 2\)"
    with pytest.raises(seqx.UserError, match=message):
        load(untrusted)
    (untrusted / MANIFEST).unlink()
    with pytest.raises(seqx.UserError, match=message):
        seqx.load(untrusted)


def test_model_without_manifest_is_damaged(untrusted: Path) -> None:
    (untrusted / MANIFEST).unlink()
    with pytest.raises(seqx.UserError, match=r"manifest\.json: cannot be read \(it is missing\)"):
        seqx.load(untrusted)


def write_weights(file: Path, entries: object, tail: int = 24, length: int | None = None) -> Path:
    header = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(tail))
    return file


def entry(dtype: object = "F32", shape: object = (2, 3), offsets: object = (0, 24)) -> dict[str, object]:
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.promise("weight-headers-are-bounded")
@pytest.mark.parametrize(
    ("entries", "message"),
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
def test_invalid_weight_header_is_reported(entries: object, message: str, tmp_path: Path) -> None:
    file = write_weights(tmp_path / "x.safetensors", entries)
    with pytest.raises(seqx.UserError, match=r"x.safetensors: cannot be read") as caught:
        read_header(file)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.promise("weight-headers-are-bounded")
def test_weight_header_has_a_maximum_length(tmp_path: Path) -> None:
    file = write_weights(tmp_path / "x", entry(), length=MAX_HEADER_BYTES + 1)
    make_sparse(file)
    with pytest.raises(seqx.UserError, match="the maximum is 16,777,216"):
        read_header(file)
    with pytest.raises(seqx.UserError, match="but the file has only"):
        read_header(write_weights(tmp_path / "y", entry(), length=5000))
    assert read_header(write_weights(tmp_path / "z", entry()))["weight"].shape == (2, 3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (entry(shape=[3, 2]), r"weight is \[3, 2\] and should be \[2, 3\]"),
        (entry(dtype="I32"), "weight is of torch.int32 and should be of torch.float32"),
        ({"x": entry()["weight"]}, r"weight is missing \(and 1 more\)"),
    ],
)
def test_weights_of_another_model_are_not_loaded(entries: object, message: str, tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2, bias=False)
    before = model.weight.clone()
    with pytest.raises(seqx.UserError, match=f"holds the weights of another model: {message}"):
        read_weights(model, write_weights(tmp_path / "x", entries))
    assert torch.equal(model.weight, before)
