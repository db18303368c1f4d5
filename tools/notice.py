"""Write the licence table of NOTICE from what the locked packages say about themselves.

    .venv/bin/python tools/notice.py           rewrite the table
    .venv/bin/python tools/notice.py --check   exit 1 when it is not what would be written

Only the lines under the heading are replaced; what stands above it is written by hand.
"""

from __future__ import annotations

import re
import sys
from email.message import Message
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
NOTICE = ROOT / "NOTICE"
LOCK = ROOT / "requirements.lock"
HEADING = "Packages installed to run this program (version, licence as the package states it)"

#: Free-text licence names and classifiers, as SPDX identifiers.
SPDX = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
}


def locked() -> dict[str, str]:
    """Package → version of the runtime lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK.read_text(), re.M))


def licence(package: str) -> str:
    """The licence as an SPDX expression: the modern field, else the first line of the old one, else the classifiers."""
    stated: PackageMetadata = metadata(package)
    # Some put the whole text of their licence into a field meant for its name.
    field = (_get(stated, "License-Expression") or _get(stated, "License")).strip().splitlines()
    classifiers = [
        value.rpartition(" :: ")[2]
        for value in stated.get_all("Classifier") or []
        if value.startswith("License :: ") and value != "License :: OSI Approved"
    ]
    name = field[0].strip() if field else " OR ".join(SPDX.get(value, value) for value in classifiers)
    if not name:
        raise SystemExit(f"{package} states no licence: say which in SPDX above, with its source")
    return SPDX.get(name, name)


def _get(stated: PackageMetadata, field: str) -> str:
    return cast(Message, stated).get(field) or ""


def table() -> str:
    packages = locked()
    width = max(len(f"{name} {version}") for name, version in packages.items())
    rows = [f"{f'{name} {version}':<{width}}  {licence(name)}" for name, version in sorted(packages.items())]
    return "\n".join([HEADING, "-" * len(HEADING), "", *rows, ""])


def expected() -> str:
    return NOTICE.read_text().partition(HEADING)[0] + table()


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if NOTICE.read_text() == expected() else "NOTICE is not what the lock says: run tools/notice.py")
    NOTICE.write_text(expected())
