"""The JSON Schema of recipes, with which editors complete and check settings."""

from collections.abc import Callable, Mapping
from typing import Any

from seqx.plugin.registry import Registry, Setting, section_settings, summary
from seqx.recipe.annotations import (
    ComponentShape,
    LeafShape,
    ListShape,
    MapShape,
    SectionShape,
    Shape,
    UnionShape,
    adapter,
    shape,
)

Schema = dict[str, Any]


def schema(registry: Registry, root: Callable[..., Any]) -> Schema:
    """Return the schema of recipes for the components of a registry.

    No key is required, because a recipe may leave any setting to its parent.
    """
    writer = _Writer(registry, {})
    sections = writer.settings(section_settings(root))
    file_keys: Schema = {
        "extends": {
            "type": "string",
            "description": "the parent recipe: its name, or its path relative to this file",
        },
        "plugins": {
            "type": "array",
            "items": {"type": "string"},
            "description": "paths of local plugins (Python files), relative to this file",
        },
        "profiles": {
            "type": "object",
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": sections,
                "additionalProperties": False,
            },
            "description": "named variants, selected with --profile; null removes a profile of the parent",
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "seqx recipe",
        "type": "object",
        "properties": {**file_keys, **sections},
        "additionalProperties": False,
        "$defs": writer.definitions,
    }


class _Writer:
    """Collects one definition for each interface and section."""

    def __init__(self, registry: Registry, definitions: Schema) -> None:
        self.registry, self.definitions = registry, definitions
        self.owners: dict[str, type] = {}  # interfaces of two plugins may have the same name

    def settings(self, settings: Mapping[str, Setting]) -> Schema:
        return {name: self.setting(setting) for name, setting in settings.items()}

    def setting(self, setting: Setting) -> Schema:
        written = dict(self.shape(shape(setting.annotation, self.registry)))
        return {**written, "description": setting.help} if setting.help else written

    def shape(self, wanted: Shape) -> Schema:
        match wanted:
            case ComponentShape():
                return self.refer(wanted.interface, self.interface)
            case SectionShape():
                return self.refer(wanted.cls, self.section)
            case ListShape():
                return {"type": "array", "items": self.shape(wanted.inner)}
            case MapShape():
                return {"type": "object", "additionalProperties": self.shape(wanted.inner)}
            case UnionShape():
                choices = [*wanted.choices, *([wanted.leaf] if wanted.leaf else [])]
                return {"anyOf": [self.shape(choice) for choice in choices]}
            case LeafShape():
                return self.leaf(wanted)

    def refer(self, cls: type, write: Callable[[Any], Schema]) -> Schema:
        name = (
            cls.__name__
            if self.owners.setdefault(cls.__name__, cls) is cls
            else f"{cls.__module__}.{cls.__name__}"
        )
        if name not in self.definitions:
            self.definitions[name] = {}  # so that an interface may contain itself
            self.definitions[name] = write(cls)
        return {"$ref": f"#/$defs/{name}"}

    def interface(self, interface: type) -> Schema:
        known = self.registry.components(interface).values()
        names: list[Schema] = [{"const": c.name, "description": c.summary} for c in known]
        components: list[Schema] = [
            {
                "type": "object",
                "title": c.name,
                "description": c.summary,
                "properties": {"type": {"const": c.name}, **self.settings(c.settings)},
                "required": ["type"],
                "additionalProperties": False,
            }
            for c in known
        ]
        schemas_by_setting: dict[str, list[Schema]] = {}
        for entry in components:
            for name, written in entry["properties"].items():
                schemas_by_setting.setdefault(name, []).append(written)
        # A profile or a child recipe may change settings of a component without repeating its type.
        partial: Schema = {
            "type": "object",
            "properties": {
                **{name: {"anyOf": schemas} for name, schemas in schemas_by_setting.items()},
                "type": False,
            },
            "additionalProperties": False,
        }
        return {"description": summary(interface), "oneOf": [*names, *components, partial]}

    def section(self, cls: type) -> Schema:
        return {
            "type": "object",
            "description": summary(cls),
            "properties": self.settings(section_settings(cls)),
            "additionalProperties": False,
        }

    def leaf(self, wanted: LeafShape) -> Schema:
        written = adapter(wanted.annotation).json_schema(ref_template="#/$defs/{model}")
        self.definitions.update(written.pop("$defs", {}))
        return written
