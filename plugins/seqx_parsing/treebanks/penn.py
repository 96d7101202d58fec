"""The Wall Street Journal part of the Penn Treebank, as the LDC distributes it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

import seqx
from seqx_parsing.treebanks.treebank import Treebank

Section = Annotated[int, Ge(0), Le(24)]

_LOCATIONS = ("parsed/mrg/wsj", "mrg/wsj", "wsj", "")  # relative to the root of the release or a folder in it
_COUNTS = {tuple(range(2, 22)): 39_832, (22,): 1_700, (23,): 2_416}  # number of trees of the standard splits
_LICENSED = (
    "The Penn Treebank (LDC99T42) is licensed by the Linguistic Data Consortium; seqx cannot download it. "
    "Set 'folder' to your copy, which contains parsed/mrg/wsj/02 and the other sections. Without a copy, "
    "`seqx run wsj_parsing --profile sample` trains a small parser on generated trees, and --profile nltk "
    "on NLTK's sample of the treebank"
)


@dataclass(kw_only=True)
class PennTreebank(Treebank):
    """WSJ trees of the Penn Treebank (LDC99T42; Marcus et al. 1993) in the standard splits.

    The treebank is licensed; it is neither part of seqx nor downloaded. The standard splits must have 39,832,
    1,700 and 2,416 trees.

    Args:
        folder: the root of the release, or its folder parsed, parsed/mrg or parsed/mrg/wsj, in upper or lower
            case
        train: training sections
        dev: validation sections
        test: test sections
    """

    folder: str
    train: list[Section] = field(default_factory=lambda: list(range(2, 22)))
    dev: list[Section] = field(default_factory=lambda: [22])
    test: list[Section] = field(default_factory=lambda: [23])

    def __post_init__(self) -> None:
        taken: dict[int, str] = {}
        for split in seqx.SPLITS:
            for section in getattr(self, split):
                if section in taken:
                    raise ValueError(f"section {section} is named twice, in {taken[section]} and in {split}")
                taken[section] = split

    def required_data(self, folder: Path) -> seqx.RequiredData:
        """Return the folder of the treebank."""
        return seqx.RequiredData(files=[self.folder])

    def texts(self, split: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Yield the files of the split's sections, in order."""
        for path in self._files(getattr(self, split)):
            yield str(path), seqx.read_lines(path, refuse_pipes=True)

    def expected(self, split: str) -> int | None:
        """Return the number of trees of the standard splits."""
        return _COUNTS.get(tuple(sorted(getattr(self, split))))

    def _files(self, sections: Sequence[int]) -> list[Path]:
        try:
            root = seqx.expand_path(self.folder)
        except seqx.UserError as error:
            raise seqx.UserError(f"{error}. {_LICENSED}") from None
        wsj = next(
            (found for path in _LOCATIONS if (found := _subfolder(root, path)) and _sections(found)), None
        )
        if wsj is None:
            reason = "contains no sections of the Wall Street Journal" if root.is_dir() else "is not a folder"
            raise seqx.UserError(f"{root}: {reason}. {_LICENSED}")
        folders = _sections(wsj)
        files = {section: _trees(folders[section], section) for section in sections if section in folders}
        missing = [f"{section:02}" for section in sections if not files.get(section)]
        if missing:
            raise seqx.UserError(f"{wsj}: there are no trees of sections {', '.join(missing)}. {_LICENSED}")
        return [path for section in sections for path in files[section]]


def _subfolder(root: Path, path: str) -> Path | None:
    """Return the folder `path` below `root`, in upper or lower case; None if it does not exist."""
    for part in filter(None, path.split("/")):
        found = [each for each in _sorted_content(root) if each.name.lower() == part and each.is_dir()]
        if not found:
            return None
        root = found[0]
    return root


def _sections(wsj: Path) -> dict[int, Path]:
    return {int(path.name): path for path in _sorted_content(wsj) if re.fullmatch(r"[0-9]{2}", path.name)}


def _trees(folder: Path, section: int) -> list[Path]:
    name = re.compile(rf"wsj_{section:02}[0-9]{{2}}\.mrg", re.IGNORECASE)
    return [path for path in _sorted_content(folder) if name.fullmatch(path.name)]


def _sorted_content(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted; empty if it is not a folder."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
