"""Tells Korean from text that only looks like it, after a wrong decoding or a wrong glyph mapping."""

from typing import Final

COMMON_SYLLABLES: Final = frozenset(
    "이다는에의로가하을은한고기지서리으인어를사나있도스대아수시자라일과부되국해들적년전성주만장상정여그소동제요게화유와용구며었"
    "보드비중세식미학영위트경조우된신물공것면마문개원발등오모생르양계치반관분연했터니진작러선데간종산포프무음였체명방통바타크거"
    "때월후재교할민운역레내카두안단파형많속루태호회않피남행려또현히질실감차야매노래법함말디당본색류심입각코출토불키까결증강설초"
    "료른달점특직메버근름력람받없표향배"
)
"""The 200 most frequent syllables of encyclopaedic Korean (KoBEST BoolQ); they make up 82 % of its text."""

_ENOUGH: Final = 50
"""With fewer syllables than this, a text may consist of names."""


def is_salad(text: str) -> bool:
    """Whether the Hangul in a text is not Korean: of fifty syllables or more, fewer than a quarter are common ones."""
    syllables = [c for c in text if "가" <= c <= "힣"]
    return len(syllables) >= _ENOUGH and sum(c in COMMON_SYLLABLES for c in syllables) * 4 < len(syllables)
