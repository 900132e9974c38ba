"""docker-compose.yml, the Dockerfile and .env.example agree with each other, with the settings and with the CLI."""

import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from infra.local import minio
from infra.models import read_models
from infra.settings import (
    CONCERNS,
    EmbedderSettings,
    GeneratorSettings,
    ModelSettings,
    RerankerSettings,
    environment_names,
)
from producers.client.cli.app import app
from schemas.topics import Pool

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "infra/deploy/Dockerfile"
ENV_EXAMPLE = ROOT / ".env.example"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image", "").startswith("welip/")}
WELIP = {name: service for name, service in OURS.items() if name != "minio"}
STAGES: dict[str, str] = {
    stage: base for base, stage in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
}
"""Each stage of the Dockerfile and the stage or image that it builds on."""
CHOICES = ("answer", "gpu", "engine")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])((?:[^{}]|\{[^{}]*\})*))?\}")


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """The text after Compose replaced `${NAME}`, `${NAME:-default}` (one level nested) and `${NAME:?message}`."""

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        if environment.get(name):
            return environment[name]
        if how == "?":
            raise KeyError(name)
        return resolve(rest or "", environment) if how == "-" else ""

    return VARIABLE.sub(value, text)


def env_lines() -> dict[str, tuple[bool, str]]:
    """The variables in .env.example: whether each is set there (not commented out), and its value."""
    lines = re.findall(r"^(# )?([A-Z][A-Z0-9_]+)=(.*)$", ENV_EXAMPLE.read_text(), re.MULTILINE)
    return {name: (not off, value) for off, name, value in lines}


def environment_of(service: str) -> dict[str, str]:
    given = {name: value or "secret" for name, (on, value) in env_lines().items() if on}
    declared: dict[str, str | None] = SERVICES[service].get("environment", {})
    return {name: resolve(value, given) for name, value in declared.items() if value is not None}


def active(choice: str) -> Iterator[str]:
    return (name for name, service in SERVICES.items() if choice in service.get("profiles", [choice]))


def stage_and_bases(stage: str) -> Iterator[str]:
    while stage in STAGES:
        yield stage
        stage = STAGES[stage]


def stage_text(stage: str) -> str:
    """The lines of a stage and of the stages that it builds on."""
    blocks = re.split(r"^(?=FROM )", DOCKERFILE.read_text(), flags=re.MULTILINE)
    mine = set(stage_and_bases(stage))
    return "".join(block for block in blocks if (named := re.match(r"FROM \S+ AS (\S+)", block)) and named[1] in mine)


def target_of(service: Mapping[str, Any]) -> str:
    return resolve(service["build"]["target"], {})


def has_healthcheck(name: str) -> bool:
    service = SERVICES[name]
    return "healthcheck" in service or ("build" in service and "HEALTHCHECK" in stage_text(target_of(service)))


def test_the_compose_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_docker_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin here: the file was checked by schema and structure only")
    env = new_env(tmp_path / ".env")
    for choice in (*CHOICES, "train"):
        command = [docker, "compose", "--env-file", str(env), "--profile", choice, "config", "--quiet"]
        checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_that_can_become_ready(name: str) -> None:
    profiles = set(SERVICES[name].get("profiles", []))
    for other, wish in SERVICES[name].get("depends_on", {}).items():
        assert set(SERVICES[other].get("profiles", [])) <= profiles
        if wish["condition"] == "service_healthy":
            assert has_healthcheck(other)
        else:
            assert wish["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"].startswith("on-failure")


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"migrate", "relay"}])
def test_every_service_that_answers_says_whether_it_is_well(name: str) -> None:
    assert has_healthcheck(name)
    test = SERVICES[name].get("healthcheck", {}).get("test", ["CMD"])
    assert test[0] == "CMD"


def test_volumes_are_declared_and_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_services_that_scale_hold_nothing_that_exists_once() -> None:
    for name in ("worker-cpu", "worker-answer", "worker-gpu", "worker-vllm", "worker-train", "worker-webhook", "relay"):
        assert not {"container_name", "ports", "hostname"} & set(SERVICES[name])


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert "127.0.0.1:8080:8080" in [resolve(port, {}) for port in ports]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_pinned() -> None:
    pulled = {service["image"] for service in SERVICES.values() if "build" not in service}
    pulled |= {base for base in STAGES.values() if base not in STAGES}
    for image in pulled:
        assert re.search(r":v?\d", image), image


@pytest.mark.parametrize("name", OURS)
def test_what_is_built_is_a_target_of_the_dockerfile(name: str) -> None:
    build = OURS[name]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).samefile(DOCKERFILE)
    assert target_of(OURS[name]) in STAGES


def test_the_dockerfile_copies_what_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources: set[str] = set()
    for copied in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text(), re.MULTILINE):
        sources |= set(copied.split()[:-1])
    assert sources == allowed
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_dockerfile_builds_on_stages_and_groups_that_exist() -> None:
    text = DOCKERFILE.read_text()
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--from=(\S+)", text)) <= set(STAGES)
    assert set(re.findall(r"--extra (\S+)", text)) <= set(groups)
    assert {f"packages-{pool}" for pool in Pool if pool is not Pool.WEBHOOK} <= set(STAGES)
    assert {f"worker-{pool}" for pool in Pool} <= set(STAGES)


TARGETS = (
    "gateway",
    "relay",
    "worker-webhook",
    "worker-cpu",
    "worker-gpu",
    "worker-train",
    "worker-vllm",
    "worker-vllm-cpu",
)
"""The images that run WeLIP."""


@pytest.mark.parametrize("target", [*TARGETS, "minio"])
def test_no_image_runs_as_root(target: str) -> None:
    users = re.findall(r"^USER (\S+)$", stage_text(target), re.MULTILINE)
    assert users
    assert users[-1] != "root"


def test_minio_is_the_version_the_tests_run() -> None:
    found = re.search(r"^ARG MINIO_VERSION=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found
    assert found[1] == minio.VERSION


@pytest.mark.parametrize("path", ["docker-compose.yml", "infra/deploy/Dockerfile", ".env.example"])
def test_every_variable_named_is_one_that_welip_reads(path: str) -> None:
    named = set(re.findall(r"\bWELIP_[A-Z0-9_]*[A-Z0-9]\b", (ROOT / path).read_text()))
    assert named
    assert named - environment_names() == set()


@pytest.mark.parametrize("name", WELIP)
def test_the_settings_accept_what_the_compose_file_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in environment_names():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment_of(name).items():
        monkeypatch.setenv(variable, value)
    for concern in CONCERNS:
        concern()


@pytest.mark.parametrize("arguments", [service["command"] for service in WELIP.values()], ids=WELIP)
def test_every_command_exists_in_the_cli(arguments: list[str]) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    command = commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


def test_the_models_file_that_is_there_can_be_read_beside_every_service() -> None:
    default = re.search(r"MODELS_FILE:-(\S+)}", (ROOT / "docker-compose.yml").read_text())
    assert default
    settings = ModelSettings(WELIP_MODELS=ROOT / default[1])
    engines = ModelSettings(WELIP_MODELS=ROOT / "infra/deploy/models-vllm.toml")
    assert {
        row.engine for row in read_models(engines, GeneratorSettings(), EmbedderSettings(), RerankerSettings())
    } == {"vllm"}
    for generator in ("extractive", "openai"):
        models = read_models(
            settings, GeneratorSettings(WELIP_GENERATOR=generator), EmbedderSettings(), RerankerSettings()
        )
        assert models.default("chat") is not None


def test_every_default_command_of_an_image_exists_in_the_cli() -> None:
    for target in TARGETS:
        lines = re.findall(r'^CMD \["(\w+)"', stage_text(target), re.MULTILINE)
        assert set(lines) <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
        assert '\nENTRYPOINT ["welip"]' in stage_text(target)


def test_the_entry_point_of_the_images_can_be_imported() -> None:
    script: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["welip"]
    module, function = script.split(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("choice", CHOICES)
def test_each_pool_has_one_kind_of_worker_whatever_is_chosen(choice: str) -> None:
    pools = [
        argument
        for name in active(choice)
        if SERVICES[name].get("command", [None])[0] == "worker"
        for argument in SERVICES[name]["command"][1:]
        if argument != "--pool"
    ]
    assert sorted(pools) == sorted(set(Pool) - {Pool.TRAIN})


def test_the_pool_that_trains_is_there_where_its_profile_is_named() -> None:
    [name] = (name for name, service in SERVICES.items() if "train" in service.get("profiles", []))
    assert SERVICES[name]["command"] == ["worker", "--pool", Pool.TRAIN]
    drain = float(SERVICES[name]["environment"]["WELIP_WORKER_DRAIN"])
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain


def test_no_secret_has_a_default() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|_KEY$|TOKEN$|POSTGRES_URL$", variable) and value is not None:
                with pytest.raises(KeyError):
                    resolve(value, {})
                assert value.startswith("${"), (name, variable)


def test_the_example_names_every_variable_and_no_other() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = {name for name, _, _ in VARIABLE.findall(text)} | set(re.findall(r"\$\{(\w+)", text))
    passed_on = {
        name for service in SERVICES.values() for name, value in service.get("environment", {}).items() if value is None
    }
    assert set(env_lines()) == used | passed_on | {"COMPOSE_PROFILES"}
    assert env_lines()["COMPOSE_PROFILES"] == (True, "answer")


def new_env(path: Path) -> Path:
    subprocess.run(["sh", "infra/deploy/new_env.sh", str(ENV_EXAMPLE), str(path)], cwd=ROOT, check=True)
    return path


def test_new_env_fills_each_empty_secret_with_a_value_of_its_own(tmp_path: Path) -> None:
    path = new_env(tmp_path / ".env")
    made = dict(line.split("=", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))
    secrets = [made[name] for name, (on, value) in env_lines().items() if on and not value]
    assert len(secrets) >= 4
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_new_env_never_replaces_a_file(tmp_path: Path) -> None:
    path = new_env(tmp_path / ".env")
    before = path.read_text()
    again = subprocess.run(
        ["sh", "infra/deploy/new_env.sh", str(ENV_EXAMPLE), str(path)], cwd=ROOT, capture_output=True, check=False
    )
    assert again.returncode != 0
    assert path.read_text() == before
