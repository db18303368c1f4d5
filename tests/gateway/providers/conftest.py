"""Which event loops the tests of this folder run on: uvloop is what the gateway serves with."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from peers import certificate

UVLOOP = {"uvloop": uvloop.new_event_loop}
BOTH = {"asyncio": asyncio.new_event_loop, **UVLOOP}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    # Our own protocol must not lean on what only one loop does.
    return BOTH if item.path.name in {"test_dialing.py", "test_lean.py"} else UVLOOP


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good.pem, host.pem (of another host), late.pem (expired), client.pem, each its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder, "good")
    certificate(folder, "host", "DNS:elsewhere.example")
    certificate(folder, "late", days=-1)
    certificate(folder, "client")
    return folder
