"""Where a stage writes the text that its job's owner wants to read while it is written."""

from typing import Protocol


class Transcript(Protocol):
    """The text of this try, on its way to whoever follows the job.

    Only for a job whose submission asks for it. A call costs nothing but memory: the worker sends what all its stages
    wrote in one statement, at most 20 times a second. A failure to send never fails the stage, because the result is
    complete on its own.

        if job.input.stream:
            completion = await streamed(model, messages, options, job.transcript)  # consumers/stages/streaming.py
        else:
            completion = await model.complete(messages, options)
    """

    def begin(self) -> None:
        """A text begins: readers drop what an earlier try wrote. Call it before the model is asked."""

    def write(self, text: str) -> None:
        """The next piece of the text."""

    async def settle(self, text: str) -> None:
        """The text is over and `text` is the whole of it; returns when all of it was sent, or can no longer be.

        Readers get what is missing at the end. If what was written is no beginning of `text`, they begin again with it.
        """
