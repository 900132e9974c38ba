"""What the stages of `training` hand on to each other."""

from pydantic import BaseModel

from schemas.kinds.training import DataReport, TrainingResult


class Prepared(BaseModel):
    """To `train`: blobs of examples, one JSON object a line."""

    train: str
    validation: str | None
    data: DataReport
    warnings: list[str] = []


class Trained(BaseModel):
    """To `register`: the job's result but for the registered name. `leftovers`: keys of blobs that nobody needs now."""

    result: TrainingResult
    leftovers: list[str]


class Registered(BaseModel):
    """To `conclude`: the job's result but for what became of its gate."""

    result: TrainingResult
