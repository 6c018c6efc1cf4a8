"""A stack in a scratch folder: a backend as ``pulumi stack init`` leaves it, a program, a world, and the logs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falaj.engine.checkpoint import decode
from falaj.engine.integrity import problems
from falaj.engine.secrets import PassphraseCrypter
from tests.engine.oracle.fake_world import World
from tests.engine.oracle.normalise import crypter
from tests.engine.oracle.request import Request
from tests.engine.oracle.scenario import DATA, PASSPHRASE, PROJECT

Json = dict[str, Any]

_EMPTY = DATA / "state-samples" / "empty" / "backend" / ".pulumi"


class Scratch:
    """``program`` is copied to the folder; the stacks in it share a backend, a world and one log of provider calls."""

    def __init__(self, work: Path, program: Path) -> None:
        self.work = work.resolve()
        self.program = self.work / "program"
        self.state = self.work / "state"
        self.calls = self.work / "calls.jsonl"
        self.world = World(self.work / "world.json")
        self.work.mkdir(parents=True, exist_ok=True)
        shutil.copytree(program, self.program)
        self._salt = ""

    def init_stack(self, name: str) -> None:
        """Puts the files there that ``pulumi stack init`` wrote for the sample ``empty``."""
        raw = json.loads((_EMPTY / "stacks" / PROJECT / "dev.json").read_text())
        raw["checkpoint"]["stack"] = f"organization/{PROJECT}/{name}"
        self._salt = raw["checkpoint"]["latest"]["secrets_providers"]["state"]["salt"]
        self.stack_file(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_EMPTY / "meta.yaml", self.state / ".pulumi" / "meta.yaml")
        self.stack_file(name).write_text(json.dumps(raw, separators=(",", ":")))
        self.configure(name, {})

    def configure(self, stack: str, values: Mapping[str, Any]) -> None:
        """Writes Pulumi.<stack>.yaml.  Keys without a namespace are the project's; ``{"secret": x}`` is encrypted."""
        text = f"encryptionsalt: {self._salt}\nconfig:\n" if values else f"encryptionsalt: {self._salt}\n"
        for key, value in sorted(values.items()):
            name = key if ":" in key else f"{PROJECT}:{key}"
            text += f"  {name}: {json.dumps(self._encrypted(value))}\n"
        (self.program / f"Pulumi.{stack}.yaml").write_text(text)

    def request(self, command: str, stack: str, event_log: str, **fields: Any) -> Request:
        """The command on a stack of this folder; ``event_log`` is the name of the file to write events to."""
        environment = {"PYTHONPATH": str(DATA / "sdk"), **fields.pop("environment", {})}
        return Request(
            command=command,
            project_dir=str(self.program),
            stack=stack,
            state_dir=str(self.state),
            passphrase=PASSPHRASE,
            world=str(self.world.path),
            call_log=str(self.calls),
            event_log=str(self.work / event_log),
            environment=environment,
            **fields,
        )

    def stack_file(self, stack: str) -> Path:
        return self.state / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"

    def raw_checkpoint(self, stack: str) -> Json:
        return dict(json.loads(self.stack_file(stack).read_text()))

    def history_files(self, stack: str) -> list[Path]:
        return list((self.state / ".pulumi" / "history" / PROJECT / stack).glob("*.history.json"))

    def lock_files(self, stack: str) -> list[Path]:
        return list((self.state / ".pulumi" / "locks" / "organization" / PROJECT / stack).glob("*.json"))

    def breaches(self, stack: str) -> list[str]:
        """What the engine's integrity checker finds in the file as it lies there."""
        file = self.stack_file(stack)
        return problems(decode(file.read_bytes(), str(file), PassphraseCrypter(PASSPHRASE, self._salt)))

    def _encrypted(self, value: Any) -> Any:
        """{"secret": TEXT} -> {"secure": CIPHERTEXT} at any depth."""
        if isinstance(value, dict):
            if list(value) == ["secret"]:
                return {"secure": crypter(PASSPHRASE, self._salt).encrypt(value["secret"])}
            return {key: self._encrypted(item) for key, item in value.items()}
        return [self._encrypted(item) for item in value] if isinstance(value, list) else value
