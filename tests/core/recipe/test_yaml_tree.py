"""YAML trees are read with locations, merged, overridden and written; invalid YAML is reported."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqx.errors import RecipeError
from seqx.recipe.overrides import override
from seqx.recipe.yaml_tree import (
    Node,
    _Loader,
    _tree,
    merge,
    parse,
    read,
    with_profile,
)
from seqx.recipe.yaml_writer import dump

pytestmark = pytest.mark.promise("recipes-are-bounded")

RECIPES = sorted(Path(__file__).parents[3].glob("recipes/*.yaml"))


def plain(text: str) -> Any:
    return parse(text, "x.yaml").plain()


def message_about(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(text, "x.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("6.99e-4", 6.99e-4),
        (".5", 0.5),
        ("-3", -3),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_yaml_1_2(written: str, value: Any) -> None:
    found = plain(f"a: {written}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_and_key_has_its_location() -> None:
    root = parse("a: 1\nlong:\n  - x\n  - {y: 2}\n", "x.yaml")
    assert isinstance(root.value, dict)
    items = root.value["long"]
    assert isinstance(items.value, list)
    inner = items.value[1]
    assert isinstance(inner.value, dict)
    assert str(root.keys["long"]) == "x.yaml:2:1"
    assert str(inner.keys["y"]) == "x.yaml:4:6"
    assert str(inner.value["y"].at) == "x.yaml:4:9"
    assert inner.value["y"].at.text == "  - {y: 2}"


def test_a_repeated_key_is_reported() -> None:
    assert message_about("t:\n  steps: 3\n  steps: 4\n") == (
        "x.yaml:3:3: 'steps' is already set at x.yaml:2:3; keep one of them\n      steps: 4\n      ^"
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1, 2\nb: 3", "x.yaml:2:2: not valid YAML: expected ',' or ']'"),
        ("a: 1\n\tb: 2", "x.yaml:2:1: not valid YAML: found character '\\t'"),
        ("a: *b", "x.yaml:1:4: not valid YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: not valid YAML: but found another document"),
        ("a: b\x00", "x.yaml:1:5: YAML does not allow the character "),
        ("? [a]\n: 1", "x.yaml:1:3: a key must be a string without NUL"),
        (
            "a: !!python/name:os.system ''",
            "x.yaml:1:4: the tag 'python/name:os.system' of '' is not",
        ),
        ("a: !!int x", "x.yaml:1:4: the tag 'int' of 'x' is not supported; remove it"),
        ("[" * 5000, "x.yaml:1:"),
        ('a: "\\UFFFFFFFF"', "x.yaml:1:7: not valid YAML: "),
        ('a: "\\ud800"', "x.yaml:1:4: a recipe cannot contain the character U+D800; remove it"),
        ('a: "\\0"', "x.yaml:1:4: a recipe cannot contain the character U+0000; remove it"),
        ('"\\udfff": 1', "x.yaml:1:1: a key must be a string without NUL"),
        (f"a: {'1' * 5000}", "x.yaml:1:4: this number has 5,000 characters"),
        (f"a: 0x{'f' * 5000}", "x.yaml:1:4: this number has 5,002 characters"),
        (f"a: [{'x,' * 20_001}]", "x.yaml:1:39999: not valid YAML: more than 20,000 values"),
    ],
)
def test_invalid_yaml_is_reported_at_its_location(text: str, start: str) -> None:
    assert message_about(text).startswith(start)


def test_expansion_of_aliases_is_limited() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases expand to more than 20,000 values" in message_about("\n".join(lines))
    assert "aliases expand to more than 20,000 values" in message_about("a: &a [*a]")
    assert plain("a: &a {b: 1}\nc: *a") == {"a": {"b": 1}, "c": {"b": 1}}


def test_unreadable_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes("a: 1\nname: J\xf6rg\n".encode("latin-1"))
    Path("bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    with pytest.raises(RecipeError, match=r"^latin.yaml:2:8: byte 0xf6 is not UTF-8; save"):
        read(Path("latin.yaml"))
    with pytest.raises(RecipeError, match=r"^none.yaml:1:1: there is no such file$"):
        read(Path("none.yaml"))
    with pytest.raises(RecipeError, match=r"^\.:1:1: Is a directory$"):
        read(Path())
    assert read(Path("bom.yaml")).plain() == {"a": 1}


def test_the_caret_of_a_very_long_line_is_visible() -> None:
    text = message_about(f"a: {{{', '.join(f'key{i}: {i}' for i in range(500))}, key250: 1}}")
    line, caret = text.splitlines()[1:]
    assert len(line) < 130
    assert line[caret.index("^") :].startswith("key250: 1")


ODD = [
    "a: {b: \n}",
    "- !\n",
    "? a\n",
    "a: |#\n",
    "--- \n",
    "a:\t1",
    "a: b\u2028c",
    "a: &x [1, *x]",
    "# a?\na: 1",
    'a: "\\UFFFFFFFF"',
]


def tree_or_message(text: str) -> Node | str:
    _tree.cache_clear()
    try:
        return parse(text, "x.yaml")
    except RecipeError as error:
        return str(error)


def check_libyaml(text: str) -> None:
    """Check that a text has the same tree, or message, as without libyaml."""
    with_libyaml = tree_or_message(text)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("seqx.recipe.yaml_tree._FastLoader", _Loader)
        assert tree_or_message(text) == with_libyaml


@pytest.mark.parametrize("text", [*(file.read_text("utf-8") for file in RECIPES), *ODD])
def test_libyaml_reads_the_same_values_and_locations(text: str) -> None:
    check_libyaml(text)


@pytest.mark.parametrize("text", ["a: &a x\nb: [{}]", "a: &a [x]\nb: [{}]", "- &a\n  - {}", "&a {{k: [{}]}}"])
def test_libyaml_has_the_same_limits(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.recipe.yaml_tree._MAX_NODES", 9)
    monkeypatch.setattr("seqx.recipe.yaml_tree._MAX_DEPTH", 4)
    for size in range(10):
        for item in ("x", "*a"):
            check_libyaml(text.format(", ".join([item] * size)))
            check_libyaml(text.format("[" * size + item + "]" * size))


def test_written_values_need_no_fallback_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqx.recipe.yaml_tree._Loader", None)
    _tree.cache_clear()
    values = {"a": [1.5, 1e-9, "x", None, True], "b": {"c": "d e", "f": "1"}}
    assert plain(dump(values)) == values


def merged(base: str, over: str) -> Any:
    return merge(parse(base, "base"), parse(over, "over")).plain()


def test_merge_combines_mappings_and_replaces_other_values() -> None:
    assert merged("{a: {b: 1, c: [1, 2]}}", "{a: {c: [3]}, d: 4}") == {"a": {"b": 1, "c": [3]}, "d": 4}
    assert merged("{type: x, p: 1}", "{type: y}") == {"type": "y"}
    assert merged("{type: x, p: 1}", "{type: x, q: 2}") == {"type": "x", "p": 1, "q": 2}
    assert merged("{type: x, p: 1}", "x") == {"type": "x", "p": 1}
    assert merged("{type: x, p: 1}", "y") == {"type": "y"}
    assert merged("x", "{p: 1}") == {"type": "x", "p": 1}
    assert merged("x", "{type: y, p: 1}") == {"type": "y", "p": 1}
    assert merged("{a: {p: 1}}", "{a: null}") == {"a": None}


def test_a_merged_mapping_keeps_the_locations_of_both_sources() -> None:
    both = merge(parse("a: 1\nb: 2", "base"), parse("b: 3", "over"))
    assert isinstance(both.value, dict)
    assert {key: str(node.at) for key, node in both.value.items()} == {"a": "base:1:4", "b": "over:1:4"}
    assert str(both.keys["b"]) == "over:1:1"


words = st.sampled_from(["a", "b", "c"])
leaves = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), words)
plains = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)
mappings = st.dictionaries(words, plains, max_size=3)
typed = st.builds(lambda name, rest: {"type": name, **rest}, words, mappings)


def tree(value: Any) -> Node:
    return parse(dump(value), "x.yaml")


@settings(max_examples=150, deadline=None)
@given(plains)
def test_dumped_values_read_back_the_same(value: Any) -> None:
    assert tree({"a": value}).plain() == {"a": value}
    assert plain(f"a: {dump(value, flow=True)}") == {"a": value}


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
@example("\x85")
@example("1e-4")
@example("a\n\n b: #\t")
def test_dumped_strings_read_back_as_strings(word: str) -> None:
    assert tree({"a": word}).plain() == {"a": word}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:{}[],'\"-&*!|>%@`#?\n\t 01.e~\\\x85\u2028\ufeff\x07", max_size=30))
def test_any_text_gives_a_tree_or_a_recipe_error(text: str) -> None:
    try:
        node = parse(text, "x.yaml")
    except RecipeError as error:
        assert str(error).startswith("x.yaml:")  # noqa: PT017  an error is allowed, too
    else:
        assert parse(dump(node.plain()), "y.yaml").plain() == node.plain()


@settings(max_examples=100, deadline=None)
@given(mappings | typed, mappings | typed)
def test_merge_is_idempotent_and_keeps_all_keys(base: Any, over: Any) -> None:
    b, o = tree(base), tree(over)
    both = merge(b, o).plain()
    assert merge(b, b).plain() == base
    assert merge(tree({}), o).plain() == over
    assert merge(b, tree({})).plain() == base
    assert merge(merge(b, o), o).plain() == both
    assert set(over) <= set(both) <= set(base) | set(over)
    assert (b.plain(), o.plain()) == (base, over)
    for key, value in over.items():
        if not isinstance(value, dict | str):
            assert both[key] == value


@settings(max_examples=100, deadline=None)
@given(words, typed)
def test_a_bare_name_is_a_mapping_with_that_type(name: str, base: Any) -> None:
    assert merge(tree(base), tree(name)).plain() == merge(tree(base), tree({"type": name})).plain()
    assert merge(tree(name), tree(base)).plain() == merge(tree({"type": name}), tree(base)).plain()


def test_overrides_are_merged_into_the_tree() -> None:
    root = parse("model: {decoder: {type: stack, layers: 6}, d: 1}\ncallbacks: [console, {type: ema}]", "x")
    for text in ["model.decoder=lstm", "model.encoder.p={q: [1, 2e-3]}", "callbacks.1.every=5", "model.d="]:
        root = override(root, text)
    assert root.plain() == {
        "model": {"decoder": {"type": "lstm"}, "d": None, "encoder": {"p": {"q": [1, 0.002]}}},
        "callbacks": ["console", {"type": "ema", "every": 5}],
    }
    assert override(root, "callbacks.0.every=5").plain()["callbacks"][0] == {"type": "console", "every": 5}
    assert override(root, "a=x=y").plain()["a"] == "x=y"


def test_overrides_append_to_lists() -> None:
    root = parse("callbacks: [progress]\nmodels: [{tags: [a]}]\nempty:", "x")
    for text in [
        "callbacks+=ema",
        "callbacks+=[b, {type: c}]",
        "models.0.tags+=d",
        "empty+=1",
        "new.list+=2",
    ]:
        root = override(root, text)
    assert root.plain() == {
        "callbacks": ["progress", "ema", "b", {"type": "c"}],
        "models": [{"tags": ["a", "d"]}],
        "empty": [1],
        "new": {"list": [2]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model.d",
            "model.d: an override has the form key.path=value, such as model.",
        ),
        ("model..d=1", "model..d=1: an override has the form key.path=value"),
        ("=1", "=1: an override has the form key.path=value"),
        ("list.2=1", "list.2=1: this is a list with items 0 to 1"),
        ("list.x=1", "list.x=1: this is a list with items 0 to 1"),
        (
            "a={b: 1, b: 2}",
            "a={b: 1, b: 2}: 'b' is already set; keep one of them\n    a={b: 1, b: 2}\n             ^",
        ),
        ("a=[1", "a=[1: not valid YAML"),
        ("list.0+=1", "list.0+=1: += appends to a list, and this is not one; use ="),
        ("list.2+=1", "list.2+=1: this is a list with items 0 to 1"),
        ("+=1", "+=1: an override has the form key.path=value"),
    ],
)
def test_invalid_overrides_are_reported(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        override(parse("list: [1, 2]", "x"), text)
    assert str(caught.value).startswith(message)


def test_origin_names_file_profile_or_command_line() -> None:
    root = with_profile(parse("a: {b: 1}", "x.yaml"), "small")
    assert isinstance(root.value, dict)
    assert root.value["a"].at.origin == "x.yaml:1, profile small"
    over = override(root, "a.b=2").value
    assert isinstance(over, dict)
    assert isinstance(over["a"].value, dict)
    assert over["a"].value["b"].at.origin == "command line"
