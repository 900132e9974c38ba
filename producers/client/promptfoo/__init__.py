"""Promptfoo's configurations, to which OpenAI exports its evals, become evaluations: read, then converted."""

from producers.client.promptfoo.converting import Imported as Imported
from producers.client.promptfoo.converting import converted as converted
from producers.client.promptfoo.reading import PromptfooError as PromptfooError
from producers.client.promptfoo.reading import read as read
