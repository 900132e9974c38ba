"""What a scoring process does: the scores of answers by the metrics and graders of an evaluation."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from consumers.scoring.given import Given
from consumers.scoring.graders import grades
from consumers.scoring.items import scores
from consumers.scoring.ngrams import bleu, chrf
from infra.isolation.child import Task
from infra.isolation.frames import Frame
from schemas.kinds.evaluation.graders import Grader
from schemas.kinds.evaluation.items import Item
from schemas.morphemes import Morpheme

_GRADERS: Final[TypeAdapter[list[Grader]]] = TypeAdapter(list[Grader])


def tasks() -> Mapping[str, Task]:
    """One task, `score`. Loads what computes n-grams once for all processes."""
    chrf("준비", ["준비"])
    bleu(["준비"], [["준비"]])
    return {"score": _score}


def _score(request: dict[str, Any], payload: bytes) -> Frame:
    graders = _GRADERS.validate_python(request["graders"])
    told = orjson.loads(payload)
    cut = {text: [Morpheme(*one) for one in found] for text, found in told["morphemes"].items()}
    values = []
    for names, item, given, contexts in told["answers"]:
        read, answer = Item.model_validate(item), Given(**given)
        values.append(scores(names, read, answer, cut.get) | grades(graders, read, answer, contexts))
    return {}, orjson.dumps(values)
