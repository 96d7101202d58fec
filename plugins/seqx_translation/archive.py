"""Extract parallel text from downloaded archives."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

from annotated_types import Gt

import seqx
from seqx_translation.safe_tar import limit, members

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A tar archive (.tar, .tgz) of parallel text, with its checksum.

    Args:
        url: the address
        size: the number of bytes
        sha256: the checksum, in hexadecimal digits
        members: the member of each language, such as `{en: training/x.en, de: training/x.de}`; a member may
            be compressed (.gz)
        lines: the number of lines of each of these members, if known
    """

    url: str
    size: Annotated[int, Gt(0)]
    sha256: str
    members: dict[str, str]
    lines: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise ValueError(f"sha256 is {self.sha256[:80]!r}, but it needs 64 hexadecimal digits")
        if self.name in ("", ".."):
            raise ValueError(
                f"url is {self.url[:80]!r}, which does not name a file; set the url of an archive"
            )
        if not self.url.isprintable():
            raise ValueError(f"url is {self.url[:80]!r}; remove the control characters")

    @property
    def name(self) -> str:
        """The file name of the archive."""
        return PurePosixPath(self.url).name


def extract(archive: Archive, path: Path, files: Mapping[str, Path], progress: seqx.ProgressReporter) -> None:
    """Write the text of each language from the archive at `path` to `files`.

    If an error occurs, no file is written. Other members are not extracted, and names of members are never
    used as paths.

    Raises:
        UserError: a member is missing, damaged, not a regular file, or has another number of lines
    """
    try:
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            new = {language: stack.enter_context(seqx.atomic_file(file)) for language, file in files.items()}
            counts = _extract_members(archive, path, new, progress)
            if missing := [archive.members[language] for language in new if language not in counts]:
                raise seqx.UserError(f"{path}: has no member {' and no member '.join(missing)}")
            expected_counts = {archive.lines} if archive.lines is not None else set()
            if len(expected_counts | set(counts.values())) > 1:
                found = ", ".join(
                    f"{archive.members[language]} has {count:,}" for language, count in counts.items()
                )
                expected = "".join(f"; {count:,} are expected" for count in expected_counts)
                raise seqx.UserError(
                    f"{path}: the members must have the same number of lines: {found}{expected}"
                )
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
        raise seqx.UserError(f"{path}: is not a tar archive, or is damaged ({error})") from error
    except OSError as error:
        raise seqx.UserError(f"{error.filename or path}: {error.strerror or error}") from error


def _extract_members(
    archive: Archive, path: Path, files: Mapping[str, Path], progress: seqx.ProgressReporter
) -> dict[str, int]:
    """Write each language's member to its file; return the number of lines of the members that exist."""
    wanted = {archive.members[language]: language for language in files}
    counts: dict[str, int] = {}
    with members(path) as entries:
        for member, tar in entries:
            language = wanted.get(member.name.removeprefix("./"))
            if language is None or language in counts:
                continue
            progress(f"reading {member.name} of {archive.name}", len(counts) / len(wanted))
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise seqx.UserError(f"{path}: member {member.name} is not a regular file")
            try:
                compressed = member.name.endswith(".gz")
                counts[language] = _copy_text(
                    stream, files[language], compressed=compressed, max_bytes=limit(path)
                )
            except _TooLargeError:
                raise seqx.UserError(
                    f"{path}: member {member.name} decompresses to more than {limit(path):,} bytes, too many "
                    "for text"
                ) from None
            if len(counts) == len(wanted):
                break
    return counts


class _TooLargeError(Exception):
    """A member decompresses to more bytes than allowed."""


def _copy_text(stream: IO[bytes], file: Path, *, compressed: bool, max_bytes: int) -> int:
    r"""Copy text to `file`; return the number of its lines, which end at "\n" only."""
    count, last = 0, b"\n"
    with gzip.open(stream) if compressed else stream as source, file.open("wb") as target:
        while chunk := source.read(_CHUNK):
            max_bytes -= len(chunk)
            if max_bytes < 0:
                raise _TooLargeError
            count += chunk.count(b"\n")
            last = chunk[-1:]
            target.write(chunk)
    return count + (last != b"\n")
