"""Files and folders that are written atomically."""

import errno
import fcntl
import itertools
import os
import shutil
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seqx.errors import UserError, unwritable
from seqx.storage import atomic
from seqx.storage.atomic import atomic_file, atomic_folder, remove_leftovers, write_atomically
from seqx.storage.direct_output import open_output

pytestmark = pytest.mark.promise("checkpoints-are-atomic")


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def write(place: Path, **contents: str | BaseException) -> None:
    """Write files into an atomic folder, which can fail with an error."""
    with atomic_folder(place) as new:
        for name, content in contents.items():
            if isinstance(content, BaseException):
                raise content
            (new / name).write_text(content)


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_atomic_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    with atomic_folder(place) as new:
        (new / "deep").mkdir()
        (new / "deep" / "file").write_text("one")
        assert not place.exists()
    assert contents(tmp_path) == {"a/b/deep/file": "one"}


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_atomic_folder_has_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "model"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o777 & ~umask


def test_atomic_folder_replaces_an_old_one(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for text in ("old", "new"):
        with atomic_folder(place) as new:
            (new / text).write_text(text)
            if text == "new":
                assert contents(place) == {"old": "old"}
    assert contents(tmp_path) == {"model/new": "new"}
    assert names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), UserError("no room")])
@pytest.mark.parametrize("before", [True, False])
def test_failed_atomic_folder_leaves_nothing(tmp_path: Path, error: BaseException, before: bool) -> None:
    place = tmp_path / "model"
    if before:
        place.mkdir()
        (place / "file").write_text("old")
    with pytest.raises(type(error)):
        write(place, file="half", then=error)
    assert contents(tmp_path) == ({"model/file": "old"} if before else {})
    assert names_in(tmp_path) == (["model"] if before else [])


def test_full_disk_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model: cannot be written: No space left on device"):
        write(tmp_path / "model", file="half", then=OSError(28, "No space left on device"))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device; free disk space, and run the same command again"),
        (errno.EDQUOT, "Disk quota exceeded; free disk space, and run the same command again"),
        (errno.EROFS, "Read-only file system; choose another folder"),
        (errno.EACCES, "Permission denied; choose another folder"),
        (errno.ENAMETOOLONG, "File name too long; choose a shorter name"),
        (errno.EMFILE, "Too many open files; raise the limit on open files (ulimit -n)"),
        (errno.EIO, "Input/output error; check the disk"),
    ],
)
def test_write_errors_have_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    """The advice is also given for errors that `shutil` collects from many files."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "a file")

    (tmp_path / "from" / "within").mkdir(parents=True)
    (tmp_path / "from" / "within" / "file").write_text("")
    expected = f"{tmp_path / 'model'}: cannot be written: {message}"
    with pytest.raises(UserError) as caught, atomic.atomic_folder(tmp_path / "model") as new:
        shutil.copytree(tmp_path / "from", new, dirs_exist_ok=True, copy_function=fail)
    assert str(caught.value) == expected
    monkeypatch.setattr(atomic, "_locked_part", fail)
    with pytest.raises(UserError) as caught, atomic.atomic_folder(tmp_path / "model"):
        pass
    assert str(caught.value) == expected
    library = RuntimeError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")
    assert str(unwritable(tmp_path / "model", library)) == expected


def test_parent_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"model: cannot be written: .*choose another folder"):
        write(tmp_path / "file" / "model")


def test_write_atomically_replaces_a_file(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    write_atomically(file, "eins\n")
    write_atomically(file, "zwei ä\n")
    assert file.read_bytes() == "zwei ä\n".encode()
    write_atomically(file, b"\xff\r\n")
    assert file.read_bytes() == b"\xff\r\n"
    assert names_in(tmp_path) == ["scores.json"]


def test_failed_write_atomically_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scores.json"
    write_atomically(file, "old")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "fsync", full)
    with pytest.raises(UserError, match=r"scores\.json: cannot be written: No space left on device"):
        write_atomically(file, "new")
    assert contents(tmp_path) == {"scores.json": "old"}


def test_atomic_folder_is_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "model"
    order: list[str] = []
    fsync: Callable[[Path], None] = atomic.fsync

    def recorded(path: Path) -> None:
        order.append(f"{path.name} {place.exists()}")
        fsync(path)

    monkeypatch.setattr(atomic, "fsync", recorded)
    with atomic_folder(place) as new:
        (new / "weights").write_text("1")
    assert order[0] == "weights False"
    assert order[-1] == f"{tmp_path.name} True"


def fork(job: Callable[[], None]) -> int:
    """Run a job in another process; return its id."""
    child = os.fork()
    if not child:
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    return child


def killed_at(job: Callable[[], None], step: int) -> bool:
    """Run a job in a process that is killed at its write number `step`; return true if it was killed."""
    child = os.fork()
    if not child:
        steps = itertools.count()

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return call

        for name in ("rename", "replace", "write_text", "write_bytes"):
            setattr(Path, name, counted(getattr(Path, name)))
        atomic.fsync = counted(atomic.fsync)
        try:
            job()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.promise("leftovers-of-killed-writes")
def test_process_killed_at_any_step_loses_no_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def write_run(text: str) -> None:
        write(run / "model", file=text)
        write_atomically(run / "model" / "scores.json", text)

    outcomes = list[tuple[str, str | None]]()
    for step in itertools.count():
        write_run("old")
        if not killed_at(partial(write_run, "new"), step):
            break
        remove_leftovers(run, recursive=True)
        files = contents(tmp_path)
        outcomes.append((files.pop("run/model/file"), files.pop("run/model/scores.json", None)))
        assert files == {}
    assert set(outcomes) == {("old", "old"), ("new", None), ("new", "new")}
    assert len(outcomes) > 9


@pytest.mark.promise("leftovers-of-killed-writes")
def test_next_write_removes_what_killed_processes_left(tmp_path: Path) -> None:
    place, file = tmp_path / "exported", tmp_path / "page.html"
    jobs = {place: partial(write, place, a="1", b="2"), file: partial(write_atomically, file, "text")}
    for target, job in jobs.items():
        others = [
            f".{target.name}.v2.abcdefgh.part",
            f".{target.name}.part",
            f".{target.name}.ab.replaced.part",
        ]
        for name in others:
            (tmp_path / name).touch()
        for step in range(3):
            assert killed_at(job, step)
        assert len(names_in(tmp_path)) > len(others)
        job()
        assert sorted(names_in(tmp_path)) == sorted([*others, target.name])
        for path in (*map(tmp_path.joinpath, others), file):
            path.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)


def test_next_write_keeps_what_another_process_is_writing(tmp_path: Path) -> None:
    place = tmp_path / "exported"
    with atomic_folder(place) as new:
        (new / "file").write_text("one")
        assert not os.waitstatus_to_exitcode(os.waitpid(fork(partial(write, place, file="two")), 0)[1])
        assert contents(place) == {"file": "two"}
        assert (new / "file").read_text() == "one"
    assert contents(tmp_path) == {"exported/file": "one"}


def test_folder_that_another_process_takes_for_abandoned_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = atomic._lock, itertools.count()

    def raced(descriptor: int) -> bool | None:
        if (call := next(calls)) == 0:
            atomic._remove(next(tmp_path.glob(".exported.*.part")))
        return False if call == 1 else lock(descriptor)

    monkeypatch.setattr(atomic, "_lock", raced)
    write(tmp_path / "exported", file="one")
    assert next(calls) == 3
    assert contents(tmp_path / "exported") == {"file": "one"}


def test_file_system_without_locks_keeps_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".page.html.0a1b2c3d.part").touch()
    write_atomically(tmp_path / "page.html", "text")
    assert sorted(names_in(tmp_path)) == [".page.html.0a1b2c3d.part", "page.html"]


@pytest.mark.promise("leftovers-of-killed-writes")
def test_leftovers_are_removed_but_not_what_another_process_is_writing(tmp_path: Path) -> None:
    """The folder `averaged` is written, the old version of `model` is moved away by another process."""
    replace = Path.rename

    def paused(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        if target.parent.name.endswith(".replaced.part"):
            assert clean() == 0
            assert not (tmp_path / "model").exists()
        return moved

    def clean() -> int:
        return os.waitstatus_to_exitcode(os.waitpid(fork(partial(remove_leftovers, tmp_path)), 0)[1])

    write(tmp_path / "model", file="old")
    for name in (".averaged.0a1b2c3d.part", ".gone.0a1b2c3d.replaced.part"):
        (tmp_path / name / "gone").mkdir(parents=True)
    with atomic_folder(tmp_path / "averaged") as new, pytest.MonkeyPatch.context() as patch:
        (new / "file").write_text("one")
        patch.setattr(Path, "rename", paused)
        write(tmp_path / "model", file="new")
        assert clean() == 0
    assert sorted(names_in(tmp_path)) == ["averaged", "gone", "model"]
    assert contents(tmp_path) == {"averaged/file": "one", "model/file": "new"}


def test_only_names_of_incomplete_versions_are_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    others = {".movie.part", ".movie.ab.part", "a.0a1b2c3d.part", ".a.0a1b2c3d.partial", ".0a1b2c3d.part"}
    for name in (*others, ".a.0a1b2c3d.part", "elsewhere/.a.0a1b2c3d.part"):
        (tmp_path / name).touch()
    (tmp_path / ".b.0a1b2c3d.part").symlink_to("elsewhere")
    remove_leftovers(tmp_path)
    assert {*names_in(tmp_path)} == others | {"elsewhere", ".b.0a1b2c3d.part"}
    assert names_in(tmp_path / "elsewhere") == [".a.0a1b2c3d.part"]
    remove_leftovers(tmp_path, recursive=True)
    assert names_in(tmp_path / "elsewhere") == []


def test_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "target", tmp_path / "link"
    link.symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    for text in ("one", "two"):  # the target is missing at first
        write_atomically(link, text)
        assert (link.is_symlink(), target.read_text(), names_in(target.parent)) == (True, text, ["target"])
    with atomic_file(link) as new:
        new.write_text("three")
    assert (link.is_symlink(), target.read_text(), names_in(target.parent)) == (True, "three", ["target"])


def test_target_of_a_link_to_a_folder_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "disk" / "target", tmp_path / "link"
    link.symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    for text in ("one", "two"):  # the target and its parent are missing at first
        write(link, **{text: text})
        assert (contents(target), names_in(target.parent)) == ({text: text}, ["target"])
    with pytest.raises(UserError, match=rf"{link}: cannot be written: No space left on device"):
        write(link, file="half", then=OSError(28, "No space left on device"))
    assert link.is_symlink()
    assert contents(tmp_path) == {"disk/target/two": "two"}
    assert sorted(names_in(tmp_path)) == ["disk", "link", "second"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_replaced_file_keeps_its_permissions_and_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    file, write_bytes, while_written = tmp_path / "scores.json", Path.write_bytes, list[int]()

    def recorded(self: Path, *args: Any, **kwargs: Any) -> int:
        while_written.append(stat.S_IMODE(self.stat().st_mode) & 0o077)
        return write_bytes(self, *args, **kwargs)

    file.write_text("old")
    file.chmod(mode)
    owner = (1, 2) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(file, *owner)
    monkeypatch.setattr(Path, "write_bytes", recorded)
    write_atomically(file, "new")
    status = file.stat()
    assert (file.read_text(), stat.S_IMODE(status.st_mode), while_written) == ("new", mode, [0])
    assert (status.st_uid, status.st_gid) == owner


def test_devices_and_pipes_are_written_directly(tmp_path: Path) -> None:
    before = Path(os.devnull).stat()
    (tmp_path / "link").symlink_to(os.devnull)
    for file in (Path(os.devnull), tmp_path / "link"):
        write_atomically(file, "text")
    assert os.path.samestat(Path(os.devnull).stat(), before)
    assert names_in(tmp_path) == ["link"]
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_standard_output_that_is_a_regular_file_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "log"

    def job() -> None:
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), 1)
        os.write(1, b"before\n")
        write_atomically(Path("/dev/stdout"), "text\n")
        with open_output(Path("/dev/stdout"), "w") as stream:
            stream.write("trace\n")
        os.write(1, b"after\n")

    assert os.waitstatus_to_exitcode(os.waitpid(fork(job), 0)[1]) == 0
    assert file.read_text() == "before\ntext\ntrace\nafter\n"
    assert names_in(tmp_path) == ["log"]
