"""How much time the embedded engine adds to a program.

    python benchmarks/engine.py [--resources 100,300,1000] [--repeats 3] [--json] [--most-ratio 1.5]

For each size one program runs against a monitor that answers every registration at once (the program's own time: start
of the interpreter, imports, SDK, gRPC), and then through the engine with a provider that does nothing: a first `up`, an
`up` without changes and a `preview`.  All is measured in one run, the program alone and the engine in turns:

- elapsed: the total less the program alone.  Engine and program work side by side, so this can be less than their sum;
- processor time of the engine's process, which does not depend on what else the machine does.

``--most-ratio`` sets the exit code: 1 when the engine took more than that many times the processor time of the program
that it ran.  The key derivation for secrets (0.25 s once per process) is left out: the stacks have no passphrase.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

PARALLEL: Final = 16
MOST_RESOURCES: Final = 5000
PROGRAM_LIMIT_SECONDS: Final = 120.0
PROGRAM: Final = """
import pulumi
from pulumi import ComponentResource, CustomResource, ResourceOptions


class Thing(CustomResource):
    def __init__(self, name, opts=None, **inputs):
        super().__init__("bench:index:Thing", name, {**inputs, "echo": None}, opts)


class Group(ComponentResource):
    def __init__(self, name):
        super().__init__("bench:index:Group", name)


count = pulumi.Config().require_int("count")
tags = {"owner": "platform", "cost-centre": "benchmark", "data-class": "open"}
group = first = None
for i in range(count):
    if i % 20 == 0:  # a component, and a resource that its neighbours depend on
        group = Group(f"group-{i}")
        first = Thing(f"thing-{i}", value=i, tags=tags, opts=ResourceOptions(parent=group))
    else:
        Thing(f"thing-{i}", value=first.echo, size_gib=i, tags=tags, opts=ResourceOptions(parent=group))
pulumi.export("count", count)
"""


@dataclass(frozen=True)
class Measurement:
    """Medians of the repeats, in seconds; of the first up there is only one."""

    operation: str
    resources: int
    total_seconds: float
    program_seconds: float
    engine_cpu_seconds: float
    program_cpu_seconds: float

    @property
    def added_ms_per_resource(self) -> float:
        """Elapsed."""
        return (self.total_seconds - self.program_seconds) * 1000 / self.resources

    @property
    def engine_cpu_ms_per_resource(self) -> float:
        return self.engine_cpu_seconds * 1000 / self.resources

    @property
    def ratio(self) -> float:
        return self.engine_cpu_seconds / self.program_cpu_seconds


# -- the program alone ----------------------------------------------------------------------------


class IdleMonitor:
    """A monitor that knows nothing and answers everything at once; use in a ``with`` statement."""

    def __init__(self) -> None:
        import grpc
        from google.protobuf import empty_pb2
        from pulumi.runtime.proto import engine_pb2_grpc, resource_pb2, resource_pb2_grpc

        numbering = resource_pb2.DeploymentInfo.DESCRIPTOR.fields_by_name["supportedFeatures"].enum_type
        features: Any = list(numbering.values_by_number) if numbering else []
        monitor = self

        class Monitor(resource_pb2_grpc.ResourceMonitorServicer):
            def GetDeploymentInfo(self, request: Any, context: Any) -> Any:
                return resource_pb2.DeploymentInfo(parallel=PARALLEL, supportedFeatures=features)

            def SupportsFeature(self, request: Any, context: Any) -> Any:
                return resource_pb2.SupportsFeatureResponse(hasSupport=True)

            def RegisterResource(self, request: Any, context: Any) -> Any:
                monitor.names.add(request.name)
                urn = f"urn:pulumi:dev::bench::{request.type}::{request.name}"
                answer = resource_pb2.RegisterResourceResponse(urn=urn, id="id" if request.custom else "")
                if request.custom:
                    answer.object.CopyFrom(request.object)
                    answer.object["echo"] = request.name
                return answer

            def RegisterResourceOutputs(self, request: Any, context: Any) -> Any:
                return empty_pb2.Empty()

            def SignalAndWaitForShutdown(self, request: Any, context: Any) -> Any:
                return empty_pb2.Empty()

        class Engine(engine_pb2_grpc.EngineServicer):
            def Log(self, request: Any, context: Any) -> Any:
                return empty_pb2.Empty()

        self.names: set[str] = set()
        self._server = grpc.server(ThreadPoolExecutor(PARALLEL * 4 + 4))
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(Monitor(), self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(Engine(), self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> IdleMonitor:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


def run_program_alone(folder: Path, count: int) -> None:
    """The program, started as the engine starts it.  Raises RuntimeError when it does not do what it should."""
    from falaj.engine.program import Program, ProgramSettings
    from falaj.engine.project import Configuration, load_project

    project = load_project(folder)
    said: list[str] = []
    code: SimpleQueue[int] = SimpleQueue()
    with IdleMonitor() as monitor:
        program = Program(project)
        settings = ProgramSettings(project, "dev", Configuration({"bench:count": str(count)}), False, PARALLEL)
        program.run(settings, monitor.address, lambda severity, line: said.append(line), code.put)
        ended = code.get(timeout=PROGRAM_LIMIT_SECONDS)
        program.end()
    things = sum(name.startswith("thing-") for name in monitor.names)
    if ended or things != count:
        raise RuntimeError(f"the program ended with {ended} after {things} of {count} resources: {said[-5:]}")


# -- through the engine ---------------------------------------------------------------------------


class IdleProvider:
    """Every call succeeds at once; a difference is one in the inputs."""

    package, version, accepts_secrets = "bench", "1.0.0", True

    def check_config(self, urn: str, old_inputs: Any, new_inputs: Any) -> Any:
        from falaj.engine.provider import CheckResult

        return CheckResult(new_inputs)

    def diff_config(self, urn: str, id: str, old_inputs: Any, old_outputs: Any, new_inputs: Any, ignore: Any) -> Any:
        from falaj.engine.provider import Changes, DiffResult

        return DiffResult(Changes.NONE if old_inputs == new_inputs else Changes.SOME)

    def configure(self, urn: str, id: str, inputs: Any) -> None:
        pass

    def check(self, urn: str, type: str, name: str, old_inputs: Any, new_inputs: Any, random_seed: bytes) -> Any:
        from falaj.engine.provider import CheckResult

        return CheckResult(new_inputs)

    def diff(
        self, urn: str, type: str, id: str, old_inputs: Any, old_outputs: Any, new_inputs: Any, ignore: Any
    ) -> Any:
        from falaj.engine.provider import Changes, DiffResult

        return DiffResult(Changes.NONE if old_inputs == new_inputs else Changes.SOME)

    def create(self, urn: str, type: str, name: str, inputs: Any, timeout_seconds: float, preview: bool) -> Any:
        from falaj.engine.provider import CreateResult

        return CreateResult("" if preview else f"id-{name}", {**inputs, "echo": name})

    def read(self, urn: str, type: str, name: str, id: str, old_inputs: Any, old_outputs: Any) -> Any:
        from falaj.engine.provider import ReadResult

        return ReadResult(id, old_outputs, old_inputs)

    def update(
        self,
        urn: str,
        type: str,
        id: str,
        old_inputs: Any,
        old_outputs: Any,
        new_inputs: Any,
        timeout_seconds: float,
        ignore: Any,
        preview: bool,
    ) -> Any:
        return {**new_inputs, "echo": old_outputs["echo"]}

    def delete(self, urn: str, type: str, id: str, old_inputs: Any, old_outputs: Any, timeout_seconds: float) -> None:
        pass

    def invoke(self, token: str, args: Any) -> Any:
        from falaj.engine.provider import InvokeResult

        return InvokeResult({})

    def cancel(self) -> None:
        pass


class IdleHost:
    def load(self, package: str, version: str) -> IdleProvider:
        return IdleProvider()


def run_engine(project: Path, state: Path, operation: str) -> None:
    from falaj.engine.options import Options
    from falaj.engine.stack import Stack

    stack = Stack.open(project, "dev", state_dir=state, host=IdleHost(), passphrase=None)
    deploy = stack.preview if operation == "preview" else stack.up
    deploy(Options(parallel=PARALLEL), lambda event: None)


# -- measuring ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    elapsed: float
    own_cpu: float
    children_cpu: float


def timed(work: Callable[[], None]) -> Times:
    """``children_cpu``: of the processes that the work has started and waited for."""
    before = [_cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)]
    start = time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    return Times(elapsed, _cpu(resource.RUSAGE_SELF) - before[0], _cpu(resource.RUSAGE_CHILDREN) - before[1])


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(count: int, repeats: int, work: Path) -> list[Measurement]:
    """All operations at one size.  The program alone and through the engine take turns, so that both see the same
    load of the machine."""
    project, state = work / f"project-{count}", work / f"state-{count}"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
    (project / "__main__.py").write_text(PROGRAM)
    (project / "Pulumi.dev.yaml").write_text(f'config:\n  bench:count: "{count}"\n')
    run_program_alone(project, 1)  # byte code and file cache
    run_engine(project, work / "warm-up", "preview")  # imports of the engine
    alone: list[Times] = []
    through: dict[str, list[Times]] = {"up": [], "up, no changes": [], "preview, no changes": []}
    for _ in range(repeats):
        alone.append(timed(lambda: run_program_alone(project, count)))
        if not through["up"]:
            through["up"].append(timed(lambda: run_engine(project, state, "up")))
        through["up, no changes"].append(timed(lambda: run_engine(project, state, "up")))
        through["preview, no changes"].append(timed(lambda: run_engine(project, state, "preview")))
    return [
        Measurement(
            name,
            count,
            statistics.median(times.elapsed for times in runs),
            statistics.median(times.elapsed for times in alone),
            statistics.median(times.own_cpu for times in runs),
            statistics.median(times.children_cpu for times in alone),
        )
        for name, runs in through.items()
    ]


def show(measurements: Sequence[Measurement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Embedded engine against the program alone")
    table.add_column("resources", justify="right")
    table.add_column("operation", no_wrap=True)
    for heading in (
        "total, s",
        "program alone, s",
        "added, ms/resource",
        "engine CPU, ms/resource",
        "engine CPU / program CPU",
    ):
        table.add_column(heading, justify="right")
    for item in measurements:
        table.add_row(
            f"{item.resources:,}",
            item.operation,
            f"{item.total_seconds:.2f}",
            f"{item.program_seconds:.2f}",
            f"{item.added_ms_per_resource:.2f}",
            f"{item.engine_cpu_ms_per_resource:.2f}",
            f"{item.ratio:.2f}",
        )
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How much time the embedded engine adds to a program.")
    parser.add_argument("--resources", default="100,300,1000", help="sizes, separated by commas")
    parser.add_argument("--repeats", type=int, choices=range(1, 21), default=3, metavar="1..20")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--most-ratio", type=float, help="exit code 1 when engine CPU / program CPU is more than this")
    options = parser.parse_args(arguments)
    counts = [int(part) for part in options.resources.split(",")]
    if not all(1 <= count <= MOST_RESOURCES for count in counts):
        parser.error(f"--resources {options.resources}: each size is to be 1 to {MOST_RESOURCES}")
    with tempfile.TemporaryDirectory() as folder:
        measurements = [item for count in counts for item in measure(count, options.repeats, Path(folder))]
    if options.json:
        for item in measurements:
            print(
                json.dumps(
                    {
                        **asdict(item),
                        "ratio": item.ratio,
                        "added_ms_per_resource": item.added_ms_per_resource,
                        "engine_cpu_ms_per_resource": item.engine_cpu_ms_per_resource,
                    }
                )
            )
    else:
        show(measurements)
    worst = max(item.ratio for item in measurements)
    return 1 if options.most_ratio is not None and worst > options.most_ratio else 0


if __name__ == "__main__":
    sys.exit(main())
