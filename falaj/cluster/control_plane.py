"""The life of the local control plane: up, found again, mended, down.

Everything lies in one directory (``.falaj/cluster``): certificates, etcd's data, configuration, logs, the record of
processes.  ``down`` keeps the data, so that the next ``up`` continues; ``down(purge=True)`` leaves nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blueprints.region import Catalogue, catalogue
from falaj.cluster import access, configuration, karpenter, kubeconfig, kwok
from falaj.cluster.api import ApiClient, Endpoint, answers, has_condition
from falaj.cluster.binaries import Binaries
from falaj.cluster.certificates import Identity, write_private
from falaj.cluster.configuration import (
    ADMINISTRATOR,
    API_SERVER,
    CLIENTS,
    CONTROLLER_MANAGER,
    ETCD,
    KARPENTER,
    KWOK,
    LOOPBACK,
    SCHEDULER,
    Layout,
)
from falaj.cluster.crds import SOURCE_ANNOTATION, definitions
from falaj.cluster.errors import ApiError, ClusterError, ProcessError
from falaj.cluster.ports import PortBook
from falaj.cluster.processes import ProcessSet, Program, describe_end

DEFAULT_REGION: Final = "me-central-1"
START_TIMEOUT_SECONDS: Final = 90.0
"""Ten times what a start takes on two idle cores: a machine that builds something beside it is no reason to fail."""

_STOP_ORDER: Final = ((KARPENTER, KWOK, SCHEDULER, CONTROLLER_MANAGER), (API_SERVER,), (ETCD,))
_DEFINITIONS_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_DEFAULT_ACCOUNT: Final = "/api/v1/namespaces/default/serviceaccounts/default"
_KARPENTER_GROUPS: Final = ("karpenter.sh", "karpenter.kwok.sh")


@dataclass(frozen=True)
class Options:
    """What a user chooses.  ``port``: of the API server, None for a free one, which is then kept."""

    port: int | None = None
    autoscaler: bool = True
    """Whether Karpenter runs."""
    region: Catalogue | None = None
    """Whose instance types Karpenter buys; by default those of the region as the catalogue has it.  With another list,
    as after a zone was lost in a drill, `up` starts Karpenter anew and leaves the rest alone."""
    audit: bool = True
    """Whether the API server writes its audit log."""
    heap_growth_percent: int = 100
    """How far each program's heap grows between two collections (GOGC).  At 100 the API server spends a third of its
    processor time on them while thousands of pods are placed; more trades memory for it."""


@dataclass(frozen=True)
class ProcessStatus:
    """One program as it is now.  ``resident_bytes`` is 0 and ``note`` says how it ended when it is not alive."""

    name: str
    pid: int
    alive: bool
    resident_bytes: int
    log: str
    note: str = ""


@dataclass(frozen=True)
class Status:
    """The control plane as it is now."""

    endpoint_url: str
    kubeconfig: Path
    ready: bool
    processes: tuple[ProcessStatus, ...]

    @property
    def resident_bytes(self) -> int:
        return sum(process.resident_bytes for process in self.processes)


@dataclass(frozen=True)
class Started:
    """What ``up`` did.  ``started`` is empty when everything ran already; ``mended`` tells how programs had ended."""

    status: Status
    started: tuple[str, ...]
    mended: tuple[str, ...]
    seconds: float


class ControlPlane:
    """The control plane in ``directory``.  Any process may call any method; changes take turns."""

    def __init__(self, directory: Path) -> None:
        self._layout = Layout(directory.absolute())
        self._processes = ProcessSet(directory)
        self._ports = PortBook(self._layout.directory)

    @property
    def directory(self) -> Path:
        return self._layout.directory

    @property
    def layout(self) -> Layout:
        return self._layout

    def up(self, binaries: Binaries, options: Options | None = None) -> Started:
        """Starts what does not run, or runs with other settings than these, and returns when all of it is ready.

        Raises PortInUseError for a port that was asked for and is taken, ProcessError with the end of its log for a
        program that does not start.  A first start that fails leaves nothing running.
        """
        options = options or Options()
        began = time.monotonic()
        with self._locked():
            self._processes.end_strays()
            standing = {name: process for name, process in self._processes.recorded().items() if process.alive}
            started: set[str] = set()
            ended: dict[str, str] = {}
            try:
                while True:
                    try:
                        self._bring_up(binaries, options, started, ended)
                        break
                    except ProcessError:
                        # Programs killed together end one after the other: one may have looked alive a moment ago.
                        if all(process.alive for process in standing.values() if process.name not in ended):
                            raise
            except BaseException:
                if not standing:
                    self._processes.stop(_STOP_ORDER)
                raise
            ours = tuple(name for group in reversed(_STOP_ORDER) for name in reversed(group) if name in started)
            return Started(self._status(), ours, tuple(ended.values()), time.monotonic() - began)

    def down(self, *, purge: bool = False) -> bool:
        """Ends everything; False when nothing ran.  With ``purge`` the data, certificates and logs go too."""
        if not self.directory.is_dir():
            return False
        with self._locked():
            ran = bool(self._processes.stop(_STOP_ORDER))
            if purge:
                for name in ("pki", "etcd", "config", "logs"):
                    shutil.rmtree(self.directory / name, ignore_errors=True)
                for name in ("kubeconfig", "ports.json"):
                    (self.directory / name).unlink(missing_ok=True)
        return ran

    def status(self) -> Status | None:
        """How it stands; None when it was never started, or was taken down."""
        return self._status() if self._processes.recorded() else None

    def client(self, identity: Identity = ADMINISTRATOR) -> ApiClient:
        """A client as ``identity``, by default the administrator.  Raises ClusterError when there is no cluster."""
        certificate, key = self._layout.authority.paths(identity.name)
        return ApiClient(
            Endpoint(LOOPBACK, self._ports.port("api"), self._layout.authority.certificate_path, certificate, key)
        )

    def write_user_kubeconfig(self, path: Path, user: str, groups: tuple[str, ...] = ()) -> None:
        """Writes a kubeconfig for a new certificate of ``user``, to see the cluster as that user does.

        Raises ClusterError for names that Kubernetes keeps for itself, and when the cluster is not made.
        """
        for name in (user, *groups):
            if not name or name.startswith("system:") or len(name) > 64:
                raise ClusterError(
                    f'user or group "{name}": 1 to 64 characters that do not begin with `system:`, which names '
                    "Kubernetes' own"
                )
        server = f"https://{LOOPBACK}:{self._ports.port('api')}"
        digest = hashlib.sha256(json.dumps([user, *groups]).encode()).hexdigest()[:16]
        with self._locked():
            authority = self._layout.authority
            certificate, key = authority.issue(Identity(f"user-{digest}", user, groups=groups))
        kubeconfig.write(path, server, authority.certificate_path, certificate, key, user=user)

    # -- start ---------------------------------------------------------------------------------------------------------

    def _bring_up(self, binaries: Binaries, options: Options, started: set[str], ended: dict[str, str]) -> None:
        """Starts what is due.  Adds to ``started`` the names, and to ``ended`` how those that had ended did."""
        recorded = self._processes.recorded()
        standing = {name for name, process in recorded.items() if process.alive}
        ended |= {name: describe_end(process) for name, process in recorded.items() if name not in standing}
        ports = self._ports.choose(options.port, standing=standing, ended=set(recorded) - standing)
        self._write_configuration(ports, options)
        programs = self._programs(binaries, ports, options)
        due = {name for name, made in programs.items() if name not in standing or recorded[name].digest != made.digest}
        if due & standing & {ETCD, API_SERVER}:
            due |= set(programs)  # with clients still connected, the server takes its time to end
        unwanted = standing - set(programs)
        started |= due
        if due or unwanted or not self._answers():
            self._start(programs, due, unwanted, binaries)

    def _start(self, programs: Mapping[str, Program], due: set[str], unwanted: set[str], binaries: Binaries) -> None:
        for name in (name for group in _STOP_ORDER for name in group if name in unwanted | due):
            self._processes.stop_one(name)
        for name in (ETCD, API_SERVER):
            self._start_if(name, programs, due)
        self._processes.wait_ready({API_SERVER: self._answers}, START_TIMEOUT_SECONDS)
        for name in (CONTROLLER_MANAGER, SCHEDULER):
            self._start_if(name, programs, due)
        try:
            with self.client() as client:
                self._set_up(client, programs, due, binaries)
                self._processes.wait_ready(self._probes(programs, client), START_TIMEOUT_SECONDS)
        except ApiError:
            self._processes.raise_if_ended()  # says more than that nobody answers
            raise

    def _start_if(self, name: str, programs: Mapping[str, Program], due: set[str]) -> None:
        if name in due and name in programs:
            self._processes.start(programs[name])

    def _set_up(self, client: ApiClient, programs: Mapping[str, Program], due: set[str], binaries: Binaries) -> None:
        """Roles and resource definitions; each program starts as soon as what it needs is there."""
        for manifest in [*access.kwok_access(), *access.karpenter_access()]:
            client.apply(access.path_of(manifest), manifest)
        self._start_if(KWOK, programs, due)
        wanted = definitions(binaries.crds)
        first = [made for made in wanted if made["spec"]["group"] in _KARPENTER_GROUPS]
        there = {made["metadata"]["name"]: made for made in client.get(_DEFINITIONS_PATH)["items"]}
        for made in first:
            self._define(client, made, there)
        if KARPENTER in due:
            for made in first:
                name = made["metadata"]["name"]
                path = f"{_DEFINITIONS_PATH}/{name}"
                established = has_condition("Established")
                client.wait_for(path, established, timeout_seconds=START_TIMEOUT_SECONDS, what=f"{name} is not served")
        self._start_if(KARPENTER, programs, due)
        for made in wanted:
            if made not in first:
                self._define(client, made, there)

    @staticmethod
    def _define(client: ApiClient, definition: Mapping[str, Any], there: Mapping[str, Mapping[str, Any]]) -> None:
        """Applies a definition, unless the server has the one of the same source: it takes a moment for each."""
        name = definition["metadata"]["name"]
        known = ((there.get(name) or {}).get("metadata") or {}).get("annotations") or {}
        if known.get(SOURCE_ANNOTATION) != definition["metadata"]["annotations"][SOURCE_ANNOTATION]:
            client.apply(f"{_DEFINITIONS_PATH}/{name}", definition)

    def _probes(self, programs: Mapping[str, Program], client: ApiClient) -> dict[str, Callable[[], bool]]:
        trust = self._layout.authority.certificate_path

        def answering(port: str, path: str, *, tls: bool) -> Callable[[], bool]:
            endpoint = Endpoint(LOOPBACK, self._ports.port(port), trust if tls else None)
            return lambda: answers(endpoint, path)

        probes: dict[str, Callable[[], bool]] = {
            # Its first work is done when pods can be made: without this account they are refused.
            CONTROLLER_MANAGER: lambda: client.find(_DEFAULT_ACCOUNT) is not None,
            SCHEDULER: answering("scheduler", "/readyz", tls=True),
            KWOK: answering("kwok", "/healthz", tls=False),
        }
        if KARPENTER in programs:
            probes[KARPENTER] = answering("karpenter", "/readyz", tls=False)
        return probes

    def _answers(self) -> bool:
        try:
            endpoint = self.client().endpoint
        except ClusterError:
            return False
        return endpoint.certificate is not None and endpoint.certificate.is_file() and answers(endpoint, "/readyz")

    # -- what is started -----------------------------------------------------------------------------------------------

    def _programs(self, binaries: Binaries, ports: Mapping[str, int], options: Options) -> dict[str, Program]:
        """Every program in order of start.  Files that a program reads once stand in its ``configuration``."""
        layout, paths = self._layout, binaries.programs
        trust = _digest(layout.authority.certificate_path)

        collector = ("GOGC", str(options.heap_growth_percent))

        def program(name: str, command: tuple[str, ...], *files: Path) -> Program:
            return Program(name, command, (collector,), " ".join([trust, *map(_digest, files)]))

        made = [
            program(ETCD, configuration.etcd_command(paths[ETCD], layout, ports)),
            program(
                API_SERVER,
                configuration.api_server_command(paths[API_SERVER], layout, ports),
                layout.config("encryption.json"),
                layout.config("audit-policy.json"),
            ),
            program(
                CONTROLLER_MANAGER,
                configuration.controller_manager_command(paths[CONTROLLER_MANAGER], layout, ports),
                layout.client_config(CONTROLLER_MANAGER),
            ),
            program(
                SCHEDULER,
                configuration.scheduler_command(paths[SCHEDULER], layout, ports),
                layout.config("scheduler.json"),
                layout.client_config(SCHEDULER),
            ),
            program(KWOK, kwok.command(paths[KWOK], layout, ports, binaries.stages), layout.client_config(KWOK)),
        ]
        if options.autoscaler:
            read = " ".join(map(_digest, (layout.config("instance-types.json"), layout.client_config(KARPENTER))))
            command = karpenter.command(paths[KARPENTER], layout, ports)
            made.append(Program(KARPENTER, command, (collector, *karpenter.environment(layout)), f"{trust} {read}"))
        return {each.name: each for each in made}

    def _write_configuration(self, ports: Mapping[str, int], options: Options) -> None:
        layout = self._layout
        layout.config("").mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.audit_log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = layout.authority
        authority.ensure(configuration.identities())
        if not layout.config("encryption.json").is_file():
            # Once and for all: a new key could not read what the old one wrote.
            _write_json(
                layout.config("encryption.json"), configuration.encryption_configuration(secrets.token_bytes(32))
            )
        _write_json(layout.config("audit-policy.json"), configuration.audit_policy(enabled=options.audit))
        _write_json(layout.config("scheduler.json"), configuration.scheduler_configuration(layout))
        region = options.region or catalogue(DEFAULT_REGION)
        _write_json(layout.config("instance-types.json"), karpenter.instance_types(region))
        server = f"https://{LOOPBACK}:{ports['api']}"
        for name, user in [*CLIENTS.items(), (ADMINISTRATOR.name, ADMINISTRATOR.common_name)]:
            certificate, key = authority.paths(name)
            path = layout.kubeconfig if name == ADMINISTRATOR.name else layout.client_config(name)
            kubeconfig.write(path, server, authority.certificate_path, certificate, key, user=user)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _status(self) -> Status:
        recorded = self._processes.recorded()
        processes = tuple(
            ProcessStatus(
                process.name,
                process.pid,
                process.alive,
                process.resident_bytes,
                process.log,
                "" if process.alive else describe_end(process),
            )
            for process in recorded.values()
        )
        ready = bool(processes) and all(process.alive for process in processes) and self._answers()
        return Status(f"https://{LOOPBACK}:{self._ports.port('api')}", self._layout.kubeconfig, ready, processes)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time, across processes; the lock ends with its holder."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _write_json(path: Path, content: object) -> None:
    write_private(path, (json.dumps(content, indent=1) + "\n").encode())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
