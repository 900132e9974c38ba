"""What stages may ask of the outside world: one protocol and file per outside system; `infra/` holds the adapters.

Every method may raise `schemas.errors.DependencyUnavailable` when the thing behind it does not answer. Opening and
closing are up to the process (`consumers/bootstrap.py`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from consumers.stages.ports.adapters import Adapters as Adapters
from consumers.stages.ports.aliases import Aliases as Aliases
from consumers.stages.ports.answers import Answers as Answers
from consumers.stages.ports.answers import KnownAnswer as KnownAnswer
from consumers.stages.ports.batches import Batches as Batches
from consumers.stages.ports.blobs import Blobs as Blobs
from consumers.stages.ports.catalogue import CatalogueReader as CatalogueReader
from consumers.stages.ports.catalogue import CatalogueWriter as CatalogueWriter
from consumers.stages.ports.catalogue import RebuildCatalogue as RebuildCatalogue
from consumers.stages.ports.children import Children as Children
from consumers.stages.ports.children import ChildSummary as ChildSummary
from consumers.stages.ports.corpora import CorpusReader as CorpusReader
from consumers.stages.ports.corpora import DatasetReader as DatasetReader
from consumers.stages.ports.corpora import ExampleReader as ExampleReader
from consumers.stages.ports.deployment import Deployment as Deployment
from consumers.stages.ports.documents import DocumentParser as DocumentParser
from consumers.stages.ports.documents import LongDocuments as LongDocuments
from consumers.stages.ports.doubts import IndexDoubts as IndexDoubts
from consumers.stages.ports.expiry import Expiry as Expiry
from consumers.stages.ports.files import Files as Files
from consumers.stages.ports.files import FileStore as FileStore
from consumers.stages.ports.harness import Harness as Harness
from consumers.stages.ports.index import VectorIndex as VectorIndex
from consumers.stages.ports.judgements import Judgements as Judgements
from consumers.stages.ports.models import Embedder as Embedder
from consumers.stages.ports.models import Reranker as Reranker
from consumers.stages.ports.models import SparseEncoder as SparseEncoder
from consumers.stages.ports.needs import Needs as Needs
from consumers.stages.ports.needs import Port as Port
from consumers.stages.ports.needs import PortSet
from consumers.stages.ports.needs import needs as needs
from consumers.stages.ports.optimiser import Optimiser as Optimiser
from consumers.stages.ports.registry import AdapterRegistry as AdapterRegistry
from consumers.stages.ports.scorer import Scorer as Scorer
from consumers.stages.ports.served import Served as Served
from consumers.stages.ports.steering import Steering as Steering
from consumers.stages.ports.text import Answerer as Answerer
from consumers.stages.ports.text import MorphemeAnalyser as MorphemeAnalyser
from consumers.stages.ports.text import TextModel as TextModel
from consumers.stages.ports.tracker import Tracker as Tracker
from consumers.stages.ports.tracker import Trackers as Trackers
from consumers.stages.ports.trainer import Trainer as Trainer
from consumers.stages.ports.transcript import Transcript as Transcript
from consumers.stages.ports.trials import Evaluation as Evaluation
from consumers.stages.ports.trials import SeenTrial as SeenTrial
from consumers.stages.ports.trials import Trials as Trials
from schemas.catalogue import CollectionRecord as CollectionRecord
from schemas.catalogue import StoredDocument as StoredDocument
from schemas.prompts import Prompts


class Ports(PortSet):
    """What a stage is given: the ports that its `NEEDS` name, and the deployment's facts.

    Touching another port raises `PortNotOpen`. A process opens the ports that the stages of its pools need, and no
    others. `embedder` and `reranker`, with which collections are indexed and searched, are None where this process has
    no such model. `answerer`, `text_model` and `vectors` are those of the job's model.
    """

    adapter_registry = Port[AdapterRegistry]()
    adapters = Port[Adapters]()
    aliases = Port[Aliases]()
    answerer = Port[Answerer]()
    answerers = Port[Served[Answerer]]()
    """The process's, as are `text_models` and `embedders`. A stage's own `answerer` is one of these."""
    answers = Port[Answers]()
    batches = Port[Batches]()
    blobs = Port[Blobs]()
    catalogue = Port[CatalogueReader]()
    catalogue_writer = Port[CatalogueWriter]()
    children = Port[Children]()
    corpora = Port[CorpusReader]()
    datasets = Port[DatasetReader]()
    doubts = Port[IndexDoubts]()
    embedder = Port[Embedder | None]()
    embedders = Port[Served[Embedder]]()
    examples = Port[ExampleReader]()
    expiry = Port[Expiry]()
    file_store = Port[FileStore]()
    """The executor's. A stage's own `files` are made of it."""
    files = Port[Files]()
    harness = Port[Harness]()
    index = Port[VectorIndex]()
    judgements = Port[Judgements]()
    long_documents = Port[LongDocuments]()
    morphemes = Port[MorphemeAnalyser]()
    optimiser = Port[Optimiser]()
    parser = Port[DocumentParser]()
    prompts = Port[Prompts]()
    """The deployment's."""
    rebuilds = Port[RebuildCatalogue]()
    reranker = Port[Reranker | None]()
    scorer = Port[Scorer]()
    sparse = Port[SparseEncoder]()
    steering = Port[Steering]()
    text_model = Port[TextModel]()
    text_models = Port[Served[TextModel]]()
    tracker = Port[Tracker]()
    trackers = Port[Trackers]()
    """The process's. A stage's own `tracker` is made of it."""
    trainer = Port[Trainer]()
    trials = Port[Trials]()
    vectors = Port[Embedder]()

    OF_THE_JOB: ClassVar[Mapping[Port[Any], Port[Served[Any]]]] = {
        answerer: answerers,
        text_model: text_models,
        vectors: embedders,
    }
    """Ports of a job's model, and those of the process from which they are taken."""

    def __init__(self, deployment: Deployment | None = None) -> None:
        super().__init__()
        self.deployment = deployment or Deployment()
