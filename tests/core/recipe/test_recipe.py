"""Recipes are merged, checked, printed and built; each problem is reported with its location."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqx.errors import Location, PluginError, RecipeError, UserError
from seqx.recipe import Configured, all_built_objects, check, included_recipes, load, schema, show
from seqx.recipe.yaml_tree import parse
from seqx.recipe.yaml_writer import dump

BASE = """\
task: {type: translation, metrics: [bleu, chrf]}
model:
  type: encoder_decoder
  d_model: 16
  encoder: {type: stack, layers: 2, attention: {type: multihead, heads: 4}, dropout: 0}
training:
  steps: 100
  rate: 1e-3
profiles:
  small: {training: {steps: 3}, model: {d_model: 8}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    return tmp_path


@pytest.fixture
def make(sample_plugin: SimpleNamespace) -> Callable[..., Configured[Any]]:
    """Load and check a recipe of the sample plugin."""

    def made(path: str = "base.yaml", *overrides: str, profile: str | None = None) -> Configured[Any]:
        return check(load(path, profile, overrides).tree, sample_plugin.registry, sample_plugin.Experiment)

    return made


@pytest.fixture
def wrong(make: Callable[..., Configured[Any]]) -> Callable[..., str]:
    """Return the message about a recipe that has problems."""

    def message_about(text: str, *overrides: str, profile: str | None = None) -> str:
        Path("wrong.yaml").write_text(text)
        with pytest.raises(UserError) as caught:
            make("wrong.yaml", *overrides, profile=profile)()
        return str(caught.value)

    return message_about


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("? LONG\n: 1", "this section has no setting 'kkk"),
        ("? LONG\n: 1\n? LONG\n: 2", "is already set at"),
        ("model: LONG", "no Model is called 'kkk"),
        ("task: {type: translation, metrics: [LONG]}", "no Metric is called 'kkk"),
        ("training: {steps: !LONG LONG}", "the tag '!kkk"),
        ("training: {steps: *LONG}", "found undefined alias 'kkk"),
        ("extends: LONG.yaml", "there is no file kkk"),
        ("extends: LONG", "no recipe is called 'kkk"),
        ("profiles: {? LONG : 3}", "kkk... must be a mapping of settings"),
        ("task: {type: translation, metrics: [MANY]}", "\nand 3,98"),
    ],
)
def test_messages_shorten_long_values_and_lists(wrong: Callable[..., str], text: str, expected: str) -> None:
    message = wrong(text.replace("LONG", "k" * 100_000).replace("MANY", "x, " * 4000))
    assert expected in message
    assert len(message) < 8000


NINE = """\
extends: base.yaml

task:
  source: 3
  metrics: [blue, chrf]

model:
  encoder:
    attention: {type: mutlihead, heads: 8}
    lyers: 4
    positions: {type: rotary, base: fast}
    dropout: 1

training:
  steps: 1e5
  optimiser: adam
"""

NINE_MESSAGES = """\
wrong.yaml:4:11: task.source: Input should be a valid string, found 3
      source: 3
              ^
wrong.yaml:5:13: task.metrics.0: no Metric is called 'blue'; did you mean 'bleu'?
      metrics: [blue, chrf]
                ^
wrong.yaml:9:23: model.encoder.attention: no Attention is called 'mutlihead'; did you mean 'multihead'?
        attention: {type: mutlihead, heads: 8}
                          ^
wrong.yaml:10:5: model.encoder: stack has no setting 'lyers'; did you mean 'layers'?
        lyers: 4
        ^
wrong.yaml:11:37: model.encoder.positions.base: Input should be a valid number, found 'fast'
        positions: {type: rotary, base: fast}
                                        ^
wrong.yaml:12:14: model.encoder.dropout: Input should be less than 1, found 1
        dropout: 1
                 ^
wrong.yaml:15:10: training.steps: Input should be a valid integer, found 100000.0
      steps: 1e5
             ^
wrong.yaml:16:3: training: this section has no setting 'optimiser'; there are steps, rate, betas, stop
      optimiser: adam
      ^
modle.d_model=3: recipe: this section has no setting 'modle'; did you mean 'model'?"""


def test_each_of_nine_mistakes_is_reported_at_its_place(wrong: Callable[..., str]) -> None:
    assert wrong(NINE, "modle.d_model=3") == NINE_MESSAGES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model: {encoder: {type: lstm}}", "2:18: model.encoder: lstm needs 'width' (width of the state)"),
        ("model: {encoder: lstm}", "2:18: model.encoder: lstm needs 'width' (width of the state)"),
        ("model: {encoder: 3}", "2:18: model.encoder: an Encoder is required, found 3"),
        ("model: {encoder: {type: [x]}}", "2:25: model.encoder: 'type' must be the name of an Encoder"),
        ("model: null", "2:8: model: a Model is required, found null"),
        ("training: 3", "2:11: training: a mapping of settings is required, found 3"),
        (
            "model: {encoder: {attention: {d_model: 3}}}",
            "2:31: model.encoder.attention: multihead gets 'd_model' from its parent; leave it out",
        ),
        (
            "model: {encoder: {attention: [multihead, mutlihead]}}",
            "2:42: model.encoder.attention.1: no Attention is called 'mutlihead'; did you mean 'multihead'?",
        ),
        ("task: {metrics: bleu}", "2:17: task.metrics: a list is required, found 'bleu'"),
        ("task: {limits: {a: x}}", "2:20: task.limits.a: Input should be a valid integer, found 'x'"),
        (
            "task: {metrics: [{order: 3}]}",
            "2:18: task.metrics.0: the name of the Metric is missing; add 'type: NAME'; there are bleu, chrf",
        ),
        (
            "model: {share: al}",
            "2:16: model.share: Input should be 'all' or 'none', found 'al'",
        ),
        ("training: {betas: [0.9]}", "2:19: training.betas: item 1 is missing, found [0.9]"),
        (
            "training: {betas: [0.9, 2]}",
            "2:25: training.betas.1: Input should be less than 1, found 2",
        ),
        (
            "training: {stop: often}",
            "2:18: training.stop: Input should be a valid integer or 'never', found 'often'",
        ),
        ("training: {rate: .nan, steps: '3'}", "2:31: training.steps: Input should be a valid integer"),
        ("training: {rate: true}", "2:18: training.rate: Input should be a valid number, found true"),
        ("extra: {x: {type: bleu, order: a}}", "2:32: extra.x.order: Input should be a valid integer"),
        ("extra: bleu", "2:8: extra: a mapping is required, found 'bleu'"),
        (
            "model: {encoder: {type: lstm, widht: 3}}",
            "2:31: model.encoder: lstm has no setting 'widht'; did you mean 'width'?",
        ),
    ],
)
def test_each_kind_of_mistake_has_its_message(wrong: Callable[..., str], change: str, message: str) -> None:
    reported = wrong(f"extends: base.yaml\n{change}\n")
    assert reported.startswith(f"wrong.yaml:{message}"), reported
    assert reported.count("wrong.yaml:") == 1


def paths(plain: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value in a plain value."""
    inside = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from paths(item, (*path, key))


WORDS = st.sampled_from(["type", "stack", "lstm", "bleu", "heads", "multihead", "never"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(paths(parse(BASE, "base.yaml").plain()))), ANYTHING)
def test_any_value_is_accepted_or_reported(
    sample_plugin: SimpleNamespace, path: tuple[str | int, ...], anything: Any
) -> None:
    plain = parse(BASE, "base.yaml").plain()
    del plain["profiles"]
    inner = plain
    for key in path[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
    inner[path[-1]] = anything
    try:
        made = check(parse(dump(plain), "x.yaml"), sample_plugin.registry, sample_plugin.Experiment)
    except RecipeError as error:
        assert all(problem.at.source == "x.yaml" for problem in error.problems)  # noqa: PT017
    else:
        again = check(parse(show(made), "y.yaml"), sample_plugin.registry, sample_plugin.Experiment)
        assert again.plain() == made.plain()


def test_inconsistent_settings_are_reported_at_their_place(make: Callable[..., Configured[Any]]) -> None:
    Path("heads.yaml").write_text("extends: base.yaml\nmodel:\n  encoder:\n    attention: {heads: 6}\n")
    experiment = make("heads.yaml")()
    with pytest.raises(RecipeError) as caught:
        experiment.model({"source": 10})
    assert str(caught.value) == (
        "heads.yaml:4:24: model.encoder.attention: heads=6 does not divide d_model=16\n"
        "        attention: {heads: 6}\n"
        "                           ^"
    )


def test_errors_of_a_parent_without_its_component_are_ignored() -> None:
    built = []

    def parent(encoder: Callable[[], Any], decoder: Callable[[], Any]) -> None:
        built.append(encoder())
        built.append(decoder())
        raise TypeError("the encoder is not a module")

    def failing(message: str) -> Configured[Any]:
        def maker() -> None:
            raise ValueError(message)

        return Configured(maker, None, {}, at, at, message)

    at = Location("x.yaml", 1, 1)
    component = Configured(parent, None, {}, at, at, "")
    with pytest.raises(RecipeError) as caught, all_built_objects() as objects:
        component(failing("one"), failing("two"))
    assert str(caught.value) == "x.yaml:1:1: one: one\nx.yaml:1:1: two: two"
    assert (len(built), objects) == (2, [])
    with pytest.raises(TypeError, match="not a module"), all_built_objects():
        component(list, dict)
    with pytest.raises(RecipeError, match=r"one: one$"):
        component(failing("one"), failing("two"))


def test_an_inconsistent_default_is_reported_at_its_component(
    make: Callable[..., Configured[Any]],
) -> None:
    Path("odd.yaml").write_text(
        "extends: base.yaml\nmodel:\n  d_model: 12\n  encoder: {type: stack, layers: 1}\n"
    )
    experiment = make("odd.yaml", "model.encoder.attention=additive", "model.encoder.attention=multihead")()
    with pytest.raises(RecipeError, match=r"^model.encoder.attention=multihead: heads=8 does not divide"):
        experiment.model({"source": 10})


def test_a_recipe_builds_its_components(
    make: Callable[..., Configured[Any]], sample_plugin: SimpleNamespace
) -> None:
    experiment = make()()
    assert [type(metric) for metric in experiment.task.metrics] == [sample_plugin.Bleu, sample_plugin.Chrf]
    assert experiment.training == sample_plugin.Training(steps=100, rate=1e-3)
    model = experiment.model({"source": 10})
    assert [layer.project.in_features for layer in model.encoder.layers] == [16, 16]
    assert model.encoder.dropout == 0.0
    assert model.encoder is not experiment.model({"source": 10}).encoder


def test_a_list_gives_each_layer_its_own_component(
    make: Callable[..., Configured[Any]], sample_plugin: SimpleNamespace
) -> None:
    text = "model.encoder.attention=[additive, {type: multihead, heads: 2}]"
    encoder = make("base.yaml", text)().model({"source": 10}).encoder
    assert [type(layer) for layer in encoder.layers] == [sample_plugin.Additive, sample_plugin.MultiHead]


def test_later_settings_override_earlier_ones(make: Callable[..., Configured[Any]]) -> None:
    Path("sub").mkdir()
    Path("sub/child.yaml").write_text(
        "extends: ../base.yaml\ntraining: {steps: 200}\n"
        "profiles:\n  small: {training: {rate: 2}}\n  big: {}\n"
    )
    training = make("sub/child.yaml")().training
    assert (training.steps, training.rate) == (200, 1e-3)
    small = make("sub/child.yaml", profile="small")()
    assert (small.training.steps, small.training.rate) == (3, 2.0)
    over = make("sub/child.yaml", "training.steps=7", profile="small")()
    assert (over.training.steps, over.training.rate) == (7, 2.0)
    recipe = load("sub/child.yaml")
    assert recipe.profiles == ["small", "big"]
    Path("sub/other.yaml").write_text("extends: child.yaml\nprofiles: {small: null}\n")
    assert load("sub/other.yaml").profiles == ["big"]
    with pytest.raises(RecipeError, match="no profile is called 'small'"):
        load("sub/other.yaml", "small")
    assert recipe.files == [Path("sub/child.yaml"), Path("base.yaml")]


def test_another_type_replaces_all_settings(make: Callable[..., Configured[Any]]) -> None:
    plain = make("base.yaml", "model.encoder=lstm", "model.encoder.width=3").plain()
    assert plain["model"]["encoder"] == {"type": "lstm", "width": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: none.yaml", "wrong.yaml:1:10: extends: there is no file none.yaml"),
        ("extends: [a]", "wrong.yaml:1:10: extends must be the name or the file of one recipe"),
        ("extends: wrong.yaml", "wrong.yaml:1:10: recipes extend each other in a circle"),
        ("extends: ./wrong.yaml", "wrong.yaml:1:10: recipes extend each other in a circle"),
        ("extends: nowhere", "wrong.yaml:1:10: no recipe is called 'nowhere'"),
        ("", "wrong.yaml:1:1: this recipe is empty"),
        ("# only words", "wrong.yaml:1:1: this recipe is empty"),
        ("[1]", "wrong.yaml:1:1: a recipe must be a mapping"),
        ("profiles: 3", "wrong.yaml:1:11: profiles must be a mapping"),
        ("profiles: {a: 3}", "wrong.yaml:1:15: profile a must be a mapping"),
        ("profiles: {a: {plugins: [x.py]}}", "wrong.yaml:1:16: a profile cannot contain 'plugins'"),
        ("plugins: x.py", "wrong.yaml:1:10: plugins must be a list of files"),
        ("plugins: [3]", "wrong.yaml:1:11: a plugin must be a file, such as ./my_attention.py"),
    ],
)
def test_invalid_parents_and_profiles_are_reported(
    wrong: Callable[..., str], text: str, message: str
) -> None:
    assert wrong(text).startswith(message)


def test_an_unknown_profile_gets_a_suggestion_and_a_list(wrong: Callable[..., str]) -> None:
    assert wrong("extends: base.yaml", profile="smal").startswith(
        "base.yaml:9:1: no profile is called 'smal'; did you mean 'small'? The profiles are: small"
    )
    assert wrong("a: 1", profile="x") == "wrong.yaml:1:1: no profile is called 'x'; there is none"


def test_a_circle_of_three_recipes_is_reported(wrong: Callable[..., str]) -> None:
    Path("a.yaml").write_text("extends: wrong.yaml")
    assert "in a circle: wrong.yaml -> a.yaml -> wrong.yaml" in wrong("extends: a.yaml")


def test_a_folder_is_refused_as_a_recipe() -> None:
    Path("run.d").mkdir()
    with pytest.raises(
        UserError, match=r"run.d: is a folder; write the file of a recipe, .* run.d/NAME.yaml"
    ):
        load("run.d")
    Path("run.d/recipe.yaml").write_text("a: 1\n")
    with pytest.raises(
        UserError, match=r"run.d: is a folder; write the file of a recipe, .* run.d/recipe.yaml"
    ):
        load("run.d")


@pytest.mark.parametrize("key", ["extends", "plugins", "profiles.more"])
def test_extends_profiles_and_plugins_cannot_be_overridden(key: str) -> None:
    Path("mine.yaml").write_text("a: 1\n")
    with pytest.raises(RecipeError, match=f"{key.partition('.')[0]} cannot be set on the command line"):
        load("mine.yaml", overrides=[f"{key}=[x]"])


def test_included_recipes_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {"wmt_en_de": tmp_path / "base.yaml"}
    monkeypatch.setattr("seqx.recipe.files.included_recipes", lambda: known)
    assert load("wmt_en_de").files == [Path("base.yaml")]
    Path("mine.yaml").write_text("extends: wmt_en_de")
    assert load("mine.yaml").files == [Path("mine.yaml"), Path("base.yaml")]
    with pytest.raises(UserError, match=r"^no recipe is called 'wmt_en_fr'; did you mean 'wmt_en_de'"):
        load("wmt_en_fr")


def test_included_recipes_are_found_in_a_checkout_and_an_installation() -> None:
    found = included_recipes()
    assert all(path.is_file() and f"/recipes/{name}.yaml" in str(path) for name, path in found.items())
    assert found["table3/base"] != found["wmt_en_de"]


def test_an_included_recipe_in_a_folder_is_found_by_its_name() -> None:
    read = load("table3/A_heads_1")
    assert (read.name, load(read.files[0]).name, load("base.yaml").name) == (
        *["table3/A_heads_1"] * 2,
        "base",
    )
    with pytest.raises(
        UserError, match=r"no recipe is called 'table3/A_head_1'; did you mean 'table3/A_heads_1'\?"
    ):
        load("table3/A_head_1")
    with pytest.raises(RecipeError, match=r"^other/A_heads_1:1:1: there is no such file"):
        load("other/A_heads_1")
    Path("child.yaml").write_text("extends: table3/A_heads_1")
    assert load("child.yaml", "multi30k").tree.plain()["model"]["encoder"]["attention"]["heads"] == 1
    Path("table3").mkdir()
    Path("table3/A_heads_1.yaml").write_text("task: translation")
    assert load("table3/A_heads_1.yaml").tree.plain() == {"task": "translation"}
    Path("child.yaml").write_text("extends: table3/A_heads_1.yaml")
    assert load("child.yaml").tree.plain() == {"task": "translation"}


def test_only_the_recipe_itself_may_name_local_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sub").mkdir()
    Path("sub/own.yaml").write_text("plugins: [./mine.py]\ntask: translation")
    recipe = load("sub/own.yaml")
    assert {str(path): str(at) for path, at in recipe.plugins.items()} == {"sub/mine.py": "sub/own.yaml:1:11"}
    assert recipe.tree.plain() == {"task": "translation"}
    with pytest.raises(RecipeError, match=r"sub/own.yaml:1:11: .*--trust-local-plugins"):
        load("sub/own.yaml", local_plugins=False)
    Path("child.yaml").write_text("extends: sub/own.yaml")
    with pytest.raises(RecipeError, match=r"plugins of a parent recipe are not loaded; to use sub/mine.py,"):
        load("child.yaml")
    Path("child.yaml").write_text("extends: sub/own.yaml\nplugins: [sub/mine.py]")
    assert list(load("child.yaml").plugins) == [Path("sub/mine.py")]


def test_a_shown_recipe_has_all_defaults_and_reads_back_the_same(
    make: Callable[..., Configured[Any]], sample_plugin: SimpleNamespace
) -> None:
    made = make("base.yaml", "task.folder=data/x", "extra={a: bleu}", profile="small")
    plain = made.plain()
    assert plain["model"]["encoder"] == {
        "type": "stack",
        "layers": 2,
        "attention": {"type": "multihead", "heads": 4, "bias": True},
        "positions": None,
        "dropout": 0.0,
    }
    assert plain["training"] == {"steps": 3, "rate": 1e-3, "betas": [0.9, 0.98], "stop": "never"}
    assert plain["task"]["metrics"] == [{"type": "bleu", "order": 4}, "chrf"]
    for text in [dump(plain), show(made)]:
        again = check(parse(text, "again.yaml"), sample_plugin.registry, sample_plugin.Experiment)
        assert again.plain() == plain
        assert dump(again.plain()) == dump(plain)
    assert isinstance(made().task.folder, Path)


def test_a_default_component_is_shown_by_its_name(make: Callable[..., Configured[Any]]) -> None:
    made = make("base.yaml", "model.encoder={type: lstm, width: 1}", "model.encoder={type: stack}")
    assert made.plain()["model"]["encoder"]["attention"] == {"type": "multihead", "heads": 8, "bias": True}


def test_an_unregistered_default_component_is_not_shown(make: Callable[..., Configured[Any]]) -> None:
    made = make("base.yaml", "task={type: translation, source: de}")
    Path("no.yaml").write_text(BASE.replace(", metrics: [bleu, chrf]", ""))
    plain = make("no.yaml").plain()
    assert "metrics" not in plain["task"]
    assert made.plain()["task"]["source"] == "de"
    assert len(make("no.yaml")().task.metrics) == 1


SHOWN = """\
task:
  type: translation      # base.yaml:1
  source: en             # default
  metrics:
    - type: bleu         # base.yaml:1
      order: 4           # default
    - chrf               # base.yaml:1
  folder: null           # default
  limits: null           # default
model:
  type: encoder_decoder  # base.yaml:3
  d_model: 8             # base.yaml:10, profile small
  encoder:
    type: lstm           # command line
    width: 3             # command line
  share: none            # default
training:
  steps: 3               # base.yaml:10, profile small
  rate: 0.001            # base.yaml:8
  betas: [0.9, 0.98]     # default
  stop: never            # default
extra: null              # default
"""


def test_show_gives_the_origin_of_each_value(make: Callable[..., Configured[Any]]) -> None:
    assert show(make("base.yaml", "model.encoder={type: lstm, width: 3}", profile="small")) == SHOWN


def test_a_checked_recipe_lists_its_components(make: Callable[..., Configured[Any]]) -> None:
    assert [component.name for component in make().used()] == [
        "translation",
        "bleu",
        "chrf",
        "encoder_decoder",
        "stack",
        "multihead",
    ]


def test_infinity_is_read_as_a_number(make: Callable[..., Configured[Any]]) -> None:
    assert make("base.yaml", "training.rate=.inf")().training.rate == math.inf


def test_a_missing_component_mentions_plugins_that_failed(sample_plugin: SimpleNamespace) -> None:
    sample_plugin.registry.failed_plugins.append("kerple")
    with pytest.raises(
        RecipeError, match=r"'rotery'; did you mean 'rotary'\? \(these plugins failed to load: 'kerple'; see"
    ):
        check(
            load("base.yaml", None, ["model.encoder.positions=rotery"]).tree,
            sample_plugin.registry,
            sample_plugin.Experiment,
        )


def test_an_interface_without_components_is_reported(sample_plugin: SimpleNamespace) -> None:
    registry = type(sample_plugin.registry)()
    with pytest.raises(RecipeError, match="task: no Task is called 'translation'; there is none"):
        check(load("base.yaml").tree, registry, sample_plugin.Experiment)


def test_schema_accepts_valid_and_rejects_invalid_recipes(sample_plugin: SimpleNamespace) -> None:
    written = schema(sample_plugin.registry, sample_plugin.Experiment)
    jsonschema.Draft202012Validator.check_schema(written)
    validator = jsonschema.Draft202012Validator(written)
    good = [
        yaml.safe_load(BASE.replace("1e-3", "1.0e-3")),
        {"extends": "x.yaml", "plugins": ["a.py"], "model": {"encoder": {"attention": {"heads": 2}}}},
        {
            "model": {
                "encoder": {"type": "stack", "attention": ["additive", {"type": "multihead", "heads": 2}]}
            }
        },
    ]
    for recipe in good:
        validator.validate(recipe)
    bad = [
        {"modle": {}},
        {"model": "encoder"},
        {"training": {"stepz": 3}},
        {"model": {"type": "encoder_decoder", "encoder": {"type": "stack", "lyers": 3}}},
        {"model": {"encoder": {"attention": {"heads": 0}}}},
        {"model": {"encoder": {"attention": {"wings": 2}}}},
        {"task": {"type": "translation", "metrics": ["blue"]}},
    ]
    assert [validator.is_valid(recipe) for recipe in bad] == [False] * len(bad)
    (stack,) = [entry for entry in written["$defs"]["Encoder"]["oneOf"] if entry.get("title") == "stack"]
    assert stack["description"] == "A stack of attention layers."
    assert stack["properties"]["layers"]["description"] == "number of layers"


def test_a_constructor_that_does_not_call_that_of_its_interface_is_named(
    make: Callable[..., Configured[Any]], sample_plugin: SimpleNamespace
) -> None:
    class Bare(sample_plugin.Attention):  # type: ignore[misc, name-defined]
        """An attention that is not initialised as a module."""

        def __init__(self, d_model: int) -> None:
            self.d_model = d_model

    class Partly(sample_plugin.Attention):  # type: ignore[misc, name-defined]
        """An attention whose interface is not initialised."""

        def __init__(self, d_model: int) -> None:
            torch.nn.Module.__init__(self)

    sample_plugin.registry.add(sample_plugin.Attention, bare=Bare, partly=Partly)
    for name in ("bare", "partly"):
        experiment = make("base.yaml", f"model.encoder.attention={name}")()
        message = (
            rf"test_recipe.py:\d+: the constructor of {name} does not call that of Attention; let it begin"
        )
        with pytest.raises(PluginError, match=rf"{message} with super\(\).__init__\(d_model\)"):
            experiment.model({"source": 10})
