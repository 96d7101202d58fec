"""Fetches large files whole: goes on where a connection broke off, and believes nothing but the checksum."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import seqx

T = TypeVar("T")

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_FRUITLESS = 4  # attempts in a row that brought nothing
_ATTEMPTS = 30  # in all; the next run goes on from what they brought
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # what may be otherwise a little later
_WEB = ("http://", "https://")
_SHOWN = 200  # characters of what a server says


class UnreachableError(seqx.UserError):
    """The server cannot be reached, or does not have the file."""


def download(
    url: str,
    file: Path,
    size: int,
    sha256: str,
    progress: seqx.ProgressReporter,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Have the file at `url`, of `size` bytes, as `file`; a part left by an earlier attempt is gone on with.

    Args:
        url: where it is, by http or https
        file: where it is to be; it is there only when its checksum is right
        size: how many bytes it has
        sha256: its checksum, in hexadecimal digits
        progress: told the share that is here
        wait: sleeps so many seconds between attempts

    Raises:
        UnreachableError: no server, or no such file on it
        UserError: other bytes than expected, or no room for them
    """
    if file.exists():
        return
    if not url.startswith(_WEB):
        raise seqx.UserError(
            f"{url}: only http and https can be fetched; put the file into a local folder instead"
        )
    part = file.with_name(f"{file.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _collect(url, part, size, progress, wait)
        verify(
            part, size, sha256, progress, f"{part} was removed; run again, or set the url of another mirror"
        )
        part.replace(file)
    except OSError as error:
        raise seqx.unwritable(part, error) from error


def verify(file: Path, size: int, sha256: str, progress: seqx.ProgressReporter, advice: str) -> None:
    """Compare a file's size and checksum with what they should be; a `.part` that differs is removed.

    Raises:
        UserError: both sums, and `advice`
    """
    digest, done = hashlib.sha256(), 0
    found = file.stat().st_size
    if found == size:
        with file.open("rb") as stream:
            for chunk in iter(partial(stream.read, _CHUNK), b""):
                digest.update(chunk)
                done += len(chunk)
                progress(f"checking {file.name}", done / size)
        if digest.hexdigest() == sha256.lower():
            return
    if file.suffix == ".part":
        file.unlink()
    sums = (
        f"its SHA-256 is {digest.hexdigest()}, not {sha256}"
        if found == size
        else f"it has {found:,} bytes, not {size:,}"
    )
    raise seqx.UserError(f"{file.name.removesuffix('.part')} is damaged or another file: {sums}. {advice}")


def _collect(
    url: str, part: Path, size: int, progress: seqx.ProgressReporter, wait: Callable[[float], None]
) -> None:
    """Attempt after attempt, until `part` has `size` bytes or there is no hope."""
    fruitless, reason = 0, ""
    for _ in range(_ATTEMPTS):
        before = _size(part)
        if before > size:
            part.unlink()
        if before == size:
            return
        reason = _attempt(url, part, size, progress) or "the connection broke off"
        after = _size(part)
        if after == size:
            return
        fruitless = 0 if after > before else fruitless + 1
        if fruitless == _FRUITLESS:
            break
        progress(f"fetching {url}: {reason}; trying again", after / size)
        wait(min(60.0, 2.0**fruitless))
    raise UnreachableError(f"{url}: cannot be fetched, tried several times ({reason})")


def _attempt(url: str, part: Path, size: int, progress: seqx.ProgressReporter) -> str:
    """One request for what is missing; what went wrong, if that is known and may pass."""
    try:
        for done in _received(url, part, size):
            progress(f"fetching {url}", done / size)
    except urllib.error.HTTPError as error:
        reason = _plain(f"HTTP {error.code} {error.reason}")
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # what is here cannot be the beginning of what is there
        elif error.code not in _PASSING:
            raise UnreachableError(f"{url}: the server does not give the file ({reason})") from error
        return reason
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        return _plain(str(getattr(error, "reason", "") or error or type(error).__name__))
    return ""


def _received(url: str, part: Path, size: int) -> Iterator[int]:
    """What one request brings, into `part`; again and again the number of bytes that are here."""
    have = _size(part)
    headers = {"User-Agent": f"seqx/{seqx.__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _opened(url, headers) as response:
        start, total = _offered(response)
        if total is not None and total != size:
            raise _another(url, f"{total:,} bytes, not {size:,}")
        if start not in (0, have):
            part.unlink(missing_ok=True)  # what such a server sends can only be used from its beginning on
            raise http.client.HTTPException(f"asked for bytes from {have} on, got them from {start} on")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            while chunk := _read(response):
                done += len(chunk)
                if done > size:
                    raise _another(url, f"more than {size:,} bytes")
                file.write(chunk)
                yield done


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to other servers of the web, and to nothing else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith(_WEB):
            raise urllib.error.HTTPError(newurl, code, f"leads to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """What the server answers, wherever it leads to.

    Raises:
        UnreachableError: the address, or one that it leads to, is none
    """
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme was looked at
        opener = urllib.request.build_opener(_Redirects)
        answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT)
    except ValueError as error:
        reason = _plain(str(error))
        raise UnreachableError(f"{url}: is no address, or leads to one that is none ({reason})") from error
    return answer


def _plain(text: str) -> str:
    """What a server said, without what moves a cursor."""
    return "".join(char if char.isprintable() else " " for char in text[:_SHOWN])


def _another(url: str, size: str) -> seqx.UserError:
    return seqx.UserError(
        f"{url}: the server's file has {size}: it is another file; set the url of another mirror"
    )


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except OSError as error:  # told apart from a disk's
        raise ConnectionError(str(error) or type(error).__name__) from error


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _offered(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the response's bytes begin in the file, and how many the whole file has, if it says so."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        stretch, _, total = (response.headers["Content-Range"] or "").removeprefix("bytes ").partition("/")
        start = stretch.partition("-")[0]
        return _number(start, -1), _number(total, None)
    length = response.headers["Content-Length"]
    return 0, _number(length or "", None)


def _number(text: str, otherwise: T) -> int | T:
    """What a server writes for a number of bytes; Python reads no number of thousands of digits."""
    return int(text) if text.isdecimal() and len(text) < len(str(1 << 64)) else otherwise
