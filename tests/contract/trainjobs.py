"""The part of a Kubernetes cluster with Kubeflow Trainer that a training meets, with processes in the place of pods.

A TrainJob is checked as an API server checks it that is asked to be strict: by the schema of its CRD, and unknown
fields are refused. `trainjob_schema.json` is that of Kubeflow Trainer 2.3.0 (Apache-2.0) without its descriptions. What
its rules and its webhook check besides, for the runtime `torch-distributed`, is written anew here. The nodes are then
started with their command, and with the variables that this runtime gives to each.
"""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import psutil

from infra.local.child import free_port

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{}/trainjobs"
WITHIN_S = 60


def closed(schema: Any) -> Any:
    """The schema without room for unknown fields."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(one) for name, one in schema.items()}
    opened = {"additionalProperties", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"}
    if isinstance(schema.get("properties"), dict) and not opened & schema.keys():
        found["additionalProperties"] = False
    return found


def validator() -> jsonschema_rs.Validator:
    schema = json.loads(Path(__file__).with_name("trainjob_schema.json").read_text(encoding="utf-8"))
    schema["properties"]["metadata"] = {}  # the API server's own
    return jsonschema_rs.validator_for(closed(schema))


def webhook(job: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a TrainJob that fits its schema."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", job["metadata"]["name"]):
        yield "metadata.name must match RFC 1035 DNS label format"
    for one in job["spec"]["trainer"].get("env", []):
        if one["name"].startswith("PET_"):
            yield "spec.trainer.env: must not have reserved envs"
    for patch in job["spec"].get("runtimePatches", []):
        if not re.fullmatch(
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+/[-\w./]+", patch["manager"]
        ):
            yield "spec.runtimePatches.manager: must be a domain-prefixed path"
        for replicated in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            containers = replicated["template"]["spec"]["template"]["spec"].get("containers", [])
            if replicated["name"] != "node" or {one["name"] for one in containers} - {"node"}:
                yield "spec.runtimePatches: must not have what does not exist in the runtime"
            if any(one.get("env") for one in containers):
                yield "spec.runtimePatches: must not have envs for the node container"


class TrainJobCluster(ThreadingHTTPServer):
    """Answers for one namespace. `image`: variables of the nodes' image. `away`: it answers nothing but 503."""

    daemon_threads = True

    def __init__(self, namespace: str, image: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.path = PATH.format(namespace)
        self.image = image
        self.objects: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.deleted: list[str] = []
        self.away = False
        self.refused = 0
        """Requests that were not answered."""
        self.validator = validator()

    def config(self, folder: Path) -> Path:
        """A kubeconfig for it."""
        file = folder / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        told = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [cluster]}
        told |= {"contexts": [context], "users": [{"name": "c", "user": {}}]}
        file.write_text(json.dumps(told))  # JSON is YAML
        return file

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Answer requests; in the end every node is ended."""
        with self:
            thread = threading.Thread(target=self.serve_forever, args=[0.02], daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self.shutdown()
                thread.join()
                for name in list(self.objects):
                    self.delete(name)

    def create(self, body: dict[str, Any], query: Mapping[str, list[str]]) -> tuple[int, dict[str, Any]]:
        assert query["fieldValidation"] == ["Strict"]
        wrong = [f"{'.'.join(map(str, one.instance_path))}: {one.message}" for one in self.validator.iter_errors(body)]
        wrong = wrong or list(webhook(body))
        if wrong:
            return 422, {"message": "; ".join(wrong)}
        name = body["metadata"]["name"]
        if name in self.objects:
            return 409, {"message": f"{name} already exists"}
        self.objects[name] = body
        port, nodes = free_port(), body["spec"]["trainer"]["numNodes"]
        self.nodes[name] = [self._started(body, node, port) for node in range(nodes)]
        return 201, body

    def _started(self, body: dict[str, Any], node: int, port: int) -> "subprocess.Popen[bytes]":
        trainer = body["spec"]["trainer"]
        given = {one["name"]: one["value"] for one in trainer["env"]}
        runtime = {"PET_NODE_RANK": str(node), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
        # The variables of this process are not a pod's, but for what finds Python.
        mine = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(trainer["command"], env={**mine, **self.image, **given, **runtime})

    def status(self, name: str) -> dict[str, Any]:
        ended = [one.poll() for one in self.nodes[name]]
        found = {"type": "Complete", "status": "False", "reason": "Running", "message": "it runs"}
        if any(ended):
            found = {"type": "Failed", "status": "True", "reason": "JobsFailed", "message": "a node failed"}
        elif None not in ended:
            found = {"type": "Complete", "status": "True", "reason": "JobsCompleted", "message": "all nodes are done"}
        return {**self.objects[name], "status": {"conditions": [found]}}

    def delete(self, name: str) -> None:
        """As Kubernetes does in the end: kill a pod with all that runs in it."""
        del self.objects[name]
        self.deleted.append(name)
        for one in self.nodes.pop(name):
            with suppress(psutil.NoSuchProcess):
                pod = psutil.Process(one.pid)
                for process in [*pod.children(recursive=True), pod]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            one.wait(WITHIN_S)


class _Request(BaseHTTPRequestHandler):
    server: TrainJobCluster

    def do_POST(self) -> None:
        self._answer(*self.server.create(self._body(), self._query))

    def do_GET(self) -> None:
        self._answer(200, self.server.status(self._name))

    def do_DELETE(self) -> None:
        if name := self._name:
            self.server.delete(name)
        else:
            [selector] = self._query["labelSelector"]
            label, _, value = selector.partition("=")
            of_job = [n for n, one in self.server.objects.items() if one["metadata"]["labels"].get(label) == value]
            for name in of_job:
                self.server.delete(name)
        self._answer(200, {"kind": "Status", "status": "Success"})

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        parts = urlsplit(self.path)
        self._query = parse_qs(parts.query)
        before, _, self._name = parts.path.removeprefix(self.server.path).rpartition("/")
        status = 404 if before or (self._name and self._name not in self.server.objects) else 0
        if not parts.path.startswith(self.server.path):
            status = 403
        if self.server.away:
            status = 503
            self.server.refused += 1
        if status:
            self._body()
            self._answer(status, {"kind": "Status", "message": f"{self.command} {parts.path} is {status}"})
        return not status

    def _body(self) -> dict[str, Any]:
        read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found: dict[str, Any] = json.loads(read or b"{}")
        return found

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
