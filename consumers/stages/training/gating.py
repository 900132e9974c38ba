"""Checks the gate of a training before anything is trained: a mistake in it must not be found hours later."""

from consumers.stages.ports import Ports
from consumers.stages.training.held_out import HeldOutQuestions
from consumers.stages.training.trainable import Base
from schemas.errors import InvalidInput, NotFound
from schemas.kinds.training.gate import TrainingGate
from schemas.lineage import SourceFile


async def check(gate: TrainingGate, tenant: str, base: Base, ports: Ports) -> None:
    """Whether an adapter of `base` may take over the alias, and the gate's file of questions is there.

    Raises `InvalidInput` (`alias_taken`, `tasks_differ`) and `NotFound` (`file_not_found`).
    """
    await ports.aliases.candidate(tenant, gate.alias, base.name, field="input.gate.alias")
    if gate.dataset is not None:
        try:
            await ports.files.find(gate.dataset.file)
        except NotFound as error:
            raise NotFound(error.message, code=error.reason, field="input.gate.dataset.file") from error


async def check_questions(
    gate: TrainingGate, trained_on: SourceFile, questions: HeldOutQuestions, ports: Ports
) -> None:
    """Whether the gate asks what is not trained on. Raises `InvalidInput` (`gate_not_held_out`, `gate_empty`)."""
    if gate.dataset is not None and (await ports.files.find(gate.dataset.file)).sha256 == trained_on.sha256:
        why = "the questions of the gate are the examples that are trained on: name a file of held-out ones"
        raise InvalidInput(why, code="gate_not_held_out", field="input.gate.dataset")
    if gate.asks_held_out and not len(questions):
        why = (
            "no held-out example is a single question with an answer, so nothing decides: hold out more"
            " (`validation_share`), or name questions of your own (gate.dataset)"
        )
        raise InvalidInput(why, code="gate_empty", field="input.gate")
