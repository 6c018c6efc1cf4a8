"""``python -m runtime registry ...``: package, sign, register, approve, judge, promote, verify, audit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.registry.errors import AuditError, RequestError
from runtime.settings import load_settings

if TYPE_CHECKING:
    from runtime.registry.gates import GatePolicy, GateReport
    from runtime.registry.lifecycle import Judged

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
_actor = click.option("--as", "actor", default="", help="Who acts; on one machine only, in the cloud AWS says it.")
_alias = click.option("--alias", default="champion", show_default=True, help="What the version is to serve as.")
_policy = click.option("--policy", type=_FILE, required=True, help="YAML file: thresholds, slices, limits.")


@click.group(name="registry")
def group() -> None:
    """Packages, signatures, promotion of models; every change of stage is recorded."""


@group.command(epilog="Example:\n\n  registry key --out keys/registry.pem --trust keys/trusted/registry.pem")
@click.option("--out", type=_PATH, required=True, help="Where the private key goes; only its owner may read it.")
@click.option("--trust", type=_PATH, required=True, help="Where the public key goes: a file in FALAJ_TRUSTED_KEYS.")
def key(out: Path, trust: Path) -> None:
    """Make a key to sign with on this machine.  In the cloud, use a key of KMS: FALAJ_SIGNING_KEY=kms:ARN."""
    from runtime.registry.signing import generate_key

    public = generate_key(out)
    trust.parent.mkdir(parents=True, exist_ok=True)
    trust.write_bytes(public)
    click.echo(f"private key {out}, public key {trust}")


@group.command(epilog="Example:\n\n  registry package --run RUN --model boosted_trees --card card.yaml --out PACKAGE")
@click.option("--run", "run", type=_PATH, required=True, help="Directory of a finished `train run`.")
@click.option("--model", "kind", required=True, help="Which of its models, such as boosted_trees.")
@click.option("--card", "card_file", type=_FILE, required=True, help="The model card, YAML.")
@click.option("--out", type=_PATH, required=True, help="Directory of the package; replaced once the new one is whole.")
@click.option("--skew", "skew_file", type=_FILE, help="What `features skew --json` printed for this release.")
@click.option("--project", help="MODULE:NAME of the feature project: says which views hold personal data.")
@click.option("--requirements", type=_FILE, help="The hash-locked requirements of the run.")
@click.option("--decision-threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1, True, True))
@_actor
@_json
def package(
    run: Path,
    kind: str,
    card_file: Path,
    out: Path,
    skew_file: Path | None,
    project: str | None,
    requirements: Path | None,
    decision_threshold: float,
    actor: str,
    as_json: bool,
) -> None:
    """Put a trained model, its figures, plots, card and lineage into a package with one digest."""
    from runtime.lineage.artifacts import Artifact, Kind, parse_reference
    from runtime.lineage.steps import step
    from runtime.registry.assembly import LINEAGE, Ingredients, assemble
    from runtime.registry.card import read_card
    from runtime.registry.gates import skew_evidence
    from runtime.registry.lifecycle import whoami

    settings = load_settings()
    ingredients = Ingredients(
        run=run,
        kind=kind,
        card=read_card(card_file),
        author=whoami(settings, actor),
        personal_views=_personal_views(project) if project else {},
        skew=skew_evidence(_document(skew_file)) if skew_file else None,
        requirements=requirements,
        decision_threshold=decision_threshold,
    )
    with step(settings, "registry.package") as running, _bar("packaging") as progress:
        made = assemble(ingredients, out, progress)
        for reference in made.document(LINEAGE)["inputs"]:
            running.read(parse_reference(reference))
        running.made(
            Artifact(Kind.PACKAGE, made.manifest.name, made.digest), {"kind": kind, "author": ingredients.author}
        )
    if as_json:
        click.echo(json.dumps({"directory": str(out), "name": made.manifest.name, "digest": made.digest}))
        return
    _rows(
        f"package {made.manifest.name} {made.digest}",
        ("file", "bytes", "sha256"),
        [(name, f"{entry.bytes:,}", entry.sha256[:16]) for name, entry in sorted(made.manifest.files.items())],
    )
    if missing := ingredients.card.missing():
        click.echo(f"the card lacks {', '.join(missing)}: its gate will stay closed")


@group.command(epilog="Example:\n\n  registry sign PACKAGE")
@click.argument("directory", type=_PATH)
def sign(directory: Path) -> None:
    """Sign a package with the key of FALAJ_SIGNING_KEY; the signature goes beside it, as DIRECTORY.sig."""
    from runtime.registry.package import read_package
    from runtime.registry.signing import open_signer
    from runtime.registry.signing import sign as signature_of

    made = read_package(directory)
    signature = signature_of(directory, made.manifest.name, open_signer(load_settings()))
    path = _signature_path(directory)
    path.write_bytes(signature)
    click.echo(f"signed {made.manifest.name} {made.digest[:16]}: {path}")


@group.command(epilog="Example:\n\n  registry register PACKAGE --as mariam")
@click.argument("directory", type=_PATH)
@_actor
@_json
def register(directory: Path, actor: str, as_json: bool) -> None:
    """Check a signed package, store it encrypted and make it a version."""
    from runtime.registry.lifecycle import Registry, whoami

    settings = load_settings()
    path = _signature_path(directory)
    signature = path.read_bytes() if path.is_file() else None
    with _bar("storing") as progress:
        version = Registry(settings).register(directory, signature, whoami(settings, actor), progress)
    if as_json:
        click.echo(json.dumps(asdict(version)))
    else:
        click.echo(f"{version.name} version {version.version}: {version.location}")


@group.command(epilog="Example:\n\n  registry approve flights-delay 3 --as omar --comment 'read card and slices'")
@click.argument("name")
@click.argument("version")
@click.option("--comment", default="", help="What was looked at.")
@_actor
def approve(name: str, version: str, comment: str, actor: str) -> None:
    """Approve a version.  Two people must, neither of whom built or registered it."""
    from runtime.registry.lifecycle import Registry, whoami

    settings = load_settings()
    record = Registry(settings).approve(name, version, whoami(settings, actor), comment)
    click.echo(f"{name} {record.version} approved by {record.actor} at {record.at} (record {record.sequence})")


@group.command(epilog="Example:\n\n  registry withdraw flights-delay 3 --as omar")
@click.argument("name")
@click.argument("version")
@_actor
def withdraw(name: str, version: str, actor: str) -> None:
    """Take an approval back."""
    from runtime.registry.lifecycle import Registry, whoami

    settings = load_settings()
    record = Registry(settings).withdraw(name, version, whoami(settings, actor))
    click.echo(f"{name} {record.version}: approval by {record.actor} withdrawn (record {record.sequence})")


@group.command(epilog="Example:\n\n  registry gates flights-delay 3 --policy gates.yaml")
@click.argument("name")
@click.argument("version")
@_policy
@_alias
@_json
def gates(name: str, version: str, policy: Path, alias: str, as_json: bool) -> None:
    """Say what stands between a version and its promotion.  Changes nothing; exit code 1 if a gate is closed."""
    from runtime.registry.lifecycle import Registry

    with _bar("judging") as progress:
        judged = Registry(load_settings()).judge(name, version, _read_policy(policy), alias, progress)
    _print_judged(judged, as_json)
    if not judged.report.open:
        raise click.exceptions.Exit(1)


@group.command(epilog="Example:\n\n  registry promote flights-delay 3 --policy gates.yaml --as omar")
@click.argument("name")
@click.argument("version")
@_policy
@_alias
@_actor
@_json
def promote(name: str, version: str, policy: Path, alias: str, actor: str, as_json: bool) -> None:
    """Give the alias to a version, if every gate is open."""
    from runtime.registry.lifecycle import Registry, whoami

    settings = load_settings()
    with _bar("judging") as progress:
        done = Registry(settings).promote(name, version, _read_policy(policy), whoami(settings, actor), alias, progress)
    _print_judged(done.judged, as_json)
    if not as_json:
        click.echo(f"{name} {done.judged.version.version} is {alias} now (record {done.record.sequence})")


@group.command(epilog="Example:\n\n  registry show flights-delay")
@click.argument("name")
@_json
def show(name: str, as_json: bool) -> None:
    """List the versions of a model: what serves, who built it, who approved it."""
    from runtime.registry.lifecycle import Registry

    registry = Registry(load_settings())
    versions = registry.versions(name)
    given = {each.version: [record.actor for record in registry.approvals(each)] for each in versions}
    if as_json:
        click.echo(json.dumps([{**asdict(each), "approved_by": given[each.version]} for each in versions]))
        return
    _rows(
        name,
        ("version", "alias", "package", "author", "approved by", "registered"),
        [
            (
                each.version,
                ", ".join(each.aliases),
                each.digest[:16],
                each.author,
                ", ".join(given[each.version]),
                datetime.fromtimestamp(each.created_seconds, UTC).strftime("%Y-%m-%d %H:%M"),
            )
            for each in versions
        ],
    )


@group.command(epilog="Example:\n\n  registry verify flights-delay @champion")
@click.argument("name")
@click.argument("version")
@_json
def verify(name: str, version: str, as_json: bool) -> None:
    """Fetch a version, and check signature, digest and every file."""
    from runtime.registry.lifecycle import Registry

    with _bar("fetching") as progress:
        opened = Registry(load_settings()).verify(name, version, progress)
    found = {
        "name": name,
        "digest": opened.package.digest,
        "files": len(opened.verified.files),
        "key": opened.verified.key_name,
        "key_id": opened.verified.key_id,
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(f"{name} {version} is good: {found['files']} files, signed with {found['key']}, {found['digest']}")


@group.command(epilog="Examples:\n\n  registry audit flights-delay\n\n  registry audit --verify")
@click.argument("name", required=False)
@click.option(
    "--verify", "check", is_flag=True, help="Check the whole chain and its copy; exit code 1 if it is broken."
)
@click.option("--mirror", is_flag=True, help="Make the copies on S3 that are missing.")
@_json
def audit(name: str | None, check: bool, mirror: bool, as_json: bool) -> None:
    """Print who changed what and when."""
    from runtime.registry.audit import AuditLog

    settings = load_settings()
    with AuditLog.open(settings) as log:
        if mirror:
            settings.require("audit_bucket")
            click.echo(f"{log.mirror()} copies made", err=True)
        if check:
            problems, count = log.verify(), len(log.records())
            if as_json:
                click.echo(json.dumps({"records": count, "problems": problems}))
            elif not problems:
                copied = "and its copy agree" if settings.audit_bucket else "is whole (no copy: FALAJ_AUDIT_BUCKET)"
                click.echo(f"{count} records: the chain {copied}")
            if problems:
                raise AuditError(f"the audit record of tenant {settings.tenant}: {'; '.join(problems[:10])}")
            return
        records = log.records(name)
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records]))
        return
    _rows(
        f"audit of {name or 'all models'}",
        ("#", "at", "actor", "action", "model", "package", "hash"),
        [
            (
                str(each.sequence),
                each.at[:19],
                each.actor,
                each.action,
                f"{each.model} {each.version}",
                each.package[:12],
                each.hash[:12],
            )
            for each in records
        ],
    )


def _read_policy(path: Path) -> GatePolicy:
    from runtime.registry.gates import read_policy

    return read_policy(path)


def _personal_views(project: str) -> dict[str, bool]:
    """Flags of the project's views, on-demand ones included."""
    import tempfile

    from runtime.features.declaration import declare
    from runtime.features.project import load_project

    loaded = load_project(project)
    with tempfile.TemporaryDirectory(prefix="falaj-features-") as directory:
        catalogue = declare(loaded, Path(directory)).catalogue
    return {view.name: view.pii for view in catalogue.all_views}


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()[: 16 << 20])
    except ValueError:
        raise RequestError(f"{path}: not JSON; give what `features skew --json` printed") from None


def _signature_path(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.sig")


def _print_judged(judged: Judged, as_json: bool) -> None:
    if as_json:
        verdicts = [asdict(verdict) for verdict in judged.report.verdicts]
        champion = judged.champion.version if judged.champion else None
        document = {"version": judged.version.version, "champion": champion, "open": judged.report.open}
        click.echo(json.dumps({**document, "verdicts": verdicts}))
    else:
        _print_report(f"{judged.version.name} {judged.version.version}", judged.report)


def _print_report(title: str, report: GateReport) -> None:
    rows = [("open" if each.open else "CLOSED", each.gate, each.reason, each.todo) for each in report.verdicts]
    closed = len(report.closed)
    state = "every gate is open" if report.open else f"{closed} of {len(report.verdicts)} gates closed"
    _rows(f"{title}: {state}", ("", "gate", "what was found", "what to do"), rows)


def _rows(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        colours = {"CLOSED": "bold red", "open": "green"}
        table.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in row))
    console = Console(highlight=False)
    console.print(table)


@contextmanager
def _bar(verb: str) -> Iterator[Callable[[str, int, int], object]]:
    """A progress bar on standard error when a terminal is attached."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda name, done, total: bar.update(task, description=f"{verb} {name}", completed=done, total=total)
