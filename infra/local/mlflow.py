"""A real MLflow server on SQLite and a folder, for workstations and tests; `python -m infra.local.mlflow`.

MLflow's server needs 93 packages, so it lives in an environment of its own, in the cache folder.
"""

from pathlib import Path
from typing import Annotated, Final, Self

import httpx
import typer

from infra.local.child import LOOPBACK, Child, LocalServer, require_free, run_in_foreground
from infra.local.locked import LockedEnvironment
from schemas.errors import Conflict

LOCK: Final = Path(__file__).resolve().parents[1] / "deploy" / "mlflow.txt"
ROOT: Final = Path(__file__).resolve().parents[2]
READY_WITHIN_S: Final = 120
_MLFLOW: Final = LockedEnvironment("MLflow", "mlflow", LOCK, "about a minute and 1 GB", 2 * 1024**3)

PORT: Final = 5000
"""Where MLflow listens unless it is told otherwise."""

SERVER: Final = ("uvicorn", "mlflow.server.fastapi_app:app", "--log-level", "warning")
"""What `mlflow server` starts. Started here without it: that command would die and leave this process behind."""


def installed() -> Path | None:
    """The environment's Python, or None."""
    return _MLFLOW.installed()


def install() -> Path:
    """Make the environment unless it is there (about a minute, 1 GB); its Python.

    Several processes may ask at once. Raises `DependencyMissing`, with the reason, when it cannot be made.
    """
    return _MLFLOW.install()


class MlflowServer(LocalServer):
    """One MLflow server without authentication. It is for this machine alone."""

    @property
    def url(self) -> str:
        """What `WELIP_MLFLOW_URI` names."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> Self:
        """Start and wait until it answers. Raises `Conflict`, `DependencyMissing`, `DependencyUnavailable`."""
        if self.running:
            raise Conflict("this MLflow server is running already")
        python = install()
        require_free(self.port)
        self._data.mkdir(parents=True, exist_ok=True)
        log = self._data / "mlflow.log"
        self._child = Child("MLflow", [str(python), "-m", *self.command], log=log, env=self.environment)
        self._child.start(self._ready, deadline_s=READY_WITHIN_S)
        return self

    @property
    def command(self) -> list[str]:
        """The module that serves, with its arguments, for the environment's Python."""
        return [*SERVER, "--host", LOOPBACK, "--port", str(self.port)]

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which it keeps everything in its folder, and tells nobody about itself."""
        return {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self._data}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{self._data}/artifacts",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "PYTHONPATH": str(ROOT),
        }

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def main(
    data: Annotated[Path, typer.Option(help="Where runs, files and the log are kept.")] = Path(".welip/mlflow"),
    port: Annotated[int, typer.Option(help="The loopback port to listen on.")] = 5000,
) -> None:
    """Run MLflow in the foreground until Ctrl-C."""
    if installed() is None:
        typer.echo("making the environment of MLflow once, about a minute ...")
    server = MlflowServer(data.resolve(), port=port)

    def announce() -> None:
        typer.echo(f"MLflow answers at {server.url}; its log is {data / 'mlflow.log'}. Ctrl-C stops it. For WeLIP:")
        typer.echo(f"WELIP_MLFLOW_URI={server.url}")

    raise typer.Exit(run_in_foreground(server, announce))


if __name__ == "__main__":
    typer.run(main)
