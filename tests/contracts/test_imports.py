"""Guards the direction of imports: a cycle between the layers would make each of them untestable alone."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT_PULUMI = ("components/", "stacks/", "policies/adapter.py", "policies/packs/")


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(*folders: str) -> list[Path]:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert files, f"no sources in {folders}"
    return files


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_named_places_import_pulumi() -> None:
    offenders = [
        f"{name}: {module}"
        for path in sources("falaj", "blueprints", "components", "policies", "stacks")
        for module in imported_modules(path)
        if module.split(".")[0] in ("pulumi", "pulumi_aws", "pulumi_policy")
        and not (name := path.relative_to(ROOT).as_posix()).startswith((*MAY_IMPORT_PULUMI, "falaj/engine/"))
    ]
    assert offenders == []


def test_the_engine_takes_the_protocol_from_pulumi_and_nothing_else() -> None:
    allowed = ("pulumi.runtime.proto", "pulumi.runtime.proto.")
    # The launcher runs inside the user's program, where the SDK is the point.
    offenders = [
        f"{path.name}: {module}"
        for path in sources("falaj/engine")
        if path.name != "launcher.py"
        for module in imported_modules(path)
        if module.split(".")[0] == "pulumi" and not module.startswith(allowed)
    ]
    assert offenders == []
