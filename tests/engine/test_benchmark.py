"""The benchmark of the engine measures what it says it measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engine import main, run_program_alone


@pytest.mark.slow
def test_each_operation_is_measured_against_the_program_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resources", "21", "--repeats", "1", "--json"]) == 0
    measured = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["operation"] for item in measured] == ["up", "up, no changes", "preview, no changes"]
    for item in measured:
        assert item["resources"] == 21
        assert item["ratio"] == pytest.approx(item["engine_cpu_seconds"] / item["program_cpu_seconds"])
        assert item["engine_cpu_seconds"] > 0


@pytest.mark.slow
def test_a_ratio_that_is_not_kept_is_an_exit_code() -> None:
    assert main(["--resources", "1", "--repeats", "1", "--most-ratio", "0.0001"]) == 1


@pytest.mark.slow
def test_a_program_that_registers_too_little_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("import pulumi\n")
    with pytest.raises(RuntimeError, match="0 of 5 resources"):
        run_program_alone(tmp_path, 5)


@pytest.mark.parametrize("sizes", ["0", "5001", "100,-1"])
def test_sizes_are_bounded(sizes: str) -> None:
    with pytest.raises(SystemExit):
        main([f"--resources={sizes}"])
