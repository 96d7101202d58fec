"""The manifest of a folder: size and SHA-256 of each file, to find missing, truncated or changed files."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from seqx.errors import DamagedError, shortened, unreadable
from seqx.storage.bounded_read import read_bounded_json
from seqx.storage.json_format import check_format

MANIFEST = "manifest.json"
_MAX_BYTES = 2**20  # of a manifest; real ones have a few kilobytes
_MAX_NAME_BYTES = 1000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Size and hash of one file."""

    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of a folder: its format number, and its files by their paths relative to it."""

    folder: Path
    format: int
    files: Mapping[str, Entry]

    @classmethod
    def seal(cls, folder: Path, format_: int) -> Self:
        """Write the manifest of a folder. Call it when all other files are written."""
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
        entries = {
            path.relative_to(folder).as_posix(): Entry(size=path.stat().st_size, sha256=sha256(path))
            for path in files
        }
        plain = {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in entries.items()}
        text = json.dumps({"format": format_, "files": plain}, indent=2) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        return cls(folder, format_, entries)

    @classmethod
    def read(cls, folder: Path, newest: int) -> Self | None:
        """Read the manifest of a folder; return None if there is none.

        Args:
            folder: the folder
            newest: the newest format that this version of seqx can read

        Raises:
            DamagedError: the manifest is damaged
            UserError: a newer version of seqx wrote it
        """
        file = folder / MANIFEST
        try:
            content = read_bounded_json(file, _MAX_BYTES)
            format_, files = content["format"], content["files"]
            check_format(format_, file, newest)
            entries = {name: _entry(name, entry) for name, entry in files.items()}
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(file, error) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = shortened(str(error), 200)
            raise DamagedError(f"{file}: cannot be read ({type(error).__name__}: {reason})") from None
        return cls(folder, format_, entries)

    def check_sizes(self) -> None:
        """Check that every file exists and has the recorded size.

        Raises:
            DamagedError: a file is missing or has another size
        """
        for name, entry in self.files.items():
            file = self.folder / name
            try:
                status = file.stat()
            except OSError as error:
                raise unreadable(file, error) from None
            if not stat.S_ISREG(status.st_mode):
                raise DamagedError(f"{file}: cannot be read (it is not a regular file)")
            if status.st_size != entry.size:
                raise DamagedError(
                    f"{file}: cannot be read (it has {status.st_size:,} bytes, not {entry.size:,})"
                )

    def check_hashes(self, *names: str, max_bytes: int | None = None) -> None:
        """Check that files have the recorded hashes.

        Args:
            names: the files to check; without any, all
            max_bytes: maximum size of each file; None: no limit

        Raises:
            DamagedError: a file has changed, is too large, or is not in the manifest
        """
        for name in names or self.files:
            file = self.folder / name
            if name not in self.files:
                raise DamagedError(f"{file}: cannot be read ({MANIFEST} does not name it)")
            if max_bytes is not None and self.files[name].size > max_bytes:
                raise DamagedError(f"{file}: cannot be read (it has more than {max_bytes:,} bytes)")
            try:
                is_same = sha256(file) == self.files[name].sha256
            except OSError as error:
                raise unreadable(file, error) from None
            if not is_same:
                raise DamagedError(f"{file}: cannot be read (its bytes are not those that were written)")

    def drop_page_cache(self) -> None:
        """Ask the system to read the files from the disk next time, and not from its page cache."""
        if not hasattr(os, "posix_fadvise"):
            return
        for name in self.files:
            descriptor = os.open(self.folder / name, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _entry(name: str, plain: Mapping[str, Any]) -> Entry:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{shortened(name)!r} leads out of the folder")
    encoded = os.fsencode(name)
    if b"\0" in encoded or len(encoded) > _MAX_NAME_BYTES:
        raise ValueError(f"{shortened(name)!r} cannot be the name of a file")
    size, hash_ = plain["size"], plain["sha256"]
    if not isinstance(size, int) or not isinstance(hash_, str):
        raise TypeError(f"{shortened(name)!r} has no size and sha256")
    return Entry(size=size, sha256=hash_)
