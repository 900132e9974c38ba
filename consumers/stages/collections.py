"""The collection that a job's input names."""

from consumers.stages.ports import CollectionRecord, Ports
from schemas.errors import NotFound


async def named_collection(ports: Ports, tenant: str, name: str) -> CollectionRecord:
    """The collection. Raises `NotFound` (`collection_not_found`), which names the input's field."""
    try:
        return await ports.catalogue.collection(tenant, name)
    except NotFound as error:
        why = f"there is no collection {name!r}; make it with a job of kind `indexing`, or list the existing ones"
        raise NotFound(why, code="collection_not_found", field="input.collection") from error
