"""`generation`: a model continues a conversation; the fields are those of OpenAI's chat completions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.kinds.formats import FunctionName, JsonSchema, ResponseFormat
from schemas.kinds.inference import TokenUsage
from schemas.models import DEFAULT
from schemas.retrieval import FinishReason


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


Stop = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class TextPart(_Strict):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class CalledFunction(_Strict):
    """What is to be called. `arguments`: JSON, as the model wrote it; it may be broken."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    arguments: str


class CalledTool(_Strict):
    """A call that the model asks for."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(_Strict):
    """One turn. Of an assistant's turn `content` may be null, when it only called tools."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=1_000)] | None = None
    tool_calls: list[CalledTool] | None = Field(None, min_length=1, max_length=128)
    tool_call_id: str | None = Field(None, min_length=1, max_length=200)
    refusal: str | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> "ChatMessage":
        if self.tool_calls is not None and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("a message of the role `tool`, and no other, says with tool_call_id what it answers")
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.refusal)):
            raise ValueError("the message has no content")
        return self

    @property
    def text(self) -> str:
        """Its content as one text."""
        if self.content is None or isinstance(self.content, str):
            return self.content or self.refusal or ""
        return "".join(part.text for part in self.content)


class Function(_Strict):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: FunctionName
    description: str | None = Field(None, max_length=20_000)
    parameters: JsonSchema | None = None
    strict: bool | None = None


class Tool(_Strict):
    """What the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Strict):
    """A function by its name."""

    name: FunctionName


class NamedTool(_Strict):
    """The tool that the model has to call."""

    type: Literal["function"]
    function: NamedFunction


class GenerationInput(_Strict):
    """A conversation and how to continue it. What is null, the engine decides."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=2_000)
    model: str = Field(DEFAULT, min_length=1, max_length=200)
    max_tokens: int = Field(1_024, ge=1, le=131_072, description="Of the reply, thoughts included.")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    stream: bool = Field(False, description="Send the text while it is written, as events of the job.")

    @model_validator(mode="after")
    def _chooses_a_tool_there_is(self) -> "GenerationInput":
        names = [tool.function.name for tool in self.tools or []]
        if len(set(names)) < len(names):
            raise ValueError("tools: two functions have the same name")
        if self.tool_choice is not None and not names:
            raise ValueError("tool_choice: there are no tools")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice: there is no function {self.tool_choice.function.name!r} among the tools")
        return self


class Reply(BaseModel):
    """The model's turn. `content` is null where it only called tools."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: list[CalledTool] | None = None


class GenerationResult(BaseModel):
    """`finish_reason` is null where the engine does not say."""

    message: Reply
    finish_reason: FinishReason | None
    model: str
    usage: TokenUsage
