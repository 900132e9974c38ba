"""Graders: scores that an evaluation's owner defines, in OpenAI's shapes where OpenAI has one."""

import ast
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.kinds.evaluation.metrics import metric

MAX_EXPRESSION_CHARS: Final = 1_000

NAMES: Final = frozenset(
    {"answer", "reference", "references", "question", "found", "documents", "relevant", "contexts"}
)
"""What an expression may name."""

FUNCTIONS: Final = frozenset(
    {
        *("len", "min", "max", "abs", "round", "lower", "words", "normalised", "is_json"),
        *("contains", "startswith", "endswith", "equal", "f1_char", "chrf", "rouge_l"),
    }
)
"""What an expression may call, without keywords."""

_NODES: Final = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.IfExp, ast.List, ast.Tuple),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Subscript),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)


def parsed(expression: str) -> ast.Expression:
    """The expression as a tree of few kinds of nodes: no attributes, no loops, no names but those above.

    Raises `ValueError`, naming what is not allowed.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("it is not a Python expression") from error
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise ValueError(f"an expression may not use {type(node).__name__}")
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords
        ):
            raise ValueError(f"an expression may call {', '.join(sorted(FUNCTIONS))}, without keywords")
        if isinstance(node, ast.Name) and node.id not in NAMES | FUNCTIONS:
            raise ValueError(f"there is no {node.id!r}; there are {', '.join(sorted(NAMES))}")
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float | bool | None):
            raise ValueError(f"an expression may not hold {node.value!r}")
    return tree


def _allowed(expression: str) -> str:
    parsed(expression)
    return expression


def _free(name: str) -> str:
    try:
        metric(name)
    except ValueError:
        return name
    raise ValueError(f"{name!r} is the name of a metric")


GraderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$"), AfterValidator(_free)]
Template = Annotated[str, StringConstraints(max_length=2_000)]
"""A text in which `{{item.question}}`, `{{item.reference}}`, `{{sample.output_text}}` and, for graders that are
models, `{{sample.contexts}}` are replaced."""


class StringCheck(BaseModel):
    """1 when `input` equals (`eq`), differs from (`ne`) or holds (`like`; `ilike` in any case) `reference`, else 0."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    type: Literal["string_check"]
    name: GraderName
    input: Template = "{{sample.output_text}}"
    reference: Template = "{{item.reference}}"
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(BaseModel):
    """How close `input` is to `reference`, in 0..1; `rouge_l` and `bleu` cut at white space."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    type: Literal["text_similarity"]
    name: GraderName
    input: Template = "{{sample.output_text}}"
    reference: Template = "{{item.reference}}"
    evaluation_metric: Literal["bleu", "chrf", "f1_char", "rouge_l"]


class ExpressionGrader(BaseModel):
    """What a Python expression makes of an answer: a truth value, or a number that is cut to 0..1."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    type: Literal["expression"]
    name: GraderName
    expression: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_EXPRESSION_CHARS), AfterValidator(_allowed)
    ]


Finite = Annotated[float, Field(allow_inf_nan=False)]


class Turn(BaseModel):
    """A message to the judge."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class SamplingParams(BaseModel):
    """How the judge writes, where it is not as the run's judge says."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    max_completions_tokens: int | None = Field(None, ge=1, le=131_072)


class _AskingGrader(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: GraderName
    model: str | None = Field(None, min_length=1, max_length=200, description="null: the run's judge.")
    input: list[Turn] = Field(min_length=1, max_length=20)
    sampling_params: SamplingParams = SamplingParams()


class ScoreModel(_AskingGrader):
    """The number that the judge gives, from the ends of `range` to 0..1.

    With `pass_threshold`: 1 from that number on, else 0.
    """

    type: Literal["score_model"]
    range: tuple[Finite, Finite] = (0.0, 1.0)
    pass_threshold: Finite | None = None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.range[0] < self.range[1]:
            raise ValueError("the second end of `range` must be above the first")
        return self


class LabelModel(_AskingGrader):
    """1 when the judge chooses one of `passing_labels` among `labels`, else 0."""

    type: Literal["label_model"]
    labels: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(min_length=2, max_length=50)
    passing_labels: list[str] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _passes_some(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("two labels are the same")
        if unknown := sorted(set(self.passing_labels) - set(self.labels)):
            raise ValueError(f"the passing label {unknown[0]!r} is none of the labels")
        return self


ModelGrader = Annotated[ScoreModel | LabelModel, Field(discriminator="type")]
"""A grader that asks the judge."""

Grader = Annotated[
    StringCheck | TextSimilarity | ExpressionGrader | ScoreModel | LabelModel, Field(discriminator="type")
]
