"""Components are registered by name, and their settings are read from their constructors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from annotated_types import Gt

from seqx.errors import RegistrationError
from seqx.plugin.registry import Make, Registry, provided_parameters, section_settings, settings_of, where
from seqx.recipe.annotations import ComponentShape, LeafShape, UnionShape, shape

if TYPE_CHECKING:
    from decimal import Decimal

HERE = Path(__file__).name


class Kind:
    def __init__(self, d_model: int) -> None:
        pass


class Good(Kind):
    """Good.

    Args:
        rate: how fast
            it goes
        table (dict): a second way: with a colon

    Returns:
        nothing: at all
    """

    def __init__(self, d_model: int, *, rate: float, table: dict[str, int] | None = None) -> None:
        super().__init__(d_model)


class Heir(Good):
    """A subclass that documents no settings."""


@dataclass(frozen=True, kw_only=True)
class Section:
    names: list[str] = field(default_factory=list)
    other: "Make[Kind] | None" = None


def test_settings_are_the_keyword_only_parameters() -> None:
    rate, table = settings_of(Good).values()
    assert (rate.name, rate.annotation, rate.required) == ("rate", float, True)
    assert rate.help == "how fast it goes"
    assert (table.default, table.required, table.help) == (None, False, "a second way: with a colon")
    assert provided_parameters(Good) == ("d_model",)
    assert settings_of(Kind) == settings_of(object) == {}
    assert settings_of(Heir)["rate"].help == "how fast it goes"


def test_settings_of_a_dataclass_with_string_annotations_and_factories() -> None:
    names, other = section_settings(Section).values()
    assert names.default == []
    assert shape(other.annotation, Registry()) == UnionShape(
        (ComponentShape(Kind, deferred=True),), LeafShape(type(None))
    )


class Whole(Kind):
    """Whole numbers as defaults of settings."""

    def __init__(
        self,
        d_model: int,
        *,
        start: float = 10,
        limit: Annotated[float, Gt(0)] | None = 2,
        steps: tuple[float, ...] = (0, 1),
        window: tuple[int, float] = (3, 4),
        heads: int = 4,
        size: Annotated[int, Gt(0)] | float = 5,
        on: bool | float = True,
    ) -> None:
        super().__init__(d_model)
        self.values = [start, limit, steps, window, heads, size, on]


@dataclass(frozen=True, kw_only=True)
class WholeSection:
    rate: float = 3


def test_whole_numbers_as_defaults_of_float_settings_become_floats() -> None:
    expected = "[10.0, 2.0, (0.0, 1.0), (3, 4.0), 4, 5, True]"
    defaults = [setting.default for setting in settings_of(Whole).values()]
    registry = Registry()
    registry.add(Kind, ten=Whole, seven=partial(Whole, start=7))
    ten, seven = (registry.components(Kind)[name] for name in ("ten", "seven"))
    assert str(defaults) == str(ten.build(4).values) == expected
    assert (repr(seven.settings["start"].default), str(seven.build(4).values[0])) == ("7.0", "7.0")
    assert str(seven.build(4, start=8, heads=2).values) == "[8, 2.0, (0.0, 1.0), (3, 4.0), 2, 5, True]"
    assert repr(section_settings(WholeSection)["rate"].default) == "3.0"


def test_registration_does_not_change_defaults_of_a_constructor() -> None:
    registry = Registry()
    registry.add(Kind, ten=Whole, seven=partial(Whole, start=7))
    registry.components(Kind)["ten"].build(4)
    assert str(Whole(4).values) == "[10, 2, (0, 1), (3, 4), 4, 5, True]"
    assert repr(WholeSection().rate) == "3"


def test_a_component_has_file_line_and_plugin() -> None:
    registry = Registry(plugin="mine")
    registry.add(Kind, good=Good)
    (component,) = registry.components(Kind).values()
    assert (component.name, component.interface, component.plugin) == ("good", Kind, "mine")
    assert component.summary == "Good."
    assert component.where == where(Good)
    file, _, line = component.where.rpartition(":")
    assert file.endswith(HERE)
    assert Path(__file__).read_text().splitlines()[int(line) - 1] == "class Good(Kind):"
    assert registry.interfaces() == [Kind]
    assert registry.components_of("mine") == [component]
    assert registry.components(Good) == {"good": component}  # registered for Kind, but it is a Good


def test_functions_and_partials_can_be_components() -> None:
    def make(d_model: int, *, rate: float) -> Kind:
        return Good(d_model, rate=rate)

    registry = Registry()
    registry.add(Kind, made=make, fast=partial(make, rate=2.0))
    assert registry.components(Kind)["made"].settings["rate"].required
    assert registry.components(Kind)["fast"].settings["rate"].default == 2.0


class Wide(Kind):
    def __init__(self, d_model: int, heads: int, rate: float = 1.0) -> None:
        super().__init__(d_model)


class Bare(Kind):
    def __init__(self, d_model: int, *, rate=1.0) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        super().__init__(d_model)


class Hidden(Kind):
    def __init__(self, d_model: int, *, rate: "Decimal") -> None:
        super().__init__(d_model)


class Loose(Kind):
    def __init__(self, d_model: int, **more: float) -> None:
        super().__init__(d_model)


class Typed(Kind):
    def __init__(self, d_model: int, *, type: str) -> None:  # noqa: A002
        super().__init__(d_model)


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        (
            Wide,
            (
                "the positional parameters of every Kind are (d_model), but those of x are "
                "(d_model, heads, rate); put settings after a '*'"
            ),
        ),
        (Bare, "setting 'rate' needs a type annotation"),
        (
            Hidden,
            (
                "name 'Decimal' is not defined; annotations are read at run time, "
                "so import it outside TYPE_CHECKING"
            ),
        ),
        (Loose, "x takes **more: float, which hides its settings; name each setting"),
        (Typed, "a setting cannot be called 'type', because 'type' names the component"),
    ],
)
def test_invalid_constructors_are_refused(maker: Callable[..., Any], message: str) -> None:
    registry = Registry()
    with pytest.raises(RegistrationError) as caught:
        registry.add(Kind, x=maker)
    location, text = str(caught.value).split(": ", 1)
    assert text == message
    assert location == where(maker)
    assert registry.interfaces() == []


def test_a_component_name_can_be_registered_once() -> None:
    registry = Registry()
    registry.add(Kind, good=Good)
    with pytest.raises(RegistrationError) as caught:
        registry.add(Kind, good=Heir)
    assert str(caught.value) == (
        f"{where(Heir)}: Kind 'good' already exists, from {where(Good)}; choose another name"
    )


def test_either_all_or_no_components_of_a_plugin_are_added() -> None:
    registry, other = Registry(), Registry(plugin="mine")
    registry.add(Kind, good=Good)
    other.add(Good, other=Good)
    other.add(Kind, good=Good)
    with pytest.raises(RegistrationError) as caught:
        registry.extend(other.components_of("mine"))
    assert str(caught.value).startswith(f"{where(Good)}: Kind 'good' already exists")
    assert registry.components(Kind)["good"].plugin is None
    assert registry.interfaces() == [Kind]


def test_a_section_has_no_provided_parameters() -> None:
    with pytest.raises(RegistrationError, match="make d_model keyword-only, like all settings"):
        section_settings(Kind)


def test_a_component_may_inherit_the_constructor_of_its_interface(sample_plugin: SimpleNamespace) -> None:
    assert sample_plugin.registry.components(sample_plugin.Attention)["additive"].settings == {}


class Stranger:
    def __init__(self, d_model: int) -> None:
        pass


def test_a_class_of_another_interface_is_refused_by_mypy_and_at_run_time() -> None:
    with pytest.raises(RegistrationError, match="x is not a subclass of Kind; derive it from that class"):
        Registry().add(Kind, x=Stranger)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "Upper", "1st", "_a", "a\n", "a\x1b[1m", "a-b", "é"])
def test_name_with_other_characters_is_refused(name: str) -> None:
    registry = Registry("azure")
    with pytest.raises(RegistrationError) as raised:
        registry.add(Kind, **{"good": Good, name: Good})
    message = str(raised.value)
    assert message.isprintable()
    assert f": plugin 'azure' registers the Kind {name!r}; a name has lowercase letters, digits" in message
    with pytest.raises(RegistrationError, match=rf"{HERE}:\d+: the Kind '1'; a name has lowercase"):
        Registry().add(Kind, **{"1": Good})
