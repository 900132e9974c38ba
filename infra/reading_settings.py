"""The settings of the processes that read what tenants send: documents, and texts that Kiwi analyses."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings

from infra.setting_types import Duration
from infra.setting_types import prefixed as _prefix


class ParserSettings(BaseSettings):
    """The processes that documents are parsed in.

    `timeout`: processor time for one; three times as long by the clock.
    """

    model_config = _prefix("PARSER_")
    timeout: Duration = Field(timedelta(seconds=60), gt=timedelta(0))
    memory_bytes: int = Field(
        1024**3, ge=256 * 1024**2, description="Memory of each process beyond what it starts with."
    )
    processes: int = Field(2, ge=1, le=256, description="In each lane, by one worker; long documents in memory, too.")


class AnalysisSettings(BaseSettings):
    """The processes that Kiwi analyses texts in: separate ones for the documents of each lane, and for questions.

    `timeout`: processor time for 25,000 characters of a document, or for a question; three times as long by the clock.
    """

    model_config = _prefix("ANALYSIS_")
    timeout: Duration = Field(timedelta(seconds=20), gt=timedelta(0))
    memory_bytes: int = Field(
        512 * 1024**2, ge=64 * 1024**2, description="Memory of each process beyond the shared Kiwi."
    )
    processes: int = Field(
        0, ge=0, le=256, description="For the documents of each lane, by one worker; 0: one for each core."
    )
    question_processes: int = Field(2, ge=1, le=256, description="For questions and answers, by one worker.")
