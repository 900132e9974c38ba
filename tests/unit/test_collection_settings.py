"""What a collection's settings may hold, both newly given ones and those stored earlier."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from infra.postgres.catalogue.records import stored_settings
from schemas.collections import MAX_SYNONYM_CHARS, MAX_SYNONYM_WORDS, CollectionSettings

MANY = [[f"{n}{end}" for end in "abcde"] for n in range(MAX_SYNONYM_WORDS // 5)]
LONG = [[f"{n:050}", f"{n + 1:050}"] for n in range(MAX_SYNONYM_CHARS // 100)]


def given(synonyms: list[list[str]]) -> str:
    """Settings as a request contains them."""
    return json.dumps({"sparse": {"synonyms": synonyms}})


@pytest.mark.parametrize("most", [MANY, LONG], ids=["words", "characters"])
def test_synonyms_are_bounded_all_groups_together(most: list[list[str]]) -> None:
    assert CollectionSettings.model_validate_json(given(most)).sparse.synonyms
    with pytest.raises(ValidationError) as refused:
        CollectionSettings.model_validate_json(given([*most, ["a", "b"]]))
    (error,) = refused.value.errors()
    assert error["loc"] == ("sparse", "synonyms")
    assert "in all groups together" in error["msg"]


def test_settings_that_were_stored_before_the_limit_are_read_and_changed() -> None:
    stored = stored_settings(given([*MANY, ["a", "b"]]))
    change: dict[str, Any] = {"fusion": {"depth": 7}}
    after = stored.changed(change)
    assert (after.fusion.depth, after.sparse) == (7, stored.sparse)


def test_stored_settings_are_read_once() -> None:
    text = given(MANY)
    assert stored_settings(text) is stored_settings("".join(text))
