"""The dated price files: one YAML per provider in this folder, and whatever folders an operator adds."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from billing.prices.reading import PriceFile, PriceFileError, read
from billing.pricing import PriceBook

__all__ = ["SHIPPED", "PriceFileError", "load"]

SHIPPED = Path(__file__).parent


def load(folder: Path | str | None = None, extra_folders: Iterable[Path | str] = ()) -> PriceBook:
    """Every `*.yaml` of `folder` (default: the files shipped with the project) and then of `extra_folders`, as one book.

    The book's version is a digest of what was read, so the same files are the same version everywhere.
    Raises PriceFileError naming file, line and remedy: among others for a price list of one key from the same instant as
    another one's, an unknown meter or currency, a negative price, a bad date. A folder that is missing raises it too.
    """
    digest = sha256()
    files: list[PriceFile] = []
    for place in (Path(folder) if folder is not None else SHIPPED, *map(Path, extra_folders)):
        if not place.is_dir():
            raise PriceFileError(str(place), 0, "no such folder of price files", "create it or correct the setting")
        for path in sorted(place.glob("*.yaml")):
            digest.update(path.name.encode() + b"\0" + sha256(path.read_bytes()).digest())
            files.append(read(path))
    _refuse_clashes(files)
    return PriceBook(
        [price for file in files for price in file.prices],
        [calendar for file in files for calendar in file.calendars],
        digest.hexdigest()[:16],
        aliases={alias: key for file in files for alias, key in file.aliases.items()},
    )


def _refuse_clashes(files: list[PriceFile]) -> None:
    """Across files: one list per key and instant, one meaning per other name, known calendars, one currency per key."""
    lists: dict[object, PriceFile] = {}
    names: dict[str, PriceFile] = {}
    calendars = {calendar.id for file in files for calendar in file.calendars}
    keys = {price.key for file in files for price in file.prices}
    for file in files:
        for (key, valid_from), line in file.lines.items():
            other = lists.setdefault((key, valid_from), file)
            if other is not file:
                raise PriceFileError(
                    file.name,
                    line,
                    f"{key} has a list from {valid_from:%Y-%m-%dT%H:%MZ} in {other.name}:{other.lines[key, valid_from]} too",
                    "give the newer list a later valid_from; nothing that holds is edited",
                )
        for alias, key in file.aliases.items():
            if alias in keys or names.setdefault(alias, file) is not file:
                line = min(line for (name, _), line in file.lines.items() if name == key)
                raise PriceFileError(file.name, line, f"{alias} means something else already", "drop the alias")
        for price in file.prices:
            clock = (price.conditions or {}).get("calendar")
            if clock is not None and clock not in calendars:
                line = file.lines[price.key, price.valid_from]
                raise PriceFileError(
                    file.name, line, f"{price.key} follows no known calendar {clock}", "declare it under calendars"
                )
