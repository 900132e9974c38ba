"""Every setting is read from the environment variable that the documentation names."""

import os
from datetime import timedelta

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from infra.settings import (
    CONCERNS,
    EmbedderSettings,
    GatewaySettings,
    GeneratorSettings,
    KafkaSettings,
    PostgresSettings,
    RelaySettings,
    TracingSettings,
    WorkerSettings,
    environment_names,
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WELIP_", "OTEL_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("concern", CONCERNS)
def test_every_concern_has_defaults_and_cannot_be_changed(concern: type[BaseSettings]) -> None:
    made = concern()
    field = next(iter(concern.model_fields))
    with pytest.raises(ValidationError):
        setattr(made, field, getattr(made, field))


def value_for(annotation: object, default: object) -> str:
    """A text that is valid for the field and differs from its default."""
    if isinstance(default, bool):
        return str(not default)
    if isinstance(default, timedelta):
        return str(default.total_seconds() * 1.5 + 1)
    choices = getattr(annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return str(next(choice for choice in choices if choice != default))
    if isinstance(default, int) or "int" in str(annotation):
        return str(int(default) + 1 if isinstance(default, int) else 9100)
    if isinstance(default, dict):
        return '{"cpu": "2"}'
    return "something-else"


@pytest.mark.parametrize("concern", CONCERNS)
def test_every_documented_name_is_heard(concern: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    before = concern()
    prefix = concern.model_config.get("env_prefix", "")
    for name, field in concern.model_fields.items():
        variable = field.validation_alias if isinstance(field.validation_alias, str) else f"{prefix}{name}".upper()
        assert variable in environment_names()
        monkeypatch.setenv(variable, value_for(field.annotation, field.default))
    after = concern()
    assert [name for name in concern.model_fields if getattr(after, name) == getattr(before, name)] == []


def test_names_are_not_used_twice() -> None:
    others = {"WELIP_URL", "WELIP_API_KEY", "WELIP_DEBUG", "WELIP_CACHE"}
    assert len(environment_names()) == sum(len(concern.model_fields) for concern in CONCERNS) + len(others)
    assert others | {"WELIP_AUTH", "WELIP_GENERATOR", "WELIP_EMBEDDER"} <= environment_names()
    assert all(name.startswith("WELIP_") or name.startswith("OTEL_") for name in environment_names())


@pytest.mark.parametrize(
    ("text", "seconds"), [("15", 15), ("0.5", 0.5), ("PT15S", 15), ("PT2M", 120), ("00:01:00", 60)]
)
def test_durations_are_seconds_or_iso_8601(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("WELIP_WORKER_DRAIN", text)
    assert WorkerSettings().drain == timedelta(seconds=seconds)


def test_a_duration_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELIP_WORKER_LEASE", "soon")
    with pytest.raises(ValidationError, match="lease"):
        WorkerSettings()


@pytest.mark.parametrize(
    ("concern", "name", "value"),
    [
        (KafkaSettings, "WELIP_KAFKA_PARTITIONS", "0"),
        (GatewaySettings, "WELIP_AUTH", "maybe"),
        (RelaySettings, "WELIP_RELAY_BATCH", "-1"),
        (GeneratorSettings, "WELIP_GENERATOR", "oracle"),
        (EmbedderSettings, "WELIP_EMBEDDER", "oracle"),
    ],
)
def test_values_out_of_range_are_refused(
    monkeypatch: pytest.MonkeyPatch, concern: type[BaseSettings], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        concern()


def test_secrets_do_not_show() -> None:
    settings = PostgresSettings(url=SecretStr("postgresql://welip:hunter2@db/welip"))
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_a_worker_beats_several_times_within_its_lease() -> None:
    worker = WorkerSettings()
    assert worker.heartbeat * 5 <= worker.lease
    assert WorkerSettings(lease=timedelta(seconds=5), heartbeat=timedelta(seconds=1)).lease == timedelta(seconds=5)
    with pytest.raises(ValidationError, match="at least five times WELIP_WORKER_HEARTBEAT"):
        WorkerSettings(lease=timedelta(seconds=4.9), heartbeat=timedelta(seconds=1))


def test_tracing_is_off_unless_the_standard_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TracingSettings().endpoint is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert TracingSettings().endpoint == "http://collector:4318"


@pytest.mark.parametrize("text", ["api-key: secret", "[1]", '{"api-key": 7}', "{"])
def test_headers_that_are_no_json_object_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WELIP_GENERATOR_HEADERS", text)
    with pytest.raises(ValidationError) as refused:
        GeneratorSettings()
    assert refused.value.errors()[0]["loc"][0] == "headers"


def test_headers_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELIP_GENERATOR_HEADERS", '{"api-key": "hush"}')
    assert "hush" not in repr(GeneratorSettings())
    assert GeneratorSettings().headers["api-key"].get_secret_value() == "hush"
