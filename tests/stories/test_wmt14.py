"""The paper's recipe on small archives in the layout of WMT, from a local server with faults."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import pytest

from seqx_sample import Sample
from seqx_translation.download import download
from tests.plugins.translation.server import Site, cut, serving
from tests.stories.test_sample import RECIPES, SMALL
from tests.stories.tiny import done, files, lines, refused

Pairs = list[tuple[str, str]]
SETTINGS = [setting for setting in SMALL if not setting.startswith("task.corpus")]
RUN = Path("runs/wmt_en_de")


def archive(english: str, german: str, pairs: Pairs) -> bytes:
    """Return a .tgz file with the two members and another one."""
    texts = [(english, 0), (german, 1), (english.replace("de-en", "fr-en"), 0)]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=0) as tar:
        for name, side in texts:
            content = "".join(f"{pair[side]}\n" for pair in pairs).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


MEMBERS = {
    "training-parallel-europarl-v7.tgz": "training/europarl-v7.de-en",
    "training-parallel-commoncrawl.tgz": "commoncrawl.de-en",
}


def command(site: Site, contents: Mapping[str, bytes], heldout: Path, **more: str) -> list[str | Path]:
    """Return the command that runs the recipe with the archives of a site, which should have `contents`."""
    archives = [
        {
            "url": f"{site.url}/{name}",
            "size": len(contents[name]),
            "sha256": hashlib.sha256(contents[name]).hexdigest(),
            "members": {side: f"{member}.{side}" for side in ("en", "de")},
        }
        for name, member in MEMBERS.items()
    ]
    own = {split: [f"{heldout}/{split}.{side}" for side in ("en", "de")] for split in ("dev", "test")}
    corpus = {"archives": archives, "heldout": {"type": "files", **own}}
    settings = [f"task.corpus.{key}={json.dumps(value)}" for key, value in corpus.items()]
    return ["run", RECIPES / "wmt_en_de.yaml", *SETTINGS, "task.metrics=[bleu, chrf]", *settings]


@pytest.fixture(params=["sample", "news"])
def pairs(request: pytest.FixtureRequest, data: Callable[[str], Path]) -> Pairs:
    if request.param == "sample":
        return [(en, de) for en, de in Sample(train=400, dev=0, test=0).rows("train")]
    folder = data("wmt_slices_en_de")
    with (
        gzip.open(folder / "stanford10k.tok.en.gz", "rt", encoding="utf-8", newline="\n") as english,
        gzip.open(folder / "stanford10k.tok.de.gz", "rt", encoding="utf-8", newline="\n") as german,
    ):
        sides = zip(english, german, strict=True)
        return [(en.rstrip("\n"), de.rstrip("\n")) for en, de in islice(sides, 400)]


@pytest.fixture
def contents(pairs: Pairs) -> dict[str, bytes]:
    halves = (pairs[:200], pairs[200:])
    return {
        name: archive(f"{member}.en", f"{member}.de", half)
        for (name, member), half in zip(MEMBERS.items(), halves, strict=True)
    }


@pytest.fixture
def heldout(pairs: Pairs, tmp_path: Path) -> Path:
    folder = tmp_path / "heldout"
    folder.mkdir()
    for split, part in (("dev", pairs[:6]), ("test", pairs[6:12])):
        for side, name in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in part)
            (folder / f"{split}.{name}").write_text(text, encoding="utf-8", newline="\n")
    return folder


@pytest.fixture(autouse=True)
def _fresh_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQX_CACHE", "cache")


def test_interrupted_download_is_resumed(contents: dict[str, bytes], heldout: Path) -> None:
    with serving(**contents) as site:
        site.answers = [cut(9_000)]
        output = done(*command(site, contents, heldout))
        assert site.ranges == [None, "bytes=9000-", None]
    assert "test bleu" in output
    assert "|tok:13a|" in output
    (start,) = lines(RUN, "start")
    assert start["examples"] + sum(start["dropped"].values()) == 400
    assert start["leaks"]["dev"]["rows"] == start["leaks"]["test"]["rows"] == 6
    assert (RUN / "outputs" / "test.txt").read_bytes().count(b"\n") == 6


@pytest.mark.parametrize("pairs", ["sample"], indirect=True)
def test_corrupted_archive_is_refused_and_named(contents: dict[str, bytes], heldout: Path) -> None:
    name = "training-parallel-commoncrawl.tgz"
    broken = bytearray(contents[name])
    broken[5_000] ^= 1
    with serving(**{**contents, name: bytes(broken)}) as site:
        message = refused(*command(site, contents, heldout)).splitlines()
        assert message[-1].startswith(f"{name} is damaged or another file: its SHA-256 is ")
        assert hashlib.sha256(contents[name]).hexdigest() in message[-1]
        assert not [line for line in message[:-1] if line.startswith(name)]
        assert not [left for left in files(Path("runs")) if not left.endswith(".lock")]
        assert not [*Path("cache").rglob(f"{name}*")]
        assert not [*Path("cache").rglob("commoncrawl*")]
        # The other archive is in the cache and is not downloaded again.
        site.files[f"/{name}"] = contents[name]
        requests = len(site.ranges)
        done(*command(site, contents, heldout))
        assert len(site.ranges) == requests + 1


@pytest.mark.parametrize("pairs", ["sample"], indirect=True)
def test_message_without_a_network_suggests_the_sample(
    contents: dict[str, bytes], heldout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "__defaults__", (lambda seconds: None,))
    with serving() as site:
        pass
    message = refused(*command(site, contents, heldout)).splitlines()[-1]
    assert message.startswith(
        f"{site.url}/training-parallel-europarl-v7.tgz: cannot be downloaded after several attempts"
    )
    assert "task.corpus.local" in message
    assert message.endswith("--profile sample")
    assert not [left for left in files(Path("runs")) if not left.endswith(".lock")]
