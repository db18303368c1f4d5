"""Reading pictures with tesseract, where the operating system has it with Korean (`tesseract-ocr`, `tesseract-ocr-kor`).

Nothing is installed or fetched for it: without the program pictures cannot be read, and the person is told so.
"""

from __future__ import annotations

import functools
import shutil
import subprocess

from gateway.attachments.extracted import Uninspectable


@functools.cache
def available() -> str | None:
    """The program's path where it can read Korean, else None."""
    program = shutil.which("tesseract")
    if program is None:
        return None
    try:
        told = subprocess.run(  # noqa: S603 – a path from the system's own folders, no words of anybody
            [program, "--list-langs"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if b"kor" in told.stdout.split() else None


def recognise(picture: bytes, seconds: int) -> list[str] | None:
    """The lines of a picture; None where this server cannot read pictures at all.

    Raises Uninspectable: `slow`, or `malformed` for a picture tesseract does not take.
    """
    program = available()
    if program is None:
        return None
    command = [program, "stdin", "stdout", "-l", "kor+eng", "--psm", "3"]
    try:
        ran = subprocess.run(command, input=picture, capture_output=True, timeout=seconds, check=False)  # noqa: S603 – as above
    except subprocess.TimeoutExpired as e:
        raise Uninspectable("slow") from e
    except OSError as e:
        raise Uninspectable("crashed") from e
    if ran.returncode != 0:
        raise Uninspectable("malformed")
    return [line.strip() for line in ran.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
