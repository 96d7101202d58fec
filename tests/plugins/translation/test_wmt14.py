"""The corpus `wmt14` with small archives of the same layout from a local server."""

import gzip
import hashlib
import io
import os
import random
import re
import tarfile
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import seqx
from seqx_text import Files
from seqx_translation import Archive, Wmt14, safe_tar
from seqx_translation.archive import extract
from seqx_translation.newstest import SETS
from seqx_translation.wmt14 import ARCHIVES
from tests.plugins.translation.server import Site, cut, serving

pytestmark = pytest.mark.promise("archives-stay-inside")

EUROPARL = {
    "training/europarl-v7.de-en.en": "a\u0085b\nc\rd\r\n\n",
    "training/europarl-v7.de-en.de": "A\u2028B\nC\nD\n",
}
OTHERS = {"training/europarl-v7.fr-en.en": "x\n", "training/europarl-v7.fr-en.fr": "X\n"}
CRAWL = {"commoncrawl.de-en.de": "E\n", "commoncrawl.de-en.en": "e\n"}


def tar(members: Mapping[str, str | bytes], mode: str = "w:gz", kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return an archive of files, or of links and other members."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in members.items():
            content = text if isinstance(text, bytes) else text.encode()
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = (
                kind,
                "/etc/passwd",
                len(content) * (kind == tarfile.REGTYPE),
            )
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


FILES = {"europarl.tgz": tar(EUROPARL | OTHERS | {"../../outside": "no"}), "crawl.tgz": tar(CRAWL)}

LONG = {"commoncrawl.de-en.en": random.Random(0).randbytes(50_000)}


def archive_of(site: Site, name: str, members: Mapping[str, str | bytes]) -> Archive:
    content = site.files[f"/{name}"]
    languages = {member.removesuffix(".gz")[-2:]: member for member in members}
    return Archive(
        url=f"{site.url}/{name}",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        members=languages,
    )


@pytest.fixture
def heldout(tmp_path: Path) -> Files:
    (tmp_path / "held.en").write_text("hi\nho\n")
    (tmp_path / "held.de").write_text("hallo\nhallo\n")
    pair = [str(tmp_path / "held.en"), str(tmp_path / "held.de")]
    return Files(dev=pair, test=pair)


def corpus(site: Site, heldout: Files, **settings: Path | None) -> Wmt14:
    archives = [archive_of(site, "europarl.tgz", EUROPARL), archive_of(site, "crawl.tgz", CRAWL)]
    return Wmt14(archives=archives, heldout=heldout, **settings)  # type: ignore[arg-type]


def ignore_progress(activity: str, fraction: float | None) -> None:
    pass


PAIRS = [("a\u0085b", "A\u2028B"), ("c\rd", "C"), ("", "D"), ("e", "E")]


def test_extract_writes_only_the_parallel_text(tmp_path: Path, heldout: Files) -> None:
    with serving(**FILES) as site:
        site.answers = [cut(100)]
        wmt14 = corpus(site, heldout)
        wmt14.fetch(tmp_path / "cache", ignore_progress)
        requests = len(site.ranges)
        corpus(site, heldout).fetch(tmp_path / "cache", ignore_progress)
        assert len(site.ranges) == requests == 3
    assert list(wmt14.rows("train")) == PAIRS
    assert list(wmt14.rows("dev")) == [("hi", "hallo"), ("ho", "hallo")]
    texts = sorted(file.name.partition(".")[2] for file in (tmp_path / "cache" / "wmt14" / "text").iterdir())
    assert texts == [*sorted(CRAWL), "europarl-v7.de-en.de", "europarl-v7.de-en.en"]
    assert not (tmp_path / "outside").exists()


def test_wmt14_directions_share_archives(tmp_path: Path, heldout: Files) -> None:
    with serving(**FILES) as site:
        wmt14 = corpus(site, heldout)
        reverse = Wmt14(source="de", target="en", archives=wmt14.archives, heldout=heldout, limit=2)
        for each in (wmt14, reverse):
            each.fetch(tmp_path, ignore_progress)
        assert len(site.ranges) == 2
    assert list(reverse.rows("train")) == [(de, en) for en, de in PAIRS[:2]]
    assert wmt14.identity() != reverse.identity()


def test_wmt14_downloads_archives_for_training_only(
    tmp_path: Path, heldout: Files, sacrebleu_home: Path
) -> None:
    write_newstest(sacrebleu_home, "wmt14/full", 3003)
    with serving(**FILES) as site:
        wmt14 = corpus(site, heldout)
        for evaluated in (wmt14, Wmt14(archives=wmt14.archives)):
            evaluated.fetch(tmp_path, ignore_progress, splits=("test",))
        assert site.ranges == []
        assert list(wmt14.rows("test")) == [("hi", "hallo"), ("ho", "hallo")]
        wmt14.fetch(tmp_path, ignore_progress, splits=("train",))
        assert len(site.ranges) == 2
    assert list(wmt14.rows("train")) == PAIRS


def test_local_archives_are_not_downloaded(tmp_path: Path, heldout: Files) -> None:
    (tmp_path / "mine").mkdir()
    for name, content in FILES.items():
        (tmp_path / "mine" / name).write_bytes(content)
    with serving(**FILES) as site:
        local = corpus(site, heldout, local=tmp_path / "mine")
        local.fetch(tmp_path / "cache", ignore_progress)
        assert site.ranges == []
        assert list(local.rows("train")) == PAIRS
        with pytest.raises(seqx.UserError, match=r"local: there is no folder .+/theirs; correct the path$"):
            corpus(site, heldout, local=tmp_path / "theirs").fetch(tmp_path / "new", ignore_progress)
        (tmp_path / "mine" / "crawl.tgz").write_bytes(b"x" * len(FILES["crawl.tgz"]))
        with pytest.raises(
            seqx.UserError, match=r"^crawl.tgz is damaged .* was not changed; replace or remove it"
        ):
            corpus(site, heldout, local=tmp_path / "mine").fetch(tmp_path / "new", ignore_progress)
        assert (tmp_path / "mine" / "crawl.tgz").exists()


def test_wmt14_names_a_corrupted_archive(tmp_path: Path, heldout: Files) -> None:
    with serving(**FILES) as site:
        wmt14 = corpus(site, heldout)
        site.files["/crawl.tgz"] = FILES["crawl.tgz"][:-9] + bytes(9)
        with pytest.raises(
            seqx.UserError, match=r"^crawl.tgz is damaged or another file: its SHA-256 is .* run again"
        ):
            wmt14.fetch(tmp_path, ignore_progress)


def test_wmt14_explains_a_missing_network(tmp_path: Path, heldout: Files) -> None:
    with serving(**FILES) as site:
        wmt14 = corpus(site, heldout)
        del site.files["/europarl.tgz"]
        with pytest.raises(
            seqx.UserError, match=r"HTTP 404.*europarl.tgz elsewhere.*corpus.local.*--profile sample"
        ):
            wmt14.fetch(tmp_path, ignore_progress)


@pytest.mark.parametrize(
    ("members", "content", "lines", "message"),
    [
        (CRAWL, tar({"commoncrawl.de-en.en": "e\n"}), None, "has no member commoncrawl.de-en.de"),
        (CRAWL, tar(CRAWL, kind=tarfile.SYMTYPE), None, "member commoncrawl.de-en.de is not a regular file"),
        (CRAWL, tar(CRAWL | {"commoncrawl.de-en.de": "E\nF"}), None, "de has 2, commoncrawl.de-en.en has 1"),
        (CRAWL, tar(CRAWL), 7, "en has 1; 7 are expected"),
        (CRAWL, tar({**CRAWL, **LONG})[:-30_000], None, "is not a tar archive, or is damaged"),
        (CRAWL, b"<html>moved</html>", None, "is not a tar archive, or is damaged"),
        (
            {"x.en.gz": "", "x.de.gz": ""},
            tar({"x.en.gz": gzip.compress(b"a\n", mtime=0)[:-4]}),
            None,
            "is not a tar archive, or is damaged",
        ),
    ],
)
def test_extract_reports_problems_of_an_archive(
    tmp_path: Path,
    heldout: Files,
    members: dict[str, str | bytes],
    content: bytes,
    lines: int | None,
    message: str,
) -> None:
    with serving(**{"crawl.tgz": content}) as site:
        archive = replace(archive_of(site, "crawl.tgz", members), lines=lines)
        with pytest.raises(seqx.UserError, match=message):
            Wmt14(archives=[archive], heldout=heldout).fetch(tmp_path / "cache", ignore_progress)
    assert list((tmp_path / "cache" / "wmt14" / "text").glob("*")) == []


def test_extracted_text_is_synced_and_leftovers_of_killed_processes_are_removed(
    tmp_path: Path, heldout: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    with serving(**FILES) as site:
        wmt14 = corpus(site, heldout)
        wmt14.fetch(tmp_path, ignore_progress)
        folder = tmp_path / "wmt14"
        files = [*(folder / "text").iterdir(), *(folder / "archives").glob("*/*")]
        assert len(files) == 6
        assert {file.stat().st_ino for file in files} <= synced
        files[0].rename(leftover := files[0].with_name(f".{files[0].name}.01234567.part"))
        wmt14.fetch(tmp_path, ignore_progress)
    assert files[0].exists()
    assert not leftover.exists()


def test_extracted_text_that_was_cut_is_named(tmp_path: Path, heldout: Files) -> None:
    with serving(**FILES) as site:
        wmt14 = corpus(site, heldout)
        wmt14.fetch(tmp_path, ignore_progress)
    (file,) = (tmp_path / "wmt14" / "text").glob("*europarl*.de")
    file.write_text("D\n", encoding="utf-8")
    with pytest.raises(seqx.UserError, match=rf"{file}: have different numbers of lines, .*remove them"):
        list(wmt14.rows("train"))


def test_extracted_members_of_the_same_name_are_kept_apart(tmp_path: Path, heldout: Files) -> None:
    members = {f"{folder}/x.{language}": f"{folder}\n" for folder in "ab" for language in ("en", "de")}
    with serving(**{"x.tgz": tar(members)}) as site:
        whole = archive_of(site, "x.tgz", {})
        halves = [
            replace(whole, members={code: f"{folder}/x.{code}" for code in ("en", "de")}) for folder in "ab"
        ]
        both = Wmt14(archives=halves, heldout=heldout)
        both.fetch(tmp_path, ignore_progress)
        assert len(site.ranges) == 1
    assert list(both.rows("train")) == [("a", "a"), ("b", "b")]


def test_extract_reads_compressed_members(tmp_path: Path, heldout: Files) -> None:
    members = {f"giga-fren.release2.fixed.{code}.gz": gzip.compress(text) for code, text in
               (("en", b"one\ntw\xff\n"), ("fr", b"un\ndeux"))}  # fmt: skip
    with serving(**{"giga.tar": tar({f"./{name}": text for name, text in members.items()}, "w:")}) as site:
        giga = Wmt14(target="fr", archives=[archive_of(site, "giga.tar", members)], heldout=heldout)
        giga.fetch(tmp_path, ignore_progress)
    assert list(giga.rows("train")) == [("one", "un"), ("tw\ufffd", "deux")]


@pytest.mark.promise("lines-are-bounded")
def test_archive_lines_end_at_line_feeds_and_are_bounded(tmp_path: Path, heldout: Files) -> None:
    text = {"x.en": b"a\n\xff\r\n" + b"x" * (1 << 24) + b"\n", "x.de": b"A\nB\nC\n"}
    with serving(**{"x.tgz": tar(text)}) as site:
        wmt14 = Wmt14(archives=[archive_of(site, "x.tgz", text)], heldout=heldout)
        wmt14.fetch(tmp_path / "cache", ignore_progress)
    rows = wmt14.rows("train")
    assert [next(rows), next(rows)] == [("a", "A"), ("\ufffd", "B")]
    with pytest.raises(seqx.UserError, match=r"x\.en:3: the line has more than 16,777,216 bytes"):
        next(rows)


def test_wmt14_archives_are_those_of_the_paper() -> None:
    assert [archive.name for archive in ARCHIVES["de"]] == [
        "training-parallel-europarl-v7.tgz",
        "training-parallel-commoncrawl.tgz",
        "training-parallel-nc-v9.tgz",
    ]
    assert sum(archive.lines or 0 for archive in ARCHIVES["de"]) == 4_520_620
    assert ARCHIVES["de"][0].members == {
        "en": "training/europarl-v7.de-en.en",
        "de": "training/europarl-v7.de-en.de",
    }
    assert ARCHIVES["fr"][-1].members["fr"] == "giga-fren.release2.fixed.fr.gz"
    assert sum(archive.size for archive in ARCHIVES["fr"]) == 6_617_099_128
    assert all(len(archive.sha256) == 64 for archives in ARCHIVES.values() for archive in archives)


def test_wmt14_rejects_other_languages_and_missing_members() -> None:
    with pytest.raises(ValueError, match="one of source"):
        Wmt14(source="de", target="fr")
    with pytest.raises(ValueError, match="needs a member for both en and fr"):
        Wmt14(target="fr", archives=ARCHIVES["de"])


@pytest.fixture
def sacrebleu_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new folder of sacreBLEU, in which its downloads fail."""
    from sacrebleu import DATASETS

    home = tmp_path / "sacrebleu"
    monkeypatch.setattr("sacrebleu.SACREBLEU_DIR", str(home))
    for name, _ in SETS.values():
        monkeypatch.setattr(DATASETS[name], "_outdir", str(home / name))
        monkeypatch.setattr(DATASETS[name], "_rawdir", str(home / name / "raw"))
        monkeypatch.setattr(DATASETS[name], "data", ["http://127.0.0.1:9/nothing.tgz"])
    return home


def write_newstest(home: Path, name: str, lines: int) -> None:
    """Write the files of a test set into sacreBLEU's folder."""
    (home / name).mkdir(parents=True, exist_ok=True)
    for side, word in (("src", "one"), ("ref", "eins"), ("docid", ""), ("genre", ""), ("origlang", "")):
        file = home / name / f"{name.replace('/', '_')}.en-de.{side}"
        file.write_text("".join(f"{word} {number}\n" for number in range(lines)))


def test_newstest_files_come_from_sacrebleu(tmp_path: Path, sacrebleu_home: Path) -> None:
    write_newstest(sacrebleu_home, "wmt13", 3000)
    write_newstest(sacrebleu_home, "wmt14/full", 3003)
    wmt14 = Wmt14(archives=[])
    wmt14.fetch(tmp_path / "cache", ignore_progress)
    assert list(wmt14.rows("train")) == []
    assert [len(list(wmt14.rows(split))) for split in ("dev", "test")] == [3000, 3003]
    assert next(wmt14.rows("test")) == ("one 0", "eins 0")
    write_newstest(sacrebleu_home, "wmt14/full", 2737)
    Wmt14(archives=[]).fetch(tmp_path / "cache", ignore_progress)
    with pytest.raises(seqx.UserError, match=r"has \[2737, 2737\] lines instead of 3003 per side; remove"):
        Wmt14(archives=[]).fetch(tmp_path / "new", ignore_progress)


def test_newstest_explains_a_failed_download(tmp_path: Path, sacrebleu_home: Path) -> None:
    with pytest.raises(seqx.UserError) as caught:
        Wmt14(archives=[]).fetch(tmp_path / "cache", ignore_progress)
    home = re.escape(str(sacrebleu_home))
    pattern = rf"wmt13 for en-de .*refused.*copy .*folder .* to {home}, or set .*corpus.heldout"
    assert re.search(pattern, str(caught.value))


def extract_text(content: bytes, tmp_path: Path) -> dict[str, Path]:
    """Extract the text of two members of an archive."""
    file = tmp_path / "x.tgz"
    file.write_bytes(content)
    wanted = Archive(url="https://a/x.tgz", size=1, sha256="0" * 64, members={"en": "x.en", "de": "x.de.gz"})
    files = {"en": tmp_path / "text.en", "de": tmp_path / "text.de"}
    extract(wanted, file, files, ignore_progress)
    return files


def header(kind: bytes, size: int) -> bytes:
    """Return the header of a member, which may claim more bytes than follow."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


ZEROS = bytes(3 << 20)


@pytest.mark.promise("archives-are-bounded")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header(tarfile.XHDTYPE, 8 << 30) + ZEROS, "a header of 8,589,934,592 bytes"),
        (header(tarfile.GNUTYPE_LONGNAME, 8 << 30) + ZEROS, "a header of 8,589,934,592 bytes"),
        (
            gzip.compress(header(tarfile.REGTYPE, 3 << 20) + ZEROS + tar(EUROPARL, "w")),
            "decompresses to more than",
        ),
        (
            tar({"x.en": b"a\n", "x.de.gz": gzip.compress(ZEROS)}),
            "member x.de.gz decompresses to more than",
        ),
        (tar({f"{i}": b"" for i in range(30)}), "has more than 20 members"),
        (header(tarfile.REGTYPE, -(1 << 40)) + ZEROS, "is not a tar archive, or is damaged"),
        (b"\xfd7zXZ\x00" + ZEROS, "is not a tar archive, or is damaged"),
        (b"", "is not a tar archive, or is damaged"),
    ],
)
def test_safe_tar_bounds_memory_and_disk(
    content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_tar, "MIN_LIMIT", 2 << 20)
    monkeypatch.setattr(safe_tar, "MAX_RATIO", 1)
    monkeypatch.setattr(safe_tar, "_MEMBERS", 20)
    tracemalloc.start()
    try:
        with pytest.raises(seqx.UserError, match=r"x.tgz: ") as caught:
            extract_text(content, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
    assert reason in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tgz"]


def test_safe_tar_bounds_are_far_above_compressed_text(tmp_path: Path) -> None:
    text = {"x.en": b"the same line\n" * 100_000, "x.de.gz": gzip.compress(b"die gleiche Zeile\n" * 100_000)}
    files = extract_text(tar(text), tmp_path)
    assert files["en"].read_bytes() == text["x.en"]


@pytest.mark.promise("downloads-are-verified")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sha256": "../../../../tmp"}, "it needs 64 hexadecimal digits"),
        ({"sha256": "0" * 63 + "/"}, "it needs 64 hexadecimal digits"),
        ({"url": "https://a/b/.."}, "does not name a file"),
        ({"url": ""}, "does not name a file"),
        ({"url": "https://a/\x1b[31m"}, "remove the control characters"),
    ],
)
def test_archive_url_cannot_name_a_path(settings: dict[str, str], reason: str) -> None:
    good = {"url": "https://a/x.tgz", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=reason):
        Archive(**{**good, **settings}, size=1, members={"en": "a", "de": "b"})  # type: ignore[arg-type]
