"""Kubeconfigs: which API server one points at, and what to show it.  Nothing here connects.

Only what a file can hold is read: certificates, tokens, user and password.  Programs that a kubeconfig names for
fetching credentials are never run.  Source: k8s.io/client-go, tools/clientcmd/api/v1.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from falaj.local.loopback import is_loopback

_MOST_BYTES: Final = 1024 * 1024


class KubeconfigError(ValueError):
    """A kubeconfig that cannot be used.  The text says what is wrong, and never shows a credential."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server and the credentials for it; certificates and keys as PEM."""

    server: str
    namespace: str = ""
    certificate_authority: bytes = b""
    tls_server_name: str = ""
    skip_tls_verify: bool = False
    client_certificate: bytes = field(default=b"", repr=False)
    client_key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def identity(self) -> tuple[str, bytes]:
        """What makes it the same cluster: its address and the authority that vouches for it."""
        return self.server, self.certificate_authority

    @property
    def is_local(self) -> bool:
        return is_loopback(self.server)


def connection(kubeconfig: str, *, root: Path, context: str = "", cluster: str = "") -> Connection:
    """The connection that a kubeconfig (its text, or the path of a file) describes for a context.

    A relative path starts from ``root``; ``context`` and ``cluster`` override what is chosen in the kubeconfig.  Raises
    KubeconfigError.
    """
    document, folder = _document(kubeconfig, root)
    chosen = context or document.get("current-context") or ""
    if not chosen:
        raise KubeconfigError("no context: set `current-context` in it, or `context` on the provider")
    entry = _named(document, "contexts", chosen, "context")
    server = _named(document, "clusters", cluster or str(entry.get("cluster") or ""), "cluster")
    user = _named(document, "users", str(entry["user"]), "user") if entry.get("user") else {}
    for key in ("exec", "auth-provider"):
        if key in user:
            raise KubeconfigError(
                f"user {entry['user']!r} fetches credentials with {key}, which is never run from here; use one with a "
                "certificate or token, or deploy with the official Pulumi CLI"
            )
    if server.get("proxy-url"):
        raise KubeconfigError("proxy-url is not supported; give the address of the API server itself")
    address = server.get("server")
    if not isinstance(address, str) or not address.startswith(("https://", "http://")):
        raise KubeconfigError(f"cluster of context {chosen!r} has no `server` address")
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = _file(folder, str(user["tokenFile"])).decode(errors="replace").strip()
    return Connection(
        server=address.rstrip("/"),
        namespace=str(entry.get("namespace") or ""),
        certificate_authority=_bytes(server, "certificate-authority", folder),
        tls_server_name=str(server.get("tls-server-name") or ""),
        skip_tls_verify=server.get("insecure-skip-tls-verify") is True,
        client_certificate=_bytes(user, "client-certificate", folder),
        client_key=_bytes(user, "client-key", folder),
        token=token,
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
    )


def _document(kubeconfig: str, root: Path) -> tuple[dict[str, Any], Path]:
    """The parsed kubeconfig, and the folder that relative paths in it start from."""
    import yaml

    folder, text = root, kubeconfig
    if "\n" not in kubeconfig and not kubeconfig.lstrip().startswith("{"):
        path = root / Path(kubeconfig).expanduser()
        folder = path.parent
        text = _file(folder, path.name).decode(errors="replace")
    if len(text) > _MOST_BYTES:
        raise KubeconfigError(f"larger than {_MOST_BYTES} bytes")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        raise KubeconfigError("neither YAML nor JSON") from None  # the error would quote the text
    if not isinstance(document, dict):
        raise KubeconfigError("expected a mapping with clusters, contexts and users")
    return document, folder


def _named(document: Mapping[str, Any], section: str, name: str, kind: str) -> Mapping[str, Any]:
    entries = document.get(section) or []
    names = []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and isinstance(entry.get(kind), Mapping):
            if entry.get("name") == name:
                return dict(entry[kind])
            names.append(str(entry.get("name")))
    raise KubeconfigError(f"no {kind} named {name!r}; it has {', '.join(names) or 'none'}")


def _bytes(entry: Mapping[str, Any], key: str, folder: Path) -> bytes:
    data = entry.get(f"{key}-data")
    if isinstance(data, str) and data:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error:
            raise KubeconfigError(f"{key}-data is not base64") from None
    name = entry.get(key)
    return _file(folder, name) if isinstance(name, str) and name else b""


def _file(folder: Path, name: str) -> bytes:
    path = folder / Path(name).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KubeconfigError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise KubeconfigError(f"{path} is larger than {_MOST_BYTES} bytes")
    return content
