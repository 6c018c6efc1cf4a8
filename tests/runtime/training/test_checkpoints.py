"""A checkpoint is whole or it is none: whatever was cut short or changed is refused, and the one before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.settings import Settings
from runtime.training.checkpoints import CheckpointStore, DamagedCheckpointError, share
from runtime.training.errors import ArtifactError, ConfigurationError, StoreUnavailableError
from runtime.training.objects import DirectoryStore, ObjectStore, open_store, persist
from tests.support.runtime_servers import Aws

RUN = {"training set": "a", "parameters": "b"}


def state(step: int) -> dict[str, torch.Tensor]:
    return {"model/weight": torch.full((3, 2), float(step)), "optimizer/step/weight": torch.tensor(float(step))}


def saved(store: ObjectStore, *steps: int, world_size: int = 2) -> CheckpointStore:
    checkpoints = CheckpointStore(store, RUN)
    for step in steps:
        shards = [
            shard
            for rank in range(world_size)
            for shard in checkpoints.write_shards(step, rank, world_size, share(state(step), rank, world_size))
        ]
        checkpoints.commit(step, world_size, {"step": step}, shards)
    return checkpoints


def shard_files(root: Path, step: int) -> list[Path]:
    return sorted((root / f"step-{step:012d}").glob("*.safetensors"))


def latest(checkpoints: CheckpointStore) -> tuple[int | None, list[str]]:
    refused: list[str] = []
    found = checkpoints.latest(refused.append)
    return (found.manifest.step if found else None), refused


def test_what_was_saved_by_any_number_of_workers_is_read_whole(tmp_path: Path) -> None:
    for world_size in (1, 2, 5):
        found = saved(DirectoryStore(tmp_path / str(world_size)), 7, world_size=world_size).latest()
        assert found is not None
        assert found.manifest.progress == {"step": 7}
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state(7).items())


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=30), st.integers(1, 6))
def test_shares_are_everything_once_and_about_even(sizes: list[int], world_size: int) -> None:
    tensors = {f"t{n}": torch.zeros(size, dtype=torch.uint8) for n, size in enumerate(sizes)}
    shares = [share(tensors, rank, world_size) for rank in range(world_size)]
    names = [name for part in shares for name in part]
    assert sorted(names) == sorted(tensors)
    loads = [sum(tensor.nbytes for tensor in part.values()) for part in shares]
    assert max(loads) - min(loads) <= max(sizes)


def cut_shard(root: Path) -> None:
    path = shard_files(root, 20)[0]
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(root: Path) -> None:
    path = shard_files(root, 20)[-1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def lose_a_shard(root: Path) -> None:
    shard_files(root, 20)[1].unlink()


def cut_manifest(root: Path) -> None:
    path = root / f"step-{20:012d}" / "manifest.json"
    path.write_text(path.read_text()[:-20])


def change_manifest(root: Path) -> None:
    path = root / f"step-{20:012d}" / "manifest.json"
    path.write_text(path.read_text().replace('"step": 20', '"step": 21'))


def name_a_file_elsewhere(root: Path) -> None:
    path = root / f"step-{20:012d}" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["key"] = "../../../etc/passwd"
    path.write_text(json.dumps(manifest))


DAMAGES = [cut_shard, flip_a_bit, lose_a_shard, cut_manifest, change_manifest, name_a_file_elsewhere]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_used(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    checkpoints = saved(DirectoryStore(tmp_path), 10, 20)
    damage(tmp_path)
    step, refused = latest(checkpoints)
    assert step == 10
    assert len(refused) == 1
    assert "step-000000000020" in refused[0]


def test_without_a_manifest_there_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(DirectoryStore(tmp_path), 10)
    checkpoints.write_shards(20, 0, 1, state(20))
    assert latest(checkpoints) == (10, [])


def test_when_all_are_damaged_the_job_starts_anew_and_says_why(tmp_path: Path) -> None:
    checkpoints = saved(DirectoryStore(tmp_path), 10, 20)
    for step in (10, 20):
        shard_files(tmp_path, step)[0].unlink()
    step, refused = latest(checkpoints)
    assert step is None
    assert len(refused) == 2


def test_a_checkpoint_of_another_run_is_an_error(tmp_path: Path) -> None:
    saved(DirectoryStore(tmp_path), 10)
    with pytest.raises(ArtifactError, match="another parameters"):
        CheckpointStore(DirectoryStore(tmp_path), {**RUN, "parameters": "c"}).latest()


def test_nothing_in_a_checkpoint_is_unpickled(tmp_path: Path) -> None:
    checkpoints = saved(DirectoryStore(tmp_path), 10)
    torch.save(state(10), shard_files(tmp_path, 10)[0])
    with pytest.raises(DamagedCheckpointError, match="does not match its digest"):
        checkpoints.load(10)


def test_pruning_keeps_the_newest_and_whatever_is_being_written(tmp_path: Path) -> None:
    checkpoints = saved(DirectoryStore(tmp_path), 10, 20, 30, 40)
    checkpoints.write_shards(50, 0, 1, state(50))
    checkpoints.write_shards(15, 0, 1, state(15))
    checkpoints.prune(2)
    assert checkpoints.steps() == [30, 40]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{n:012d}" for n in (30, 40, 50)]
    assert latest(checkpoints) == (40, [])


def test_the_same_on_s3(aws: Aws, settings: Settings) -> None:
    bucket = "checkpoints-of-a-test"
    aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": settings.aws_region})
    store = open_store(settings, f"s3://{bucket}/runs/a")
    checkpoints = saved(store, 10, 20, 30)
    checkpoints.prune(2)
    assert checkpoints.steps() == [20, 30]
    witness = aws.client("s3")
    key = f"runs/a/{checkpoints.load(30).manifest.shards[0].key}"
    body = witness.get_object(Bucket=bucket, Key=key)["Body"].read()
    witness.put_object(Bucket=bucket, Key=key, Body=body[:-1])
    step, refused = latest(checkpoints)
    assert step == 20
    assert len(refused) == 1


def test_a_bucket_that_does_not_exist_is_said_at_once(settings: Settings) -> None:
    store = open_store(settings, "s3://no-such-bucket-anywhere/runs")
    with pytest.raises(ConfigurationError, match="NoSuchBucket"):
        persist(lambda: store.put("x", b""), retry_seconds=60)


def test_retries_are_bounded_in_time_and_tell_what_failed() -> None:
    now = [0.0]
    tries = []

    def work() -> None:
        tries.append(now[0])
        raise StoreUnavailableError("s3://bucket: S3 did not answer")

    def pause(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(StoreUnavailableError, match=r"did not answer; gave up after 30 s"):
        persist(work, retry_seconds=30, clock=lambda: now[0], pause=pause)
    assert 5 <= len(tries) <= 20
    assert now[0] <= 30


def test_a_store_that_comes_back_in_time_is_not_an_error() -> None:
    now = [0.0]

    def work() -> str:
        if now[0] < 10:
            raise StoreUnavailableError("away")
        return "written"

    def pause(seconds: float) -> None:
        now[0] += seconds

    assert persist(work, retry_seconds=30, clock=lambda: now[0], pause=pause) == "written"


@pytest.mark.parametrize("uri", ["s3://", "http://bucket/x", "gs://bucket"])
def test_other_places_are_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(Settings(), uri)
