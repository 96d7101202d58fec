"""The laws of linearisations hold for those of seqx and for the one in docs/how-to/parse.md."""

import atexit
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import seqx
import seqx.testing
import seqx_parsing.testing
from tests.docs.listings import ROOT, listings

assert seqx_parsing.testing.TREES  # imported for its laws


def plugin(**linearisations: Any) -> ModuleType:
    """Return a plugin that registers these components."""
    module = ModuleType("seqx_outside")

    @seqx.hookimpl
    def register(registry: seqx.Registry) -> None:
        registry.add(seqx_parsing.Linearisation, **linearisations)

    module.seqx_register = register  # type: ignore[attr-defined]
    return module


def documented_plugin() -> ModuleType:
    """Return the plugin in docs/how-to/parse.md."""
    temporary = tempfile.TemporaryDirectory()
    atexit.register(temporary.cleanup)  # until then the registry reads the file's lines
    (listing,) = (item for item in listings(ROOT / "docs/how-to/parse.md") if item.file == "mine.py")
    file = Path(temporary.name, "mine.py")
    file.write_text(listing.text, encoding="utf-8")
    spec = spec_from_file_location("mine", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INCLUDED: dict[str, Any] = {"top_down": seqx_parsing.TopDown, "in_order": seqx_parsing.InOrder}

test_laws = seqx.testing.laws(plugin(**INCLUDED))
test_laws_with_tags = seqx.testing.laws(
    plugin(**INCLUDED), settings={maker: {"tags": True} for maker in INCLUDED.values()}
)
test_laws_outside = seqx.testing.laws(documented_plugin())
