"""The first stage of `indexing`: settings, removals, and a child for each part to add or rebuild."""

from datetime import timedelta
from typing import Any, Final

from consumers.stages.context import StageJob
from consumers.stages.indexing import rebuilding
from consumers.stages.indexing.parts import Parts
from consumers.stages.indexing.prepare import check_encoders
from consumers.stages.indexing.upsert import SEALED_PAUSE
from consumers.stages.indexing.writing import drop_leftovers, prune
from consumers.stages.ports import CollectionRecord, Ports, needs
from schemas.catalogue import Standing
from schemas.collections import CollectionSettings
from schemas.errors import Conflict
from schemas.kinds.indexing import DocumentCounts, IndexingInput, IndexingResult
from schemas.kinds.indexing.carries import Numbered, Planned
from schemas.outcomes import Done, FanOut, Next, Outcome, Snooze
from schemas.retrieval import IndexName

NEEDS: Final = needs(
    Ports.blobs,
    Ports.catalogue,
    Ports.catalogue_writer,
    Ports.corpora,
    Ports.doubts,
    Ports.files,
    Ports.index,
    Ports.rebuilds,
    Ports.sparse,
)


async def run(job: StageJob[IndexingInput, Numbered | None], ports: Ports) -> Outcome:
    """Drop, change settings, delete, and write the parts; then `prepare` for each part, `swap` and `report` after it.

    Raises `NotFound`, and `Conflict` (`encoder_mismatch`, `settings_differ`, `rebuild_running`).
    """
    request = job.input
    name = request.collection
    if request.drop:
        # A collection made after this job began is not the one to drop: a repeat leaves it alone.
        await ports.catalogue_writer.drop(job.tenant, name, made_before=job.started_at)
        await drop_leftovers(job.tenant, name, ports)
        return Done(IndexingResult(collection=name).model_dump())
    adds = bool(request.documents or request.corpus)
    given = _given(request)
    # Deleting from a collection that does not exist is a mistake to report, not a success.
    makes = adds or request.settings is not None
    record, version = await ports.catalogue_writer.begin(
        job.id,
        job.tenant,
        name,
        settings=_first_settings(request) if makes else None,
        encoder=ports.sparse.name,
        embedder=ports.deployment.embedder,
    )
    if adds:
        check_encoders(record, ports)
        _check_chunking(record, request)
    if given:
        await ports.catalogue_writer.change(job.tenant, name, given)
    generation = await _start_rebuild(job, ports, record, request, given)
    deleted = 0
    if request.delete:
        forgotten = await ports.catalogue_writer.forget(job.tenant, name, version, list(dict.fromkeys(request.delete)))
        if forgotten.standing is Standing.SEALED:
            return Snooze(SEALED_PAUSE)
        if forgotten.standing is not Standing.NAMED:
            return Snooze(timedelta(0))  # dropped and created again in between: start over
        await prune(ports, IndexName(job.tenant, name, forgotten.generation), forgotten)
        deleted = len(forgotten.changed)
    parts = Parts(job, ports, request)
    await parts.write()
    children = parts.children(version)
    if generation is not None:
        children += await rebuilding.parts(job, ports, name, generation)
    then = "report" if generation is None else "swap"
    carry = Planned(
        parts=parts.folder,
        sizes=parts.sizes,
        deleted=deleted,
        failed=parts.failed,
        errors=parts.errors,
        rebuild=generation,
    )
    if children:
        return FanOut(children, then=then, carry=carry)
    if generation is not None:
        return Next(then, carry)
    counts = DocumentCounts(deleted=deleted, failed=parts.failed)
    return Done(IndexingResult(collection=name, documents=counts, errors=parts.errors).model_dump())


async def _start_rebuild(
    job: StageJob[IndexingInput, Numbered | None],
    ports: Ports,
    record: CollectionRecord,
    request: IndexingInput,
    given: dict[str, Any],
) -> int | None:
    """The generation to build, if new vectors are needed and no other job is already building one."""
    name = record.name
    if record.building is not None and record.building_job != job.id:
        # A rebuild that was cut short leaves half an index behind.
        await ports.rebuilds.abandon(job.tenant, name)
        await drop_leftovers(job.tenant, name, ports)
        record = await ports.catalogue.collection(job.tenant, name)
    wanted = record.settings.changed(given).shapes_vectors()
    if not request.rebuild:
        if wanted == record.settings.shapes_vectors():
            return None
        if record.building and record.building_job != job.id and wanted == record.building.settings.shapes_vectors():
            return None
    building = await ports.rebuilds.start_building(
        job.id, job.tenant, name, given, encoder=ports.sparse.name, embedder=ports.deployment.embedder
    )
    return building.generation


def _given(request: IndexingInput) -> dict[str, Any]:
    return {} if request.settings is None else request.settings.model_dump(mode="json", exclude_unset=True)


def _first_settings(request: IndexingInput) -> CollectionSettings:
    return CollectionSettings().changed(_chunking(request)).changed(_given(request))


def _chunking(request: IndexingInput) -> dict[str, Any]:
    return {} if request.chunking is None else {"chunking": request.chunking.model_dump(exclude_unset=True)}


def _check_chunking(record: CollectionRecord, request: IndexingInput) -> None:
    """`chunking` applies to a new collection: it must not silently rebuild an existing one."""
    wanted = record.settings
    if request.settings is not None and "chunking" in request.settings.model_fields_set:
        wanted = wanted.changed({"chunking": _given(request)["chunking"]})
    if wanted.changed(_chunking(request)) != wanted:
        has = wanted.chunking.model_dump_json()
        raise Conflict(
            f"collection {record.name!r} is cut with {has}: leave `chunking` out, or change it for all documents with"
            f" PATCH /v1/collections/{record.name} and `settings.chunking`",
            code="settings_differ",
            field="input.chunking",
        )
