"""Reading pictures with tesseract, where the operating system has it with Korean (`tesseract-ocr`, `tesseract-ocr-kor`).

Nothing is installed or fetched for it: without the program pictures cannot be read, and the person is told so.
"""

from __future__ import annotations

import functools
import re
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


#: One column of text of any sizes, for the order; then whatever text there is anywhere, for what stands beside it: a stamp, a
#: caption. The program's own choice of a layout (3) loses whole lines of a plain notice.
_LAYOUTS = ("4", "11")


def recognise(picture: bytes, seconds: int) -> list[str] | None:
    """The lines of a picture; None where this server cannot read pictures at all.

    Raises Uninspectable: `slow`, or `malformed` for a picture tesseract does not take.
    """
    program = available()
    if program is None:
        return None
    lines: list[str] = []
    for layout in _LAYOUTS:
        said = re.sub(r"\s", "", "".join(lines))
        lines += [line for line in _read(program, layout, picture, seconds) if re.sub(r"\s", "", line) not in said]
    return lines


def _read(program: str, layout: str, picture: bytes, seconds: int) -> list[str]:
    command = [program, "stdin", "stdout", "-l", "kor+eng", "--psm", layout]
    try:
        ran = subprocess.run(command, input=picture, capture_output=True, timeout=seconds, check=False)  # noqa: S603 – as above
    except subprocess.TimeoutExpired as e:
        raise Uninspectable("slow") from e
    except OSError as e:
        raise Uninspectable("crashed") from e
    if ran.returncode != 0:
        raise Uninspectable("malformed")
    return [line.strip() for line in ran.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
