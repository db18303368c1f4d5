"""Files people upload, kept as the text that was read from them.

    bytes ─▶ inspector ─▶ extractor ─▶ text ─ compressed, sealed ─▶ stored_file ─▶ text_of ─▶ scanned and sent

A file belongs to whoever uploaded it: to everybody else it does not exist. The bytes are forgotten once they are read. The name
and the text are sealed with AES-256-GCM under a key made from the installation's, bound to the row and its owner, so that a row
moved to another person opens for nobody. Files expire; nothing of them is written to a log.

For whoever builds a request (a content part `{"type": "file", "file": {"file_id": "…"}}`):

    ExtractedFile = await files.text_of(file_id, owner)        owner: Principal.user_id; raises NotFound, Unavailable

`.text` is what is scanned and what is sent in the part's place; `.grade` is the declared grade, of which the request's own and
the detected one may be stricter.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import orjson
from sqlalchemy import Engine, Row, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.attachments.configured import Readers
from gateway.attachments.extracted import Extracted, Uninspectable
from gateway.database import DatabaseError, reading
from gateway.errors import BadRequest, NotFound, Refusal, TooLarge, Unavailable
from gateway.settings import Grade, Settings
from gateway.workspace.tables import stored_file

log = logging.getLogger("haechi.files")

T = TypeVar("T")

_DAY_US: Final = 86_400 * 1_000_000
_PURGE_SECONDS: Final = 600.0
_NONCE: Final = 12
_LONGEST_NAME: Final = 255
_LISTED: Final = 1000


class FileUninspectable(Refusal):
    """The file cannot be vouched for, so it was not taken. `details`: {"reason", "part"?}."""

    status = 400
    type = "invalid_request_error"
    code = "file_uninspectable"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What its owner may know of a file without its text. Times in UTC microseconds.

    `not_read` names what stood in it beside text and is not sent; `mismatch`: its name promised another kind.
    """

    id: str
    name: str
    kind: str
    bytes: int
    chars: int
    grade: Grade
    created_at: int
    expires_at: int
    not_read: tuple[str, ...] = ()
    mismatch: bool = False


@dataclass(frozen=True, slots=True)
class ExtractedFile:
    """A file as a request carries it: `text` is all of it that is scanned and sent, `grade` what its owner declared."""

    id: str
    name: str
    kind: str
    grade: Grade
    text: str


class Files:
    """Everybody's files. One per process; `start` and `stop` it with the app."""

    def __init__(
        self,
        engine: Engine,
        build: Callable[[Settings], Readers],
        encryption_key: bytes,
        settings: Callable[[], Settings],
        *,
        clock: Callable[[], int],
        ids: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._build = build
        self._built: tuple[Settings, Readers] | None = None
        self._replaced: list[Readers] = []
        # One key for one purpose: what is sealed here opens nothing sealed elsewhere with the installation's key.
        self._key = hmac.digest(encryption_key, b"haechi stored files v1", "sha256")
        self._settings = settings
        self._clock = clock
        self._ids = ids
        # Threads of their own, started by the first file: a large row must not keep people waiting at the door.
        self._threads: ThreadPoolExecutor | None = None
        self._purging: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Delete what has expired, now and then, until `stop`."""
        self._purging = asyncio.create_task(self._purge_forever(), name="files-expiry")

    async def stop(self) -> None:
        if self._purging is not None:
            self._purging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._purging
            self._purging = None
        for readers in [*self._replaced, *([self._built[1]] if self._built is not None else [])]:
            await readers.inspector.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    # ── what a person can do ─────────────────────────────────────────────────────────────────────────────────────────

    async def upload(self, owner: str, name: str, data: bytes, grade: Grade) -> StoredFile:
        """Read a file and keep its text. Raises FileUninspectable, TooLarge, BadRequest (too many files), Unavailable."""
        settings = self._settings().attachments
        if len(data) > settings.max_bytes:
            raise too_large(settings.max_mb)
        name = clean_name(name)
        await self._in_thread(partial(self._refuse_too_many, owner, settings.files_per_person))
        extracted = await self._extracted(name, data)
        now = self._clock()
        kept = StoredFile(
            id=f"file-{self._ids()}",
            name=name,
            kind=extracted.kind,
            bytes=len(data),
            chars=len(extracted.text),
            grade=grade,
            created_at=now,
            expires_at=now + settings.keep_days * _DAY_US,
            not_read=extracted.not_read,
            mismatch=extracted.mismatch,
        )
        await self._in_thread(partial(self._insert, owner, kept, extracted.text, settings.files_per_person))
        return kept

    async def read(self, name: str, data: bytes) -> str:
        """The text of a file that came inside a request and is kept nowhere. Raises as `upload` does."""
        settings = self._settings().attachments
        if len(data) > settings.max_bytes:
            raise too_large(settings.max_mb)
        return (await self._extracted(clean_name(name), data)).text

    async def _extracted(self, name: str, data: bytes) -> Extracted:
        readers = self._readers()
        try:
            inspected = await readers.inspector.inspect(data, name)
            return await readers.extractor.extract(inspected, name)
        except Uninspectable as refused:
            log.info("a file was refused: %s", refused.code)
            raise uninspectable(refused) from refused

    async def get(self, file_id: str, owner: str) -> StoredFile:
        """Raises NotFound for a file that is not there, has expired, or is somebody else's."""
        row = await self._in_thread(partial(self._row, file_id, owner))
        return self._shown(row, owner)

    async def listed(self, owner: str) -> list[StoredFile]:
        """One's own, the newest first."""
        rows = await self._in_thread(partial(self._rows, owner))
        return [self._shown(row, owner) for row in rows]

    async def delete(self, file_id: str, owner: str) -> None:
        """Raises NotFound as `get` does."""
        if not await self._in_thread(partial(self._delete, file_id, owner)):
            raise _no_such_file()

    async def text_of(self, file_id: str, owner: str) -> ExtractedFile:
        """What is scanned and sent for a file, for its owner alone. Raises NotFound as `get` does."""
        row = await self._in_thread(partial(self._row, file_id, owner))
        shown = self._shown(row, owner)
        text = await self._in_thread(partial(self._text, row, owner))
        return ExtractedFile(shown.id, shown.name, shown.kind, shown.grade, text)

    def _readers(self) -> Readers:
        """As the configuration in force says: an inspection that is switched on holds from the next upload."""
        now = self._settings()
        if self._built is None:
            self._built = (now, self._build(now))
        elif (self._built[0].attachments, self._built[0].inspector_token) != (now.attachments, now.inspector_token):
            self._replaced.append(self._built[1])  # files may still be on their way through it
            self._built = (now, self._build(now))
        return self._built[1]

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _refuse_too_many(self, owner: str, most: int) -> None:
        with self._reading.connect() as connection:
            counted = select(func.count()).where(
                stored_file.c.user_id == owner, stored_file.c.expires_at > self._clock()
            )
            if int(connection.scalar(counted) or 0) >= most:
                raise _too_many(most)

    def _insert(self, owner: str, kept: StoredFile, text: str, most: int) -> None:
        label = orjson.dumps({"name": kept.name, "not_read": kept.not_read, "mismatch": kept.mismatch})
        values = {
            "id": kept.id,
            "user_id": owner,
            "created_at": kept.created_at,
            "expires_at": kept.expires_at,
            "kind": kept.kind,
            "bytes": kept.bytes,
            "chars": kept.chars,
            "grade": kept.grade,
            "label": self._sealed(label, kept.id, owner, "label"),
            "content": self._sealed(zlib.compress(text.encode(), 6), kept.id, owner, "content"),
        }
        with self._engine.begin() as connection:
            # Counted again where it is written: of several uploads at once only as many as fit are kept. On PostgreSQL two
            # may still pass together; the limit guards a disk, not money.
            counted = select(func.count()).where(
                stored_file.c.user_id == owner, stored_file.c.expires_at > kept.created_at
            )
            if int(connection.scalar(counted) or 0) >= most:
                raise _too_many(most)
            connection.execute(insert(stored_file).values(values))

    def _row(self, file_id: str, owner: str) -> Row[tuple[object, ...]]:
        with self._reading.connect() as connection:
            found = connection.execute(
                select(stored_file).where(
                    stored_file.c.id == file_id,
                    stored_file.c.user_id == owner,
                    stored_file.c.expires_at > self._clock(),
                )
            ).one_or_none()
        if found is None:
            raise _no_such_file()
        return found

    def _rows(self, owner: str) -> list[Row[tuple[object, ...]]]:
        columns = [column for column in stored_file.c if column.name != "content"]
        with self._reading.connect() as connection:
            return list(
                connection.execute(
                    select(*columns)
                    .where(stored_file.c.user_id == owner, stored_file.c.expires_at > self._clock())
                    .order_by(stored_file.c.created_at.desc(), stored_file.c.id.desc())
                    .limit(_LISTED)
                )
            )

    def _delete(self, file_id: str, owner: str) -> bool:
        with self._engine.begin() as connection:
            gone = connection.execute(
                delete(stored_file).where(
                    stored_file.c.id == file_id,
                    stored_file.c.user_id == owner,
                    stored_file.c.expires_at > self._clock(),
                )
            )
        return gone.rowcount == 1

    def purge(self) -> int:
        """Delete what has expired; how many files that were."""
        now = self._clock()
        with self._reading.connect() as connection:
            expired = int(connection.scalar(select(func.count()).where(stored_file.c.expires_at <= now)) or 0)
        if expired:
            with self._engine.begin() as connection:
                connection.execute(delete(stored_file).where(stored_file.c.expires_at <= now))
        return expired

    async def _purge_forever(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.purge)
            except (SQLAlchemyError, DatabaseError) as e:
                log.warning("expired files were not deleted, it is tried again: %s", type(e).__name__)
            await asyncio.sleep(_PURGE_SECONDS)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="files")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (SQLAlchemyError, DatabaseError) as e:
            log.warning("files cannot be reached: %s", type(e).__name__)
            raise Unavailable(
                "Files cannot be reached right now; try again. 지금은 파일을 쓸 수 없습니다. 잠시 후 다시 시도하십시오."
            ) from e

    # ── sealing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sealed(self, plain: bytes, file_id: str, owner: str, what: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 – only files pay for it

        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._key).encrypt(nonce, plain, f"{what}:{file_id}:{owner}".encode())

    def _opened(self, sealed: bytes, file_id: str, owner: str, what: str) -> bytes:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 – see _sealed
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 – see _sealed

        try:
            return AESGCM(self._key).decrypt(sealed[:_NONCE], sealed[_NONCE:], f"{what}:{file_id}:{owner}".encode())
        except InvalidTag as e:
            # Another installation's key, or a row somebody has moved or changed: nobody gets to see it.
            log.error("a stored file cannot be opened: %s", file_id)
            raise _no_such_file() from e

    def _shown(self, row: Row[tuple[object, ...]], owner: str) -> StoredFile:
        label = orjson.loads(self._opened(row.label, row.id, owner, "label"))
        return StoredFile(
            id=row.id,
            name=label["name"],
            kind=row.kind,
            bytes=row.bytes,
            chars=row.chars,
            grade=row.grade,
            created_at=row.created_at,
            expires_at=row.expires_at,
            not_read=tuple(label["not_read"]),
            mismatch=label["mismatch"],
        )

    def _text(self, row: Row[tuple[object, ...]], owner: str) -> str:
        return zlib.decompress(self._opened(row.content, row.id, owner, "content")).decode()


def clean_name(given: str) -> str:
    """The last part of a path, without control characters; browsers and scripts send all sorts."""
    last = given.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if letter.isprintable()).strip()
    return kept[-_LONGEST_NAME:] or "file"


def uninspectable(refused: Uninspectable) -> FileUninspectable:
    """What the person is told. The name of a part is the file's own, so it goes to nobody but whoever sent it."""
    part = {"part": refused.part} if refused.part else {}
    return FileUninspectable(
        f"{refused.message} Nothing was kept and nothing was sent. 파일은 보관하지 않았고 아무것도 보내지 않았습니다.",
        param="file",
        details={"reason": refused.code, **part},
    )


def too_large(most_mb: int) -> TooLarge:
    return TooLarge(
        f"A file may have at most {most_mb} MB. Split it, or upload it as text. "
        f"파일은 {most_mb}MB까지 올릴 수 있습니다. 나누거나 텍스트로 올리십시오.",
        param="file",
        details={"limit_mb": most_mb},
    )


def _too_many(most: int) -> BadRequest:
    return BadRequest(
        f"You have {most} files, which is as many as one person may keep. Delete some first. "
        f"보관할 수 있는 파일은 {most}개까지입니다. 필요 없는 파일을 지운 뒤 올리십시오.",
        code="too_many_files",
        details={"limit": most},
    )


def _no_such_file() -> NotFound:
    return NotFound(
        "There is no such file: it was deleted, has expired, or is not yours. "
        "그런 파일이 없습니다. 지워졌거나 보관 기간이 지났거나 본인의 파일이 아닙니다.",
        code="file_not_found",
    )
