"""Write plain values as YAML that reads back the same."""

import re
from typing import Any

import yaml

from seqx.recipe.yaml_tree import TAG_PREFIX, resolved_tag


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """PyYAML's dumper, with libyaml if it is there; it quotes strings that YAML 1.2 reads as numbers."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        return resolved_tag(kind, value, implicit)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, word: str) -> yaml.ScalarNode:
    """Represent a string; line breaks of YAML 1.1 are escaped, because readers would fold them."""
    return dumper.represent_scalar(
        TAG_PREFIX + "str", word, '"' if re.search("[\x85\u2028\u2029]", word) else None
    )


_Dumper.add_representer(str, _represent_str)


def dump(plain: Any, *, flow: bool = False) -> str:
    """Return plain values as YAML; `flow` writes them on one line."""
    text: str = yaml.dump(
        plain,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=flow,
        width=2**30 if flow else 110,
    )
    return text.removesuffix("...\n").rstrip("\n") if flow else text
