"""litellm takes seconds and a sixth of a gigabyte to import: one file does, and only when it is asked to."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THE_FILE = ROOT / "gateway/providers/litellm.py"
PACKAGES = ("gateway", "billing", "policies", "migrations", "tools")


def imports_litellm(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "litellm" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == "litellm"


def test_no_other_file_imports_litellm() -> None:
    """Inside functions as well: import-linter sees those too, and this says so without it."""
    importers = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(imports_litellm(node) for node in ast.walk(ast.parse(path.read_text())))
    ]
    assert [path.relative_to(ROOT).as_posix() for path in importers if path != THE_FILE] == []


def test_importing_everything_imports_neither_litellm_nor_what_it_brings() -> None:
    """A process whose models all speak the OpenAI wire never pays for litellm."""
    program = """
import importlib, pkgutil, sys
import billing, gateway, policies
for package in (billing, gateway, policies):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*sorted({"litellm", "openai", "boto3", "tokenizers", "huggingface_hub"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
