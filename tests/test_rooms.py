"""The house rules that can be checked by reading the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "provenance_gate"
ORDER = ("errors", "artifact", "fingerprint", "lineage", "policy", "report", "reading", "building", "gate", "cli")
MAY_IMPORT = {
    "errors": set(),
    "data": {"errors"},
    "artifact": {"errors"},
    "signing": {"artifact", "errors"},
    "fingerprint": {"artifact", "errors"},
    # Catalog records are read into the license terms that lineage speaks of.
    "registry": {"lineage", "fingerprint", "artifact", "data", "errors"},
    # Two open artifacts to a trace of one in the other.
    "alignment": {"fingerprint", "artifact", "errors"},
    # Of alignment only the values that a trace is made of.
    "lineage": {"alignment", "fingerprint", "artifact", "errors"},
    # Of signing and tells only the demands and answers of rules.
    "policy": {"signing", "tells", "artifact", "lineage", "data", "errors"},
    # Two models at hand, looked at by tells; a page and a policy speak of the results.
    "tells": {"alignment", "artifact", "fingerprint", "lineage", "errors"},
    "report": {"artifact", "fingerprint", "lineage", "policy", "tells", "errors"},
    "terminal": {"errors"},
    "building": {"reading", "registry", "artifact", "fingerprint", "lineage", "data", "errors"},
    "searching": {"reading", "registry", "artifact", "fingerprint", "lineage", "errors"},
    "candidates": {"searching", "reading", "artifact", "lineage", "errors"},
    "scanning": {"searching", "reading", "registry", "report", "artifact", "lineage", "errors"},
    "purls": {"artifact", "errors"},
    "confirming": {"searching", "reading", "artifact", "fingerprint", "lineage", "errors"},
    "cases": {"reading", "registry", "tells", "lineage", "errors"},
    "auditing": {
        *("candidates", "cases", "confirming", "purls", "reading", "registry", "report", "scanning"),
        *("searching", "tells", "artifact", "lineage", "errors"),
    },
    # Tells for the gate.
    "telling": {"tells", "policy", "reading", "registry", "lineage", "errors"},
    "reading": {"alignment", "artifact", "fingerprint", "lineage", "errors"},
}
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {n.split(".")[1] for n in names if n.startswith("provenance_gate.")}
    return found


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) in MAY_IMPORT], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_a_room_imports_only_rooms_to_its_left(path: Path) -> None:
    assert imports(path) - {room(path), "_version"} <= MAY_IMPORT[room(path)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not text or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_in_the_package_can_run_an_artifact(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    # The generation test runs both models on request: local safetensors, classes of transformers, no code of the artifact.
    modules -= {"torch"} if path.match("tells/greedy.py") else set()
    assert not modules & {"pickle", "marshal", "shelve", "dill", "joblib", "torch", "subprocess"}
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}
