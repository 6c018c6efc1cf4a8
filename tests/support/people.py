"""People and service accounts at a real API server, and what it says that they may do."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from falaj.cluster.api import ApiClient, Endpoint
from falaj.cluster.control_plane import ControlPlane

REVIEWS = "/apis/authorization.k8s.io/v1"


@contextmanager
def person(plane: ControlPlane, folder: Path, user: str, *groups: str) -> Iterator[ApiClient]:
    """A client with what ``falaj cluster kubeconfig --user`` hands out."""
    path = folder / f"{user}.kubeconfig"
    plane.write_user_kubeconfig(path, user, groups)
    config = yaml.safe_load(path.read_text())
    cluster, account = config["clusters"][0]["cluster"], config["users"][0]["user"]
    files = []
    for key, source in (
        ("certificate-authority-data", cluster),
        ("client-certificate-data", account),
        ("client-key-data", account),
    ):
        file = folder / f"{user}-{key}.pem"
        file.write_bytes(base64.b64decode(source[key]))
        files.append(file)
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    with ApiClient(Endpoint(host, int(port), *files)) as client:
        yield client


def may(client: ApiClient, verb: str, resource: str, namespace: str = "", *, group: str = "", name: str = "") -> bool:
    """What `kubectl auth can-i` asks."""
    resource, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    review = client.create(f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": attributes}})
    return bool(review["status"]["allowed"])


def rights(client: ApiClient, namespace: str) -> dict[str, set[str]]:
    """Resource -> verbs that the server says the user has in a namespace, without what everybody may ask of himself."""
    review = client.create(f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": namespace}})
    found: dict[str, set[str]] = {}
    for rule in review["status"]["resourceRules"]:
        for resource in rule["resources"]:
            if not resource.startswith("selfsubject"):
                found.setdefault(resource, set()).update(rule["verbs"])
    return found


def status_with_token(plane: ControlPlane, bearer: str, method: str, path: str, body: dict[str, Any] | None) -> int:
    """The status with which the server answers a request under a service account's token."""
    endpoint = plane.client().endpoint
    context = ssl.create_default_context(cafile=str(endpoint.authority))
    connection = http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=30, context=context)
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
