"""The card of a model tells what was recorded of it, and no more."""

from datetime import UTC, datetime
from uuid import uuid4

from gateway.models.card import card
from infra.postgres.queries.adapters import StoredAdapter
from schemas.lineage import Lineage, SourceFile
from schemas.models import TransformersModel

BASE = TransformersModel(name="small", engine="transformers", weights="/srv/secret/small")
LINEAGE = Lineage(
    job="job_1", base="small", weights=None, revision=None, code="0.1.0", method="sft", adapter="lora",
    dataset=SourceFile(file="file_1", filename="a|b.jsonl", bytes=1234, sha256="feed"), validation=None, rows=58,
    held_out=6, tokens=4920, archive="file_2", parameters={"rank": 16, "max_steps": None},
    metrics={"validation_loss": 1.441}, trained_at="2026-11-30T00:00:00+00:00",
)  # fmt: skip


def adapter(lineage: Lineage | None) -> StoredAdapter:
    return StoredAdapter(
        id=uuid4(), tenant="t", base="small", name="rules", version=2, config="{}", rank=16, blob="b", bytes=1,
        sha256="cafe", weights_sha256="", lineage=None if lineage is None else lineage.model_dump_json(), run=None,
        created_at=datetime(2026, 11, 30, tzinfo=UTC),
    )  # fmt: skip


def test_a_trained_adapter_has_its_data_parameters_figures_and_job_on_its_card() -> None:
    text = card("small:rules@2", BASE, adapter(LINEAGE))
    for told in (
        "# small:rules@2",
        "| job | job_1 |",
        "| code | WeLIP 0.1.0 |",
        "| dataset | file_1 (a\\|b.jsonl, 1,234 bytes), sha256 feed |",
        "| split | 58 examples, 6 held out, 4,920 tokens |",
        "| rank | 16 |",
        "| validation_loss | 1.441 |",
    ):
        assert told in text
    assert "max_steps" not in text
    assert "Ledger" not in text


def test_a_folder_of_the_workers_is_not_told_to_tenants() -> None:
    text = card("small:rules@2", BASE, adapter(None))
    assert "secret" not in text
    assert "## Training" not in text
