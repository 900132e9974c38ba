"""Real servers for tests, started once per session; tests are skipped with a reason when one cannot run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import kafka, minio, mlflow
from schemas.errors import DependencyMissing


def skip_unless_kafka() -> None:
    """Skip the test if Apache Kafka cannot be run."""
    try:
        kafka.java()
    except DependencyMissing as error:
        pytest.skip(error.message)
    if kafka.installed() is None and shutil.which("mvn") is None:
        pytest.skip("Apache Kafka is not in the cache and there is no Maven to fetch it with")


def skip_unless_minio() -> None:
    """Skip the test if MinIO cannot be run."""
    if minio.installed() is None and shutil.which("go") is None:
        pytest.skip("MinIO is not in the cache and there is no Go to build it with")


def kafka_server(data: Path) -> Iterator[kafka.KafkaServer]:
    """A running broker; for a session fixture: `yield from kafka_server(tmp_path_factory.mktemp("kafka"))`."""
    skip_unless_kafka()
    with kafka.KafkaServer(data) as server:
        yield server


def minio_server(data: Path) -> Iterator[minio.MinioServer]:
    """A running MinIO; for a session fixture: `yield from minio_server(tmp_path_factory.mktemp("minio"))`."""
    skip_unless_minio()
    with minio.MinioServer(data) as server:
        yield server


def mlflow_server(data: Path) -> Iterator[mlflow.MlflowServer]:
    """A running MLflow; for a module's fixture: `yield from mlflow_server(tmp_path_factory.mktemp("mlflow"))`."""
    try:
        mlflow.install()
    except DependencyMissing as error:
        pytest.skip(error.message)
    with mlflow.MlflowServer(data) as server:
        yield server
