"""A real Apache Kafka broker (KRaft) for tests and workstations, fetched by Maven; `python -m infra.local.kafka`."""

import asyncio
import base64
import re
import shutil
import subprocess
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Final, Self

import typer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from infra.local.child import (
    LOOPBACK,
    Child,
    LocalServer,
    accepts,
    cache_folder,
    free_port,
    require_free,
    run_in_foreground,
)
from schemas.errors import Conflict, DependencyMissing, DependencyUnavailable

VERSION: Final = "4.3.1"
"""Not 4.4.0, which needs an artifact (kafka-tools-api) that Maven Central does not have."""

LOG4J_VERSION: Final = "2.25.4"
JAVA_NEEDED: Final = 17
FETCH_TIMEOUT_S: Final = 900
JVM: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For machines with few cores: the optimising compiler and the concurrent collector would use half a core."""

POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>welip.local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

LOGGING: Final = """\
status = error
appender.file.type = Console
appender.file.name = out
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = out
"""

# Replication is 1 because there is one broker; few internal partitions and no rebalance delay because tests wait for
# them. A killed broker can return when its session has ended, after 4 s instead of 9.
SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={logs}
auto.create.topics.enable=false
num.partitions=4
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
log.cleaner.dedupe.buffer.size=33554432
"""


def _libraries() -> Path:
    return cache_folder() / f"kafka-{VERSION}" / "libs"


def installed() -> Path | None:
    """The folder of Kafka's jars in the cache, or None."""
    path = _libraries()
    return path if path.is_dir() else None


def java() -> str:
    """The `java` that runs Kafka. Raises `DependencyMissing` when there is none, or only one older than 17."""
    path = shutil.which("java")
    if path is None:
        raise DependencyMissing(f"Apache Kafka needs Java {JAVA_NEEDED} or newer, and there is no `java` on the PATH")
    # `java -version` writes to stderr: openjdk version "17.0.15" 2025-04-15
    answer = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', answer)
    if version is None or int(version[1]) < JAVA_NEEDED:
        raise DependencyMissing(f"Apache Kafka needs Java {JAVA_NEEDED} or newer; `{path} -version` says {answer!r}")
    return path


def install() -> Path:
    """Fetch Kafka's jars (44 MB) into the cache unless they are there.

    Raises `DependencyMissing` when Java or Maven is missing, or when the download fails.
    """
    java()
    if found := installed():
        return found
    maven = shutil.which("mvn")
    if maven is None:
        raise DependencyMissing("Apache Kafka is fetched by Maven, and there is no `mvn` on the PATH: install Maven")
    target = _libraries()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pom, jars = Path(folder, "pom.xml"), Path(folder, "libs")
        pom.write_text(POM)
        goals = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        command = [maven, "--batch-mode", "--quiet", "--file", str(pom), *goals]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise DependencyMissing(f"fetching Apache Kafka took longer than {FETCH_TIMEOUT_S} s") from error
        except subprocess.CalledProcessError as error:
            raise DependencyMissing(f"Maven could not fetch Apache Kafka: {error.stdout.strip()[-800:]}") from error
        try:
            jars.rename(target)
        except OSError:
            if not target.is_dir():  # if it exists, another process was first, with the same jars
                raise
    return target


class KafkaServer(LocalServer):
    """One broker on loopback that keeps everything under `data`; its port stays the same over restarts."""

    grace_s = 30  # it flushes its log, which makes the next start quick

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    def start(self, *, deadline_s: float = 90) -> Self:
        """Start and wait until the broker serves metadata; fetches Kafka first if it is missing.

        Raises `Conflict` when it already runs or the port is taken, `DependencyUnavailable` when it does not come up.
        """
        if self.running:
            raise Conflict("this Kafka broker is running already")
        libraries = install()
        require_free(self.port)
        self._data.mkdir(parents=True, exist_ok=True)
        settings, logging = self._data / "server.properties", self._data / "log4j2.properties"
        logs = self._data / "logs"
        settings.write_text(
            SETTINGS.format(host=LOOPBACK, port=self.port, controller_port=free_port(), logs=logs.as_posix())
        )
        logging.write_text(LOGGING)
        command = [java(), *JVM, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{libraries}/*"]
        if not (logs / "meta.properties").exists():
            self._format([*command, "kafka.tools.StorageTool", "format", "-c", str(settings), "-t", _cluster_id()])
        self._child = Child("Apache Kafka", [*command, "kafka.Kafka", str(settings)], log=self._data / "kafka.log")
        self._child.start(self._ready, deadline_s=deadline_s)
        return self

    def _format(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DependencyUnavailable(
                f"Kafka's storage could not be formatted: {(done.stderr or done.stdout)[-800:]}"
            )

    def _ready(self) -> bool:
        if not accepts(self.port):
            return False
        # In a separate thread, because the caller may be inside a running event loop.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._serves_metadata()).result()

    async def _serves_metadata(self) -> bool:
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()


def _cluster_id() -> str:
    """A random id in Kafka's format: 16 bytes, base64url without padding, that cannot be mistaken for an option."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def main(
    data: Annotated[Path, typer.Option(help="Where messages and the log are kept.")] = Path(".welip/kafka"),
    port: Annotated[int, typer.Option(help="The loopback port to listen on.")] = 9092,
) -> None:
    """Run Apache Kafka in the foreground until Ctrl-C."""
    if installed() is None:
        typer.echo("fetching Apache Kafka once, 44 MB ...")
    server = KafkaServer(data.resolve(), port=port)

    def announce() -> None:
        typer.echo(f"Apache Kafka answers at {server.bootstrap}; its log is {data / 'kafka.log'}. Ctrl-C stops it.")
        typer.echo(f"For WeLIP:\nWELIP_KAFKA_URL={server.bootstrap}\nWELIP_KAFKA_EMBEDDED=false")

    raise typer.Exit(run_in_foreground(server, announce))


if __name__ == "__main__":
    typer.run(main)
