import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine.errors import ConfigError, UnsupportedError
from falaj.engine.project import Configuration, Project, configuration, load_project
from falaj.engine.settings_yaml import parse_yaml
from falaj.engine.stack_settings import StackSettings, edited

SCENARIO = Path(__file__).parent / "oracle" / "data" / "scenarios" / "49-configuration"


def project(folder: Path, text: str = "name: falaj\nruntime: python\n") -> Project:
    (folder / "Pulumi.yaml").write_text(text)
    return load_project(folder)


def settings(folder: Path, text: str) -> StackSettings:
    (folder / "Pulumi.dev.yaml").write_text(text)
    return StackSettings(project(folder), "dev")


def resolved(folder: Path, declared: str, given: str) -> Configuration:
    (folder / "Pulumi.dev.yaml").write_text(given)
    loaded = project(folder, "name: falaj\nruntime: python\n" + declared)
    return configuration(loaded, "dev", StackSettings(loaded, "dev").config, str.upper)


@pytest.mark.parametrize(
    ("main", "working_directory", "entry_point"),
    [("", ".", "."), ("stacks/", "stacks", "."), ("stacks/run.py", "stacks", "run.py")],
)
def test_main_names_a_folder_or_a_file(tmp_path: Path, main: str, working_directory: str, entry_point: str) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "run.py").touch()
    loaded = project(
        tmp_path, f"name: falaj\nruntime: {{name: python, options: {{virtualenv: .venv}}}}\nmain: {main}\n"
    )
    assert loaded.working_directory == (tmp_path / working_directory).resolve()
    assert (loaded.entry_point, loaded.virtualenv) == (entry_point, ".venv")


def test_stack_settings_may_live_elsewhere(tmp_path: Path) -> None:
    loaded = project(tmp_path, "name: falaj\nruntime: python\nstackConfigDir: stacks/config\n")
    assert loaded.settings_file("dev") == tmp_path / "stacks/config/Pulumi.dev.yaml"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("runtime: python\n", "'name' is None"),
        ("name: a b\nruntime: python\n", "not a project name"),
        ("name: ..\nruntime: python\n", "not a project name"),
        ("name: falaj\nruntime: python\nmain: nowhere\n", "nowhere does not exist"),
        ("name: falaj\nruntime: python\nmain: 5\n", "'main' is 5; a text is required"),
        ("name: falaj\nname: other\nruntime: python\n", "line 2: the key 'name' stands twice"),
        ("name: falaj\nruntime: python\nconfig:\n  a: {type: number}\n", "type 'number'; allowed are type"),
        ("name: falaj\nruntime: python\nconfig:\n  a: {type: integer, default: x}\n", "'x', which is no integer"),
        ("name: falaj\nruntime: python\nconfig:\n  a: {kind: integer}\n", "keys \\['kind'\\]"),
        ("name: [\n", "no YAML"),
        ("- a\n", "an object with texts as keys"),
    ],
)
def test_a_wrong_project_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)Pulumi.yaml.*{problem}|{problem}.*Pulumi.yaml"):
        project(tmp_path, text)


def test_a_missing_project_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no Pulumi\.yaml in"):
        load_project(tmp_path)


def test_other_languages_are_left_to_the_official_cli(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="nodejs"):
        project(tmp_path, "name: falaj\nruntime: nodejs\n")


def test_programs_see_texts_as_they_are_and_the_rest_as_json(tmp_path: Path) -> None:
    given = """\
config:
  text: some text
  number: 42
  float: 1.5
  flag: true
  quoted: "true"
  list: [1, two, {three: 3}]
  object: {b: {a: [1, 2.0]}, a: é}
  falaj:config:old: legacy
  other:key: elsewhere
"""
    assert resolved(tmp_path, "", given).values == {
        "falaj:text": "some text",
        "falaj:number": "42",
        "falaj:float": "1.5",
        "falaj:flag": "true",
        "falaj:quoted": "true",
        "falaj:list": '[1,"two",{"three":3}]',
        "falaj:object": '{"a":"é","b":{"a":[1,2]}}',
        "falaj:old": "legacy",
        "other:key": "elsewhere",
    }


def test_a_key_is_secret_when_anything_in_it_is(tmp_path: Path) -> None:
    given = "config:\n  pw: {secure: cipher}\n  mixed: {open: o, deep: [{secure: text}]}\n  open: {a: b}\n"
    found = resolved(tmp_path, "", given)
    assert found.secret_keys == {"falaj:pw", "falaj:mixed"}
    assert found.values["falaj:pw"] == "CIPHER"
    assert found.values["falaj:mixed"] == '{"deep":["TEXT"],"open":"o"}'
    assert "CIPHER" not in repr(found)


def test_a_namespace_gives_the_inputs_of_a_default_provider(tmp_path: Path) -> None:
    found = resolved(tmp_path, "", "config:\n  aws:region: me-central-1\n  aws:token: {secure: t}\n  a: b\n")
    assert found.namespace("aws") == {"region": ("me-central-1", False), "token": ("T", True)}


def test_defaults_of_the_project_stand_below_the_settings_of_the_stack(tmp_path: Path) -> None:
    declared = """\
config:
  short: from the project
  typed: {type: integer, default: 3}
  value: {value: fixed}
  overridden: {type: string, default: project}
  aws:retries: {value: "7"}
"""
    found = resolved(tmp_path, declared, "config: {overridden: stack}\n")
    assert found.values == {
        "falaj:short": "from the project",
        "falaj:typed": "3",
        "falaj:value": "fixed",
        "falaj:overridden": "stack",
        "aws:retries": "7",
    }


@pytest.mark.parametrize(
    ("declared", "given", "problem"),
    [
        ("a: {type: string}", "", "Stack 'dev' is missing configuration value 'a'"),
        ("a: {type: integer}", "a: not a number", "key 'a' must be of type 'integer'"),
        ("a: {type: boolean}", "a: 1", "key 'a' must be of type 'boolean'"),
        ("a: {type: string}", "a: 5", "key 'a' must be of type 'string'"),
        ("a: {type: array, items: {type: integer}}", "a: [1, x]", "must be of type 'array<integer>'"),
        ("a: {type: object}", "a: [1]", "must be of type 'object'"),
        ("a: {type: string, secret: true}", "a: open", "must be encrypted"),
    ],
)
def test_values_that_break_the_declaration_are_refused(tmp_path: Path, declared: str, given: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        resolved(tmp_path, f"config:\n  {declared}\n", f"config:\n  {given}\n" if given else "")


@pytest.mark.parametrize(
    ("type", "given"),
    [("integer", "5"), ("integer", '"5"'), ("boolean", "true"), ("boolean", '"false"'), ("array", "[1, a]")],
)
def test_texts_that_read_as_the_declared_type_are_taken(tmp_path: Path, type: str, given: str) -> None:
    assert "falaj:a" in resolved(tmp_path, f"config:\n  a: {{type: {type}}}\n", f"config:\n  a: {given}\n").values


def test_the_program_of_the_recorded_scenario_gets_what_the_cli_gave_it(tmp_path: Path) -> None:
    steps = json.loads((SCENARIO / "steps.json").read_text())["steps"]
    seen = json.loads((SCENARIO / "expected" / "step-2.json").read_text())["stack_outputs"]["seen"]
    (tmp_path / "Pulumi.yaml").write_text((SCENARIO / "program" / "Pulumi.yaml").read_text())
    loaded = load_project(tmp_path)
    with pytest.raises(ConfigError, match="missing configuration value 'required'"):
        configuration(loaded, "dev", {"oracle:step": "1"}, str)
    raw = {loaded.key(key): value for key, value in steps[1]["config"].items() if key not in ("pw", "mixed")}
    values = configuration(loaded, "dev", raw, str).values
    names = {"text", "number", "defaulted", "fixed", "overridden"}
    assert {name: values[f"oracle:{name}"] for name in names} == {name: seen[name] for name in names}
    assert (values["oracle:object"], values["other:key"]) == (seen["raw"], seen["other"])
    assert json.loads(values["oracle:list"]) == seen["list"]
    with pytest.raises(ConfigError, match="'typed' must be of type 'integer'"):
        configuration(loaded, "dev", raw | {"oracle:typed": "not a number"}, str)


@pytest.mark.parametrize("text", ["on", "no", "yes", "2026-11-23", "12:30:45", "1_000", "0777a", "=", "<<<"])
def test_scalars_that_only_yaml_1_1_takes_for_something_else_stay_texts(text: str) -> None:
    assert parse_yaml(f"a: {text}\n") == {"a": text}


def test_a_number_with_a_leading_zero_is_refused_because_the_cli_reads_it_as_octal() -> None:
    with pytest.raises(ConfigError, match=r"line 2: 0123 .* quote it"):
        parse_yaml("b: 1\na: 0123\n")


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(ConfigError, match="counting aliases"):
        parse_yaml("\n".join(lines))


@pytest.mark.parametrize("line", ["secretsprovider: awskms://x", "encryptedkey: abc", "environment: [prod]"])
def test_settings_of_the_cloud_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(UnsupportedError, match=line.partition(":")[0]):
        settings(tmp_path, line + "\n")


def test_a_missing_settings_file_is_an_empty_one_until_something_is_set(tmp_path: Path) -> None:
    empty = StackSettings(project(tmp_path), "dev")
    assert (empty.config, empty.encryption_salt) == ({}, None)
    empty.set("aws:region", "me-central-1")
    empty.set_encryption_salt("v1:salt:check")
    read = StackSettings(empty.project, "dev")
    assert (read.config, read.encryption_salt) == ({"aws:region": "me-central-1"}, "v1:salt:check")


COMMENTED = """\
# who may change this file
encryptionsalt: v1:a:b
config:
  # the region
  aws:region: me-central-1   # fixed by law
  falaj:list:
    - one
    # between
    - two
  falaj:text: |
    several
    lines

  falaj:last: x
# the end
"""


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("aws:region", "eu", "  aws:region: me-central-1   # fixed by law\n", "  aws:region: eu\n"),
        ("list", [3], "  falaj:list:\n    - one\n    # between\n    - two\n", "  falaj:list:\n  - 3\n"),
        ("text", "on", "  falaj:text: |\n    several\n    lines\n\n", "  falaj:text: 'on'\n"),
        ("new", {"secure": "v1:x:y"}, "  falaj:last: x\n", "  falaj:last: x\n  falaj:new:\n    secure: v1:x:y\n"),
    ],
)
def test_setting_a_key_leaves_all_other_lines_alone(
    tmp_path: Path, key: str, value: Any, before: str, after: str
) -> None:
    changed = settings(tmp_path, COMMENTED)
    changed.set(key, value)
    assert changed.config[changed.project.key(key)] == value
    assert changed.file.read_text().replace("\n\n", "\n") == COMMENTED.replace(before, after).replace("\n\n", "\n")


def test_removing_keys_leaves_all_other_lines_alone(tmp_path: Path) -> None:
    changed = settings(tmp_path, COMMENTED)
    assert changed.remove("list")
    assert not changed.remove("absent")
    assert changed.file.read_text() == COMMENTED.replace("  falaj:list:\n    - one\n    # between\n    - two\n", "")
    for key in ("aws:region", "text", "last"):
        assert changed.remove(key)
    assert changed.config == {}
    assert changed.file.read_text() == "# who may change this file\nencryptionsalt: v1:a:b\n# the end\n"


@pytest.mark.parametrize("text", ["config: {a: 1}\n", "{config: {a: 1}}\n", "config:\n", "# nothing\n", "config: {}"])
def test_layouts_that_cannot_be_edited_in_place_keep_their_meaning(tmp_path: Path, text: str) -> None:
    changed = settings(tmp_path, text)
    before = dict(changed.config)
    changed.set("b", "x")
    assert StackSettings(changed.project, "dev").config == before | {"falaj:b": "x"}


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=12)
RAW = st.recursive(
    SCALARS | st.sampled_from(["on", "0123", "1e3", "0o17", "~", "12:30", "a: b", "# x", "line\nbreak\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc:", min_size=1), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.tuples(st.sampled_from("abcd"), RAW), max_size=6))
def test_any_sequence_of_edits_ends_in_the_settings_that_were_set(edits: list[tuple[str, Any]]) -> None:
    text, wanted = COMMENTED, parse_yaml(COMMENTED)
    for key, value in edits:
        changed = edited(text, "config", key, value)
        assert changed is not None
        text = changed
        wanted["config"][key] = value
    assert parse_yaml(text) == wanted
    assert text.startswith("# who may change this file\n")
    assert "  aws:region: me-central-1   # fixed by law\n" in text
    assert yaml.safe_load(text)["config"].keys() == wanted["config"].keys()


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = settings(tmp_path, COMMENTED)

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        changed.set("a", "b")
    assert changed.file.read_text() == COMMENTED
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Pulumi.dev.yaml", "Pulumi.yaml"]


@pytest.mark.parametrize("key", ["a:b:c", ":a", "a:", ""])
def test_malformed_keys_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="not a configuration key"):
        settings(tmp_path, "").set(key, "x")


@pytest.mark.parametrize("stack", ["", "..", "a/b", "a b", "x" * 101])
def test_stack_names_cannot_leave_the_folder(tmp_path: Path, stack: str) -> None:
    with pytest.raises(ConfigError, match="not a stack name"):
        project(tmp_path).settings_file(stack)
