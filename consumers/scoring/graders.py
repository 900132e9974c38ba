"""Scores by an owner's graders: string checks, similarities, and expressions that a small interpreter runs."""

import ast
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from consumers.scoring.given import Given, compared
from consumers.scoring.ngrams import bleu, chrf
from consumers.scoring.places import filled, places_of
from consumers.scoring.texts import characters, contains, exact_match, f1, normalised, rouge_l
from schemas.kinds.evaluation.graders import (
    ExpressionGrader,
    Grader,
    LabelModel,
    ScoreModel,
    StringCheck,
    TextSimilarity,
    parsed,
)
from schemas.kinds.evaluation.items import Item


def grades(graders: Sequence[Grader], item: Item, given: Given, contexts: Sequence[str]) -> dict[str, float | None]:
    """A value in 0..1 for each grader.

    None where there is no answer, where an expression fails on it, and where a judge is to say it.
    """
    return {one.name: _grade(one, item, given, contexts) if given.succeeded else None for one in graders}


def _grade(grader: Grader, item: Item, given: Given, contexts: Sequence[str]) -> float | None:
    match grader:
        case StringCheck():
            places = places_of(item, given)
            return _check(grader.operation, filled(grader.input, places), filled(grader.reference, places))
        case TextSimilarity():
            places = places_of(item, given)
            return _SIMILAR[grader.evaluation_metric](filled(grader.input, places), filled(grader.reference, places))
        case ScoreModel() | LabelModel():
            return None
        case ExpressionGrader():
            names = {
                "answer": compared(given),
                "reference": item.references[0] if item.references else "",
                "references": item.references,
                "question": item.question,
                "found": given.found,
                "documents": list(given.documents),
                "relevant": item.relevant,
                "contexts": list(contexts),
            }
            try:
                value = _value(_tree(grader.expression).body, names)
                return min(1.0, max(0.0, float(value)))
            except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
                return None


def _check(operation: str, text: str, reference: str) -> float:
    match operation:
        case "eq":
            return float(text == reference)
        case "ne":
            return float(text != reference)
        case "like":
            return float(reference in text)
        case _:
            return float(reference.lower() in text.lower())


@lru_cache(maxsize=256)
def _tree(expression: str) -> ast.Expression:
    return parsed(expression)


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """The value of a node that `parsed` let through. Raises what Python would."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, names) for part in parts]
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, names) else other, names)
        case ast.BoolOp(op=op, values=parts):
            return _of_parts(isinstance(op, ast.Or), parts, names)
        case ast.UnaryOp(op=op, operand=operand):
            return (not _value(operand, names)) if isinstance(op, ast.Not) else -_value(operand, names)
        case ast.BinOp(left=left, op=op, right=right):
            return _number(_BINARY[type(op)], _value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            values = [_value(part, names) for part in (left, *rights)]
            pairs = zip(ops, values, values[1:], strict=False)
            return all(_COMPARE[type(sign)](one, another) for sign, one, another in pairs)
        case ast.Subscript(value=whole, slice=at):
            return _value(whole, names)[_value(at, names)]
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(arg, names) for arg in args))
    raise TypeError(f"{type(node).__name__} has no value")


def _of_parts(ends: bool, parts: Sequence[ast.expr], names: Mapping[str, Any]) -> Any:
    """The value of `and` or `or`: of the first part that is `ends`, else of the last."""
    found: Any = None
    for part in parts:
        found = _value(part, names)
        if bool(found) is ends:
            break
    return found


def _number(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Arithmetic is for numbers: `"a" * 10**9` would be a gigabyte."""
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise TypeError("arithmetic is for numbers")
    return operation(float(left), float(right))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _chars(text: str, reference: str) -> float:
    return f1(characters(text), characters(reference))


def _words(text: str, reference: str) -> float:
    return rouge_l(text.split(), reference.split())


_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, whole: value in whole,
    ast.NotIn: lambda value, whole: value not in whole,
}
_SIMILAR: Final[Mapping[str, Callable[[str, str], float]]] = {
    "bleu": lambda text, reference: bleu(text.split(), [reference.split()]) if text.split() else 0.0,
    "chrf": lambda text, reference: chrf(text, [reference]),
    "f1_char": _chars,
    "rouge_l": _words,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "len": len,
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "lower": lambda text: str(text).lower(),
    "words": lambda text: str(text).split(),
    "normalised": normalised,
    "is_json": _is_json,
    "contains": lambda text, part: bool(contains(text, part)),
    "startswith": lambda text, part: str(text).startswith(str(part)),
    "endswith": lambda text, part: str(text).endswith(str(part)),
    "equal": lambda text, other: bool(exact_match(text, other)),
    "f1_char": _chars,
    "chrf": _SIMILAR["chrf"],
    "rouge_l": _words,
}
