"""The table of docs/addons.md, made from the catalogue.

``python -m tests.support.addons_page`` rewrites the page's table.
"""

from __future__ import annotations

from pathlib import Path

from components.versions import ADDON_VERSIONS, Pin, catalogue

PAGE = Path(__file__).resolve().parents[2] / "docs" / "addons.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
KINDS = {"addon": "EKS add-on", "chart": "chart", "image": "image"}
ORIGINS = {
    "aws": "AWS, in the region",
    "ecr-public": "pull-through `ecr-public`",
    "kubernetes": "pull-through `kubernetes`",
    "mirror": "copied to `mirror`",
}


def rows() -> list[Pin]:
    """Every pin of the newest Kubernetes version with add-ons."""
    return list(catalogue(max(ADDON_VERSIONS)))


def table() -> str:
    """The table and what is to be known beneath it."""
    lines = [
        "| | kind | version | from | licence | how it gets here | path | digest | read |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    notes: dict[str, str] = {}
    for pin in rows():
        mark = ""
        if pin.note:
            mark = " " + "*" * (list(dict.fromkeys([*notes, pin.note])).index(pin.note) + 1)
            notes.setdefault(pin.note, mark.strip())
        path = f"`{pin.path}`" if pin.path else ""
        digest = f"`{pin.digest[:19]}…`" if pin.digest else ""
        lines.append(
            f"| {pin.name}{mark.replace('*', chr(92) + '*')} | {KINDS[pin.kind]} | {pin.version} | {pin.source} | "
            f"{pin.licence} | {ORIGINS[pin.origin]} | {path} | {digest} | {pin.read.isoformat()} |"
        )
    lines += [""]
    lines += [f"{mark.replace('*', chr(92) + '*')} {note[0].upper()}{note[1:]}.\n" for note, mark in notes.items()]
    unknown = [pin.name for pin in rows() if pin.kind != "addon" and not pin.digest]
    lines += [f"Digest not known ({len(unknown)}): {', '.join(unknown)}."]
    return "\n".join(lines) + "\n"


def rewritten(text: str) -> str:
    """``text`` of the page with the table of today."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
