"""A gateway as an operator runs it, over a real socket, for clients that somebody else wrote."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import servers
import yaml

from gateway.audit import operator
from gateway.database import open_engine
from gateway.directory.directory import Directory
from gateway.directory.ids import now_us, uuid7
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]

#: The SDK's own tests that are run, in tests/api_resources of its source.
SUITES = ("chat/test_completions.py", "test_embeddings.py", "test_models.py")


@dataclass(frozen=True)
class Running:
    """A gateway with two people in it: one with money and the keys named here, one whose budget is 0 won."""

    base_url: str
    api_key: str
    sdk_key: str
    broke_key: str
    environment: dict[str, str]

    def haechi(self, *arguments: str) -> dict[str, Any]:
        """A command beside the running server, as `--json` says it."""
        return haechi(self.environment, *arguments)


def haechi(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, f"haechi {' '.join(arguments)}: {ran.stdout}{ran.stderr}"
    answer: dict[str, Any] = json.loads(ran.stdout or "{}")
    return answer


@pytest.fixture(scope="session")
def sdk_source() -> Path:
    """The official SDK's source of the version in requirements-sdk.lock, and .venv-sdk beside it."""
    made = subprocess.run([ROOT / "tools/judges.sh"], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return Path(made.stdout.strip())


@pytest.fixture(scope="session")
def sdk_python(sdk_source: Path) -> Path:
    assert sdk_source.is_dir()
    return ROOT / ".venv-sdk/bin/python"


@pytest.fixture(scope="session")
def running(sdk_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The shipped configuration, with the model names and the key that the SDK's own tests were written with."""
    folder = tmp_path_factory.mktemp("judged")
    suites = "".join((sdk_source / "tests/api_resources" / name).read_text() for name in SUITES)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    practice = next(model for model in config["models"] if model["name"] == "practice-inside")
    # Of the models its tests name, some are vendors' in the shipped file: here the practice upstream answers for all of them.
    names = set(re.findall(r'model="([\w.-]+)"|^            "([\w.-]+)",$', suites, re.M))
    wanted = sorted({first or second for first, second in names})
    config["models"] = [model for model in config["models"] if model["name"] not in wanted]
    for model in config["models"]:
        model["fallbacks"] = [name for name in model.get("fallbacks", ()) if name not in wanted]
    able = [*practice["capabilities"], "vision", "reasoning", "search", "audio", "embeddings"]
    config["models"] += [{**practice, "name": name, "capabilities": able} for name in wanted]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    # Directives such as [[fail:500]] make the practice upstream misbehave to order.
    env = {"HAECHI_SCRIPTED_FAULTS": "1"}
    with servers.gateway(path, folder / "data", env) as base_url:
        beside = {"HAECHI_CONFIG": str(path), "HAECHI_DATA": str(folder / "data")}
        haechi(beside, "department", "add", "--code", "JUDGE", "--name", "Judges")
        for email in ("sdk@judge.test", "broke@judge.test"):
            haechi(beside, "user", "add", "--email", email, "--department", "JUDGE", "--role", "staff", "--signed")
        haechi(beside, "quota", "set", "--user", "broke@judge.test", "--won", "0", "--period", "month")
        sdk_key = re.findall(r'^api_key = "(.*)"', (sdk_source / "tests/conftest.py").read_text(), re.M)[0]
        import_key(path, folder / "data", "sdk@judge.test", sdk_key)
        yield Running(
            base_url,
            api_key=haechi(beside, "key", "create", "--user", "sdk@judge.test")["key"],
            sdk_key=sdk_key,
            broke_key=haechi(beside, "key", "create", "--user", "broke@judge.test")["key"],
            environment=beside,
        )


def import_key(config: Path, data: Path, email: str, key: str) -> None:
    """Take over a key that was made elsewhere: here, the one written into the SDK's tests."""
    settings = load_settings(config, data, {})
    engine = open_engine(settings.database_url.get_secret_value())
    Directory(engine, settings.secrets.pepper.get_secret_value(), now_us, uuid7).import_key(email, key, by=operator())
    engine.dispose()
