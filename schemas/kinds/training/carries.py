"""What the stages of `training` hand on to each other."""

from pydantic import BaseModel

from schemas.kinds.training import DataReport, TrainingResult
from schemas.remarks import Remark


class Prepared(BaseModel):
    """To `train`: blobs of examples, one JSON object a line. `remarks`: what the owner should mind."""

    train: str
    validation: str | None
    data: DataReport
    remarks: list[Remark] = []


class Trained(BaseModel):
    """To `report` and `register`: the job's result but for the registered name.

    `leftovers`: keys of blobs that nobody needs now. `remarks`: its warnings, for a report in another language.
    """

    result: TrainingResult
    leftovers: list[str]
    remarks: list[Remark] = []


class Registered(BaseModel):
    """To `conclude`: the job's result but for what became of its gate."""

    result: TrainingResult
