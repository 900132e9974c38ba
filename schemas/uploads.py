"""Uploads in parts, in OpenAI's shape: a file that is sent piece by piece, in any order."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from schemas.files import ExpiresAfter, FileView, Purpose
from schemas.names import Composed, printable

PART_BYTES: Final = 64 * 1024**2
"""OpenAI's largest part."""
MOST_PARTS: Final = 10_000
LIVES_S: Final = 3_600
"""How long after its beginning an upload takes parts."""

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]
FileName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, strip_whitespace=True, pattern=r"^[^/\\]+$"),
    Composed,
    AfterValidator(printable),
]
MimeType = Annotated[str, StringConstraints(max_length=255, pattern=r"^[\w!#$&^.+-]+/[\w!#$&^.+-]+(;[ -~]*)?$")]
PartId = Annotated[str, StringConstraints(pattern=r"^part_[0-9a-f]{32}$")]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$")]


class NewUpload(BaseModel):
    """A file that is about to be sent in parts. `bytes`: its size, which the parts must add up to."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filename: FileName
    purpose: Purpose
    bytes: int = Field(ge=1)
    mime_type: MimeType
    expires_after: ExpiresAfter | None = None


class Completion(BaseModel):
    """The parts in the order of the file. `md5`: of the whole file, compared if given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    part_ids: list[PartId] = Field(min_length=1, max_length=MOST_PARTS)
    md5: Md5 | None = None


class UploadView(BaseModel):
    """An upload; times are Unix seconds. `file` is there once it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: UploadStatus
    expires_at: int
    file: FileView | None


class PartView(BaseModel):
    """A part that is stored."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
