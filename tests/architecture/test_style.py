"""House rules a linter does not know."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "billing", "policies")

# A statement, not a sentence that happens to contain the word.
SQL = re.compile(
    r"^\s*(WITH\s+\w+[\s(].*\bAS\b|SELECT\s.*\bFROM\b|INSERT\s+(OR\s+\w+\s+)?INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b"
    r"|(CREATE|DROP|ALTER)\s+(TABLE|INDEX|TRIGGER|VIEW|FUNCTION)\b|PRAGMA\s+\w+)",
    re.S,
)
# Whoever else wants something from the database asks one of these for it.
OWNS_SQL = re.compile(r"(^|/)(store|tables|database)\.py$|(^|/)reports/\w+\.py$|^migrations/")


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository; in an unpacked archive, all files that are not made by tools."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    made = {".venv", ".venv-sdk", ".cache", "node_modules", "__pycache__", "data"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not made & set(path.relative_to(ROOT).parts)
        and any(path.match(p) for p in patterns or ["*"])
    ]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = [path for path in tracked("*.py") if name(path).startswith((*PACKAGES, "migrations"))]
# Captured answers and lists of words are what they are; the rules are about what people here wrote.
RECORDED = ("tests/transcripts/", "bench/words/")
TEXTS = [
    path
    for path in tracked()
    if path.suffix in {"", ".py", ".md", ".sh", ".toml", ".yaml", ".yml", ".json", ".js", ".ts", ".css", ".html", ".c"}
    and not name(path).startswith(RECORDED)
]


def strings(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Every string in a module that is not a docstring: line, text (`x` for what is filled in), whether it is filled in."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values), True
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (documentation | inside)
        ):
            yield node.lineno, node.value, False


def test_the_search_for_sql_finds_sql() -> None:
    """So that an empty result below means something."""
    found = [
        SQL.search(text) is not None
        for _, text, _ in strings(ast.parse("a = 'SELECT 1 FROM t'\nb = f'DELETE FROM {t}'"))
    ]
    assert found == [True, True]
    assert not SQL.search("Select a model from the list")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sql_is_written_only_where_tables_are_owned(path: Path) -> None:
    if OWNS_SQL.search(name(path)):
        return
    written = [f"{name(path)}:{line}" for line, text, _ in strings(ast.parse(path.read_text())) if SQL.search(text)]
    assert written == []


@pytest.mark.parametrize("path", [p for p in SOURCES if not name(p).startswith("migrations/")], ids=name)
def test_sql_is_never_built_from_values(path: Path) -> None:
    """SQL may be put together from what the module itself defines. Anything else has to say beside it why it may."""
    lines = path.read_text().splitlines()
    tree = ast.parse(path.read_text())
    ours = defined(tree)
    for node in ast.walk(tree):
        template = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            template = node.func.value
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            template = node.left
        if isinstance(template, ast.Constant) and isinstance(template.value, str):
            assert not SQL.search(template.value), f"{name(path)}:{template.lineno} formats SQL"
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values)
            filled = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b", text) and SQL.search(text) and not filled <= ours:
                beside = "\n".join(lines[max(0, node.lineno - 2) : (node.end_lineno or node.lineno) + 1])
                said = re.search(r"(^\s*|\s\s)# \w+", beside, re.M)
                assert said, f"{name(path)}:{node.lineno}: say in a comment beside it why no request can reach into it"


def defined(tree: ast.Module) -> set[str]:
    """What a module has at its top: imports, functions, classes, constants. A parameter or a local is not among them."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_no_text_is_unfinished_or_tied_to_one_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    # Spelled so that this file does not find itself.
    marks = re.findall(r"\bTO[D]O\b|\bFIX[M]E\b|\bXX[X]\b", text)
    assert not marks, f"{name(path)} says {marks}: finish it, or write an issue"
    homes = re.findall(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/[\w./-]+", text)
    assert homes == [], f"{name(path)} names a path of one machine"


def test_no_text_names_a_package_registry() -> None:
    """Where packages come from is a site's own business; a mirror must be enough."""
    hosts = re.compile(
        r"https?://(?:pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org|registry\.yarnpkg\.com)"
    )
    named = [name(path) for path in tracked() if hosts.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert named in ([], ["tests/architecture/test_style.py"])


@pytest.mark.parametrize("path", [p for p in SOURCES if "__init__" not in p.name], ids=name)
def test_no_drawer_for_odds_and_ends(path: Path) -> None:
    """A type lives with its owner; a file named for nothing in particular soon holds everything."""
    assert path.stem not in {"common", "utils", "util", "helpers", "helper", "misc", "manager", "context"}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_asks_which_provider_it_is(path: Path) -> None:
    """What is particular about a vendor lives in that vendor's own file; everybody else asks for what it can do."""
    if name(path).startswith(("gateway/providers/", "billing/extract/")):
        return
    asked = [
        f"{name(path)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and getattr(node.left, "id", getattr(node.left, "attr", "")) in {"provider", "vendor", "provider_name"}
        and any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in node.comparators)
    ]
    assert asked == []
