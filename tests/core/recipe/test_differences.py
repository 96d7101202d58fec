"""Differences between two recipes."""

from seqx.recipe.differences import NOT_SET, differences


def test_items_of_a_list_are_no_difference_of_the_empty_list() -> None:
    items = {"callbacks": [{"type": "metrics", "every": 5}], "steps": 2}
    empty = {"callbacks": [], "steps": 2}
    assert differences(empty, items) == {
        "callbacks.0": (NOT_SET, "metrics"),
        "callbacks.0.every": (NOT_SET, 5),
    }
    assert differences(items, empty) == {
        "callbacks.0": ("metrics", NOT_SET),
        "callbacks.0.every": (5, NOT_SET),
    }
    assert differences({"a": {}}, {"a": {"b": 1}}) == {"a.b": (NOT_SET, 1)}


def test_empty_list_differs_from_a_missing_setting_and_from_a_value() -> None:
    assert differences({}, {"callbacks": []}) == {"callbacks": (NOT_SET, [])}
    assert differences({"callbacks": None}, {"callbacks": []}) == {"callbacks": (None, [])}
    assert differences({"a": {"b": []}}, {"a": {"b": 3, "c": 1}}) == {"a.b": ([], 3), "a.c": (NOT_SET, 1)}
