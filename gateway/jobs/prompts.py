"""Whether a question's prompt is there, and its model one that reads prompts, before the job is accepted."""

from schemas.errors import InvalidInput
from schemas.kinds.formats import PlainText
from schemas.kinds.inference import InferenceInput
from schemas.models import ModelSpec
from schemas.prompts import Prompts

_AT = "input.generate"


def settle_prompt(asked: InferenceInput, model: ModelSpec, prompts: Prompts) -> None:
    """Write the version of the prompt into the input: the job goes on to mean it, whatever is added later.

    Raises `PromptNotFound`, `PromptVariables`, and `InvalidInput` for what a model without a prompt cannot do.
    """
    wanted = asked.generate
    if wanted is None:
        return
    if not model.can("chat"):
        formed = wanted.response_format is not None and not isinstance(wanted.response_format, PlainText)
        for field, given in ("prompt", wanted.prompt is not None), ("response_format", formed):
            if given:
                why = f"the model {model.name!r} quotes passages and takes no `{field}`: name a language model"
                raise InvalidInput(why, field=f"{_AT}.{field}")
    elif wanted.prompt is not None:
        wanted.prompt = str(prompts.checked(wanted.prompt, wanted.variables, field=_AT))
