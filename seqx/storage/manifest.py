"""What a folder should hold, written into it last: a file that is missing, cut or changed is found."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from seqx.errors import DamagedError, shortened, unreadable
from seqx.storage.bounded_read import json_content
from seqx.storage.json_format import check_format

NAME = "manifest.json"
_LARGEST = 2**20  # bytes of a manifest: those written here have a few kilobytes
_LONGEST = 1000  # bytes of a name


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file, as it was written."""

    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a folder, by the names of its files relative to it, and in which format it is written."""

    folder: Path
    format: int
    files: Mapping[str, Entry]

    @classmethod
    def seal(cls, folder: Path, version: int) -> Self:
        """Write the manifest of what a folder holds now; nothing is written after it."""
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
        entries = {
            path.relative_to(folder).as_posix(): Entry(size=path.stat().st_size, sha256=digest(path))
            for path in files
        }
        plain = {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in entries.items()}
        text = json.dumps({"format": version, "files": plain}, indent=2) + "\n"
        (folder / NAME).write_text(text, encoding="utf-8")
        return cls(folder, version, entries)

    @classmethod
    def read(cls, folder: Path, newest: int) -> Self | None:
        """The manifest of a folder; None where none was written.

        Args:
            folder: holds it
            newest: the last format that can be read

        Raises:
            DamagedError: it is none
            UserError: the format is newer
        """
        file = folder / NAME
        try:
            about = json_content(file, _LARGEST)
            version, files = about["format"], about["files"]
            check_format(version, file, newest)
            entries = {name: _entry(name, entry) for name, entry in files.items()}
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(file, error) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            said = shortened(str(error), 200)
            raise DamagedError(f"{file}: cannot be read ({type(error).__name__}: {said})") from None
        return cls(folder, version, entries)

    def check_sizes(self) -> None:
        """Every file is there, in its size.

        Raises:
            DamagedError: one is not
        """
        for name, entry in self.files.items():
            file = self.folder / name
            try:
                found = file.stat()
            except OSError as error:
                raise unreadable(file, error) from None
            if not stat.S_ISREG(found.st_mode):
                raise DamagedError(f"{file}: cannot be read (it is no plain file)")
            if found.st_size != entry.size:
                raise DamagedError(
                    f"{file}: cannot be read (it has {found.st_size:,} bytes, not {entry.size:,})"
                )

    def check(self, *names: str, most: int | None = None) -> None:
        """These files, or all, are what was written, to the last byte.

        Args:
            names: of the files; none: all
            most: bytes that one of them may have; None: any

        Raises:
            DamagedError: one is not, or is none that was written
        """
        for name in names or self.files:
            file = self.folder / name
            if name not in self.files:
                raise DamagedError(f"{file}: cannot be read ({NAME} does not name it)")
            if most is not None and self.files[name].size > most:
                raise DamagedError(f"{file}: cannot be read (it has more than {most:,} bytes)")
            try:
                same = digest(file) == self.files[name].sha256
            except OSError as error:
                raise unreadable(file, error) from None
            if not same:
                raise DamagedError(f"{file}: cannot be read (its bytes are not those that were written)")

    def forget(self) -> None:
        """Have the next look at the files be one at the disk, where the system lets us ask for that."""
        if not hasattr(os, "posix_fadvise"):
            return
        for name in self.files:
            descriptor = os.open(self.folder / name, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _entry(name: str, about: Mapping[str, Any]) -> Entry:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{shortened(name)!r} leads out of the folder")
    written = os.fsencode(name)
    if b"\0" in written or len(written) > _LONGEST:
        raise ValueError(f"{shortened(name)!r} is the name of no file")
    size, sha256 = about["size"], about["sha256"]
    if not isinstance(size, int) or not isinstance(sha256, str):
        raise TypeError(f"{shortened(name)!r} has no size and sha256")
    return Entry(size=size, sha256=sha256)
