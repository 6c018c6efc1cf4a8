import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.errors import ConfigError, UnsupportedError
from falaj.engine.events import PolicyLoaded
from falaj.engine.options import PolicyPack
from falaj.engine.policy import AnalyzedResource, PolicyClient, PolicyContext
from falaj.engine.policy_config import PolicyDescription, PolicySettings, breaches, load_settings, reconciled
from falaj.engine.policy_process import PackProcess, PolicyPackError
from falaj.engine.project import Configuration
from falaj.engine.values import UNKNOWN, Secret

PACK = Path(__file__).parent / "oracle" / "data" / "scenarios" / "38-policy" / "policy"
STACK = "urn:pulumi:dev::oracle::pulumi:pulumi:Stack::oracle-dev"
THING = "urn:pulumi:dev::oracle::fake:index:Thing::"
Open = Callable[..., PolicyClient]


def thing(name: str, **properties: Any) -> AnalyzedResource:
    return AnalyzedResource(THING + name, properties, parent=STACK)


def context(preview: bool = False) -> PolicyContext:
    configuration = Configuration({"oracle:step": "1", "oracle:pw": "hunter2"}, frozenset({"oracle:pw"}))
    return PolicyContext("oracle", "dev", preview, configuration)


def written(folder: Path, program: str, runtime: str = "python") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "PulumiPolicy.yaml").write_text(f"runtime: {runtime}\nversion: 9.8.7\n")
    (folder / "__main__.py").write_text(textwrap.dedent(program))
    return folder


@pytest.fixture
def opened() -> Iterator[Open]:
    clients: list[PolicyClient] = []

    def start(path: Path, config: Path | None = None, preview: bool = False, connect: bool = True) -> PolicyClient:
        clients.append(PolicyClient(PolicyPack(path, config), context(preview)))
        if connect:
            clients[-1].connect()
        return clients[-1]

    yield start
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def pack() -> Iterator[PolicyClient]:
    client = PolicyClient(PolicyPack(PACK), context(preview=True))
    client.connect()
    yield client
    client.close()


def test_a_pack_names_itself_and_its_policies(opened: Open) -> None:
    client = opened(PACK, connect=False)
    policies = ("advice", "forbidden", "owner", "needs-owner", "touches", "count")
    assert client.connect() == PolicyLoaded("corpus", "0.1.0", list(policies))


def test_violations_carry_level_text_and_resource(pack: PolicyClient) -> None:
    advice, forbidden = (pack.analyze(thing("a", value=value)) for value in ("odd", "forbidden"))
    assert [(v.policy, v.level, v.message, v.urn) for v in advice] == [
        ("advice", "advisory", "advises\nvalue is odd", THING + "a")
    ]
    assert [(v.policy, v.level, v.pack, v.pack_version) for v in forbidden] == [
        ("forbidden", "mandatory", "corpus", "0.1.0")
    ]
    assert pack.analyze(thing("a", value="even")) == []


def test_secrets_are_analyzed_like_what_they_hide(pack: PolicyClient) -> None:
    assert [v.policy for v in pack.analyze(thing("a", value=Secret("forbidden")))] == ["forbidden"]


def test_a_remediation_changes_inputs_and_keeps_secrets_and_inner_keys(pack: PolicyClient) -> None:
    inputs = {"tags": {"env": "dev"}, "password": Secret("x"), "__internal": {"a": 1}, "count": 3}
    found = pack.remediate(thing("a", **inputs))
    assert found.inputs == inputs | {"tags": {"env": "dev", "owner": "policy"}}
    ((event),) = found.remediations
    assert (event.policy, event.before, event.after) == ("owner", inputs, found.inputs)
    assert pack.remediate(thing("a", value=1)).inputs == {"value": 1}


def test_an_unknown_that_a_policy_touches_is_an_advice_in_a_preview(pack: PolicyClient) -> None:
    (violation,) = pack.analyze(thing("c", touched=UNKNOWN))
    assert (violation.policy, violation.level) == ("touches", "advisory")
    assert "can't run policy 'touches'" in violation.message


def test_a_stack_policy_without_a_resource_speaks_of_the_stack(pack: PolicyClient) -> None:
    (violation,) = pack.analyze_stack([thing(str(number), serial=1) for number in range(5)])
    assert (violation.policy, violation.level, violation.urn) == ("count", "advisory", STACK)
    assert violation.message == "limits the number of things\n5 things, at most 4.0"


def test_the_users_file_sets_levels_and_parameters(opened: Open) -> None:
    client = opened(PACK, PACK / "strict.json")
    assert "needs-owner" not in client.policies
    assert client.analyze(thing("a", value="odd"))[0].level == "mandatory"
    (violation,) = client.analyze_stack([thing(str(number), serial=1) for number in range(3)])
    assert (violation.level, violation.message.splitlines()[1]) == ("mandatory", "3 things, at most 2.0")


SEES = """
    import os, pulumi
    from pulumi_policy import PolicyPack, ResourceValidationPolicy

    def sees(args, report):
        options, provider = args.opts, args.provider
        report(repr([
            args.name, args.resource_type, sorted(args.props), options.protect, options.ignore_changes,
            options.delete_before_replace, options.parent, options.custom_timeouts.create_seconds,
            options.additional_secret_outputs, options.aliases, provider.name, provider.props["region"],
            pulumi.get_project(), pulumi.get_stack(), pulumi.Config("oracle").get("step"),
            [key for key in os.environ if "PASSPHRASE" in key],
        ]))

    PolicyPack("sees", [ResourceValidationPolicy("sees", "sees all", sees)])
"""


def test_a_policy_sees_options_provider_and_configuration(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "hidden")
    resource = AnalyzedResource(
        THING + "a",
        {"value": 1, "__defaults": []},
        parent=STACK,
        protect=True,
        ignore_changes=["x"],
        delete_before_replace=False,
        additional_secret_outputs=["y"],
        aliases=["z"],
        provider=("urn:pulumi:dev::oracle::pulumi:providers:fake::eu", {"region": "me-central-1", "__internal": {}}),
    )
    (violation,) = opened(written(tmp_path, SEES)).analyze(resource)
    seen = ["a", "fake:index:Thing", ["value"], True, ["x"], False, STACK, 0.0, ["y"], ["z"], "eu", "me-central-1"]
    assert violation.message.partition("\n")[2] == repr([*seen, "oracle", "dev", "1", []])


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise SystemExit(3)", "exit code 3: it said nothing"),
        ("import sys; print('no such module', file=sys.stderr); sys.exit(1)", "exit code 1: no such module"),
        ("1 / 0", "ZeroDivisionError"),
        ("print('hello')", "printed no port: 'hello'"),
    ],
)
def test_a_pack_that_does_not_come_up_is_an_error_with_its_last_words(
    opened: Open, tmp_path: Path, program: str, problem: str
) -> None:
    with pytest.raises(PolicyPackError, match=problem):
        opened(written(tmp_path, program))


FAILS = """
    import os
    from pulumi_policy import PolicyPack, ResourceValidationPolicy

    def fails(args, report):
        if args.props["value"] == "die":
            print("about to die", file=__import__("sys").stderr)
            os._exit(7)
        raise KeyError("a bug in the policy")

    PolicyPack("fails", [ResourceValidationPolicy("fails", "fails always", fails)])
"""


@pytest.mark.parametrize(("value", "problem"), [("throw", "a bug in the policy"), ("die", "exit code 7: about to die")])
def test_a_policy_that_throws_or_dies_is_an_error_and_no_clean_bill(
    opened: Open, tmp_path: Path, value: str, problem: str
) -> None:
    client = opened(written(tmp_path, FAILS))
    with pytest.raises(PolicyPackError, match=problem):
        client.analyze(thing("a", value=value))


def test_what_a_pack_prints_is_passed_on(tmp_path: Path) -> None:
    lines: list[tuple[str, bool]] = []
    folder = written(tmp_path, SEES)
    text = (folder / "__main__.py").read_text()
    (folder / "__main__.py").write_text(
        text.replace("def sees(args, report):", "def sees(args, report):\n    print('to whom it may concern')")
    )
    client = PolicyClient(PolicyPack(folder), context(), lambda line, error: lines.append((line, error)))
    try:
        client.connect()
        with pytest.raises(PolicyPackError):  # there is no provider to look at
            client.analyze(thing("a"))
    finally:
        client.close()
    assert ("to whom it may concern", False) in lines


def test_closing_ends_the_process(tmp_path: Path) -> None:
    client = PolicyClient(PolicyPack(written(tmp_path, SEES)), context())
    client.connect()
    process = client._process.pid
    client.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


ENGINE = """
import sys
from pathlib import Path
from falaj.engine.options import PolicyPack
from falaj.engine.policy import PolicyClient, PolicyContext
from falaj.engine.project import Configuration
client = PolicyClient(PolicyPack(Path(sys.argv[1])), PolicyContext("p", "s", False, Configuration({})))
client.connect()
print(client._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_pack_may_be_started_before_its_settings_are_known(tmp_path: Path) -> None:
    folder = written(tmp_path, SEES)
    process = PackProcess(folder)
    client = PolicyClient(PolicyPack(folder), context(), process=process)
    try:
        assert client.connect().policies == ["sees"]
    finally:
        client.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_pack_that_was_started_for_nothing_is_ended(tmp_path: Path) -> None:
    process = PackProcess(written(tmp_path, SEES))
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_the_configuration_is_not_in_the_environment_that_other_processes_see(opened: Open, tmp_path: Path) -> None:
    client = opened(written(tmp_path, SEES))
    assert b"hunter2" not in Path(f"/proc/{client._process.pid}/environ").read_bytes()


def test_a_pack_does_not_outlive_a_killed_engine(tmp_path: Path) -> None:
    folder = written(tmp_path, SEES)
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        pack_pid = int(engine.stdout.readline())
        descriptor = os.pidfd_open(pack_pid)
        engine.send_signal(signal.SIGKILL)
    import select

    ended, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    assert ended


def test_folders_without_a_python_pack_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PulumiPolicy\.yaml cannot be read"):
        PolicyClient(PolicyPack(tmp_path), context())
    with pytest.raises(UnsupportedError, match="nodejs"):
        PolicyClient(PolicyPack(written(tmp_path, "", runtime="nodejs")), context())
    with pytest.raises(ConfigError, match="virtual environment has no"):
        PolicyClient(PolicyPack(written(tmp_path, "", "{name: python, options: {virtualenv: none}}")), context())


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"count": {"most": "many"}}, r"count: most is 'many', which is no integer"),
        ({"cuont": "mandatory"}, r"there is no policy cuont; the pack has advice, count"),
        ({"count": "strict"}, r"'strict'; allowed are advisory, mandatory, disabled, remediate"),
        ({"count": 5}, "a level or an object is required"),
        ([], "an object with policies as keys"),
    ],
)
def test_unfit_settings_of_the_user_are_refused(opened: Open, tmp_path: Path, document: Any, problem: str) -> None:
    file = tmp_path / "levels.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=problem) as caught:
        opened(PACK, file)
    assert "levels.json" in str(caught.value)


def test_settings_files_that_are_missing_or_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        load_settings(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.json is no JSON"):
        load_settings(tmp_path / "bad.json")


def test_later_layers_win_and_all_comes_before_the_named() -> None:
    policies = [
        PolicyDescription("a", "advisory", {"n": {"type": "integer", "default": 1}, "m": {"default": 0}}),
        PolicyDescription("b", "mandatory"),
    ]
    initial = {"a": PolicySettings("mandatory", {"n": 2})}
    given = {"b": PolicySettings("remediate"), "all": PolicySettings("disabled"), "a": PolicySettings("", {"m": 5})}
    assert reconciled(policies, initial, given, where="f") == {
        "a": PolicySettings("disabled", {"n": 2, "m": 5}),
        "b": PolicySettings("remediate", {}),
    }


def test_a_required_parameter_is_required_only_while_the_policy_is_on() -> None:
    policies = [PolicyDescription("a", "advisory", {"n": {}}, ("n",))]
    with pytest.raises(ConfigError, match="f: a: the parameter 'n' is required"):
        reconciled(policies, where="f")
    assert reconciled(policies, {"a": PolicySettings("disabled")}, where="f")["a"].level == "disabled"


@pytest.mark.parametrize(
    ("value", "schema", "sound"),
    [
        (5, {"type": "integer", "minimum": 5, "maximum": 5}, True),
        (5.0, {"type": "integer"}, True),
        (5.5, {"type": "integer"}, False),
        (True, {"type": "integer"}, False),
        (4, {"minimum": 5}, False),
        (5, {"exclusiveMinimum": 5}, False),
        (5, {"exclusiveMaximum": 6, "exclusiveMinimum": 4}, True),
        ("ab", {"type": "string", "minLength": 2, "pattern": "^a"}, True),
        ("b", {"pattern": "^a"}, False),
        ("abc", {"maxLength": 2}, False),
        ("x", {"enum": ["y", "z"]}, False),
        (None, {"type": ["string", "null"]}, True),
        ([1, "x"], {"type": "array", "items": {"type": "integer"}}, False),
        ([], {"minItems": 1}, False),
        ({"a": {"b": 1}}, {"properties": {"a": {"required": ["c"]}}}, False),
        ({"a": 1}, {"type": "object", "properties": {"a": {"const": 1}}}, True),
    ],
)
def test_parameters_are_held_to_their_schema(value: Any, schema: dict[str, Any], sound: bool) -> None:
    assert (list(breaches(value, schema, "p")) == []) is sound
