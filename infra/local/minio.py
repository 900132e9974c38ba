"""A real MinIO server for tests and workstations, built by Go from its pinned source; `python -m infra.local.minio`."""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Final, Self

import httpx
import typer

from infra.local.child import LOOPBACK, Child, LocalServer, cache_folder, require_free, run_in_foreground
from schemas.errors import Conflict, DependencyMissing

VERSION: Final = "v0.0.0-20260212201848-7aac2a2c5b7c"
"""The Go module version of github.com/minio/minio; MinIO publishes no semantic version tags for Go."""

BUILD_TIMEOUT_S: Final = 1200


def _binary() -> Path:
    return cache_folder() / f"minio-{VERSION}" / "minio"


def installed() -> Path | None:
    """The server's binary in the cache, or None."""
    path = _binary()
    return path if os.access(path, os.X_OK) else None


def install() -> Path:
    """Build the server into the cache unless it is there (about 2 minutes, 1 GB of Go modules).

    Raises `DependencyMissing` when Go is missing or cannot build it.
    """
    if found := installed():
        return found
    go = shutil.which("go")
    if go is None:
        raise DependencyMissing("MinIO is built by Go, and there is no `go` on the PATH: install Go 1.24 or newer")
    folder = _binary().parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build:
        env = {**os.environ, "GOBIN": build, "CGO_ENABLED": "0"}
        command = [go, "install", f"github.com/minio/minio@{VERSION}"]
        try:
            subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise DependencyMissing(f"building MinIO took longer than {BUILD_TIMEOUT_S} s") from error
        except subprocess.CalledProcessError as error:
            raise DependencyMissing(f"`{' '.join(command)}` failed: {error.stderr.strip()[-800:]}") from error
        # A rename is atomic, so two builds at once leave one whole binary.
        (Path(build) / "minio").replace(_binary())
    return _binary()


class MinioServer(LocalServer):
    """A MinIO server on loopback that keeps everything under `data`, including its log and credentials.

    Credentials are random. The first start makes them and keeps them, so they stay valid after a restart on this data.
    """

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        super().__init__(data, port=port)
        self._credentials: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The S3 endpoint."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def access_key(self) -> str:
        """The root user's name; known once started."""
        return self._credentials["access_key"]

    @property
    def secret_key(self) -> str:
        """The root user's password; known once started."""
        return self._credentials["secret_key"]

    def start(self, *, deadline_s: float = 60) -> Self:
        """Start and wait until it answers; installs the server first if it is missing.

        Raises `Conflict` when it already runs or the port is taken, `DependencyUnavailable` when it does not come up.
        """
        if self.running:
            raise Conflict("this MinIO server is running already")
        binary = install()
        require_free(self.port)
        self._credentials = self._load_credentials()
        drive = self._data / "drive"
        drive.mkdir(parents=True, exist_ok=True)
        self._child = Child(
            "MinIO",
            [str(binary), "server", str(drive), "--quiet", "--address", f"{LOOPBACK}:{self.port}"],
            log=self._data / "minio.log",
            env={
                "MINIO_ROOT_USER": self.access_key,
                "MINIO_ROOT_PASSWORD": self.secret_key,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
        )
        self._child.start(self._ready, deadline_s=deadline_s)
        return self

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/minio/health/cluster", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _load_credentials(self) -> dict[str, str]:
        path = self._data / "credentials.json"
        try:
            credentials: dict[str, str] = json.loads(path.read_text())
        except FileNotFoundError:
            credentials = {"access_key": f"welip-{secrets.token_hex(4)}", "secret_key": secrets.token_urlsafe(24)}
            self._data.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(json.dumps(credentials))
        return credentials


def main(
    data: Annotated[Path, typer.Option(help="Where objects, credentials and the log are kept.")] = Path(".welip/minio"),
    port: Annotated[int, typer.Option(help="The loopback port to listen on.")] = 9000,
) -> None:
    """Run MinIO in the foreground until Ctrl-C."""
    if installed() is None:
        typer.echo("building MinIO once, about 2 minutes ...")
    server = MinioServer(data.resolve(), port=port)

    def announce() -> None:
        typer.echo(f"MinIO answers at {server.url}; its log is {data / 'minio.log'}. Ctrl-C stops it. For WeLIP:")
        typer.echo(f"WELIP_BLOBS_URL=s3+{server.url}/welip")
        typer.echo(f"WELIP_BLOBS_ACCESS_KEY={server.access_key}")
        typer.echo(f"WELIP_BLOBS_SECRET_KEY={server.secret_key}")

    raise typer.Exit(run_in_foreground(server, announce))


if __name__ == "__main__":
    typer.run(main)
