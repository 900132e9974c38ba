"""Promptfoo's assertions as graders: which of a test's values they compare with, and how."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from producers.client.promptfoo.notes import Notes
from producers.client.promptfoo.variables import filled

MET: Final = (
    "You judge whether an answer meets a criterion. Give 1 if it meets all of it, 0 if it does not, or a number"
    " between the two."
)
FACTS: Final = (
    "You compare the facts of an answer with those of an expert's answer to the same question. Differences of style,"
    " grammar and punctuation do not count. `subset`: the answer has some of the expert's facts and no others."
    " `superset`: it has all of them, and more that agree. `same`: the same facts. `different`: they disagree."
    " `irrelevant`: they differ in what does not matter."
)
OTHER_TEXTS: Final = frozenset({"transform", "contextTransform", "rubricPrompt"})
"""Members that say what text is checked, or by which words it is judged."""
_JS_LENGTH: Final = re.compile(r"output\.length\s*(<=|>=|<|>|={2,3})\s*(\d+)")


Where = Literal["expression", "template", "metric"]


@dataclass(frozen=True, slots=True)
class Check:
    """An assertion of one test. Tests whose checks have the same `form` are graded by the same graders. Its first word
    is the grader's name.

    `values`: the test's own part of it. `grader` makes the grader of a name from what stands for the values `where` it
    puts them: names or literals of an expression, or a text in a template, which has room for one. A metric has none.
    """

    form: str
    values: tuple[str, ...]
    where: Where
    grader: Callable[[str, Sequence[str]], dict[str, Any]] | None = None
    judged: bool = False
    metric: str | None = None


def check_of(given: Mapping[str, Any], values: Mapping[str, str], notes: Notes) -> Check | None:
    """The assertion as a check, with the test's variables put in; None for one without a counterpart, noted."""
    check = _check(given, values, notes)
    label = re.sub(r"\W+", "_", str(given.get("metric") or ""))
    return replace(check, form=f"{label} {check.form}") if check is not None and label else check


def _check(given: Mapping[str, Any], values: Mapping[str, str], notes: Notes) -> Check | None:
    def fill(text: str) -> str:
        return filled(text, values)

    named = str(given.get("type", ""))
    kind, no = named.removeprefix("not-"), named.startswith("not-")
    value = given.get("value")
    for member in sorted(set(given) & OTHER_TEXTS):
        notes.lose(
            f"assertion `{named}`", f"its `{member}` has no counterpart, and without it something else is checked"
        )
        return None
    for member in sorted(set(given) & {"weight", "config"}):
        notes.lose(f"`{member}` of `{named}`", "it has no counterpart")
    if isinstance(value, str) and value.startswith("file://"):
        notes.lose(f"assertion `{named}`", "its value is a file")
        return None
    if (made := _by_value(kind, value, fill)) is not None:
        return _negated(made, named, no=no)
    threshold = given.get("threshold")
    if kind in ("similar", "rouge-n", "bleu") and not no and isinstance(value, str):
        return _compared(kind, named, fill(value), notes)
    if kind in ("llm-rubric", "model-graded-closedqa", "g-eval") and not no and value:
        criterion = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        return _rubric(named, fill(criterion), threshold)
    if kind in ("factuality", "model-graded-factuality") and not no and isinstance(value, str):
        return _factuality(named, fill(value))
    if kind == "answer-relevance" and not no:
        notes.change("`answer-relevance`", "RAGAS' metric `answer_relevancy`, which needs the group `eval`")
        return Check(kind, (), "metric", judged=True, metric="answer_relevancy")
    notes.lose(f"assertion `{named}`", "it has no counterpart")
    return None


def _by_value(kind: str, value: Any, fill: Callable[[str], str]) -> tuple[str, tuple[str, ...]] | None:
    """The expression of a check without a model, in which `{0}` and so on stand for its values."""
    if kind == "is-json" and value is None:
        return "is_json(answer)", ()
    if kind == "javascript" and (found := _JS_LENGTH.fullmatch(str(value).strip())):
        return f"len(answer) {found[1][:2]} {found[2]}", ()
    if kind == "word-count":
        least, most = (value.get("min"), value.get("max")) if isinstance(value, Mapping) else (value, value)
        limits = [(sign, end) for sign, end in ((">=", least), ("<=", most)) if isinstance(end, int)]
        ends = [f"len(words(answer)) {sign} {end}" for sign, end in limits]
        return (" and ".join(ends), ()) if ends else None
    single = {
        "equals": "answer == {0}",
        "contains": "{0} in answer",
        "icontains": "lower({0}) in lower(answer)",
        "starts-with": "startswith(answer, {0})",
    }
    if kind in single and isinstance(value, str | int | float) and not isinstance(value, bool):
        return single[kind], (fill(str(value)),)
    together = {"contains-any": " or ", "contains-all": " and ", "icontains-any": " or ", "icontains-all": " and "}
    if kind in together and isinstance(value, str | list) and value:
        parts = value.split(",") if isinstance(value, str) else value
        values = tuple(fill(str(one)).strip() for one in parts)
        one = single["icontains" if kind.startswith("i") else "contains"]
        return together[kind].join(one.replace("{0}", f"{{{n}}}") for n in range(len(values))), values
    return None


def _negated(made: tuple[str, tuple[str, ...]], named: str, *, no: bool) -> Check:
    expression, values = made
    whole = f"not ({expression})" if no else expression

    def grader(name: str, places: Sequence[str]) -> dict[str, Any]:
        return _expression(name, re.sub(r"\{(\d+)\}", lambda found: places[int(found[1])], whole))

    return Check(f"{named} {whole}", values, "expression", grader)


def _expression(name: str, expression: str) -> dict[str, Any]:
    return {"type": "expression", "name": name, "expression": expression}


def _compared(kind: str, named: str, value: str, notes: Notes) -> Check:
    if kind == "similar":
        notes.change("`similar`", "the metric `similarity`, which needs an embedder; a threshold becomes no gate")
        return Check(named, (value,), "metric", metric="similarity")
    if kind == "bleu":
        notes.change("`bleu`", "a grader that gives the figure; a threshold becomes no gate")

        def bleu(name: str, places: Sequence[str]) -> dict[str, Any]:
            return {
                "type": "text_similarity",
                "name": name,
                "reference": places[0],
                "evaluation_metric": "bleu",
            }

        return Check(named, (value,), "template", bleu)
    notes.change("`rouge-n`", "ROUGE-L instead of ROUGE-N; a threshold becomes no gate")
    return Check(
        named,
        (value,),
        "expression",
        lambda name, places: _expression(name, f"rouge_l(answer, {places[0]})"),
    )


def _rubric(named: str, criterion: str, threshold: Any) -> Check:
    passes = {"pass_threshold": float(threshold)} if isinstance(threshold, int | float) else {}

    def grader(name: str, places: Sequence[str]) -> dict[str, Any]:
        asked = f"Question: {{{{item.question}}}}\n\nAnswer: {{{{sample.output_text}}}}\n\nCriterion: {places[0]}"
        return {"type": "score_model", "name": name, "input": _messages(MET, asked), **passes}

    return Check(f"{named} {threshold}", (criterion,), "template", grader, judged=True)


def _factuality(named: str, reference: str) -> Check:
    def grader(name: str, places: Sequence[str]) -> dict[str, Any]:
        asked = f"Question: {{{{item.question}}}}\n\nExpert: {places[0]}\n\nAnswer: {{{{sample.output_text}}}}"
        return {
            "type": "label_model",
            "name": name,
            "input": _messages(FACTS, asked),
            "labels": ["subset", "superset", "same", "different", "irrelevant"],
            "passing_labels": ["subset", "superset", "same", "irrelevant"],
        }

    return Check(named, (reference,), "template", grader, judged=True)


def _messages(system: str, user: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
