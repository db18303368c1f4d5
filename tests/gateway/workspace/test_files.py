"""Files belong to whoever uploaded them, are kept sealed and for a time, and exist for nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from clock import Clock
from sqlalchemy import Engine

from gateway.attachments.configured import Readers
from gateway.attachments.inspector import Inspector, Nobody
from gateway.attachments.scripted_extractor import ScriptedExtractor
from gateway.attachments.scripted_inspector import ScriptedInspector
from gateway.audit import Actor
from gateway.database import reading
from gateway.directory.directory import Directory
from gateway.directory.ids import uuid7
from gateway.errors import BadRequest, NotFound, TooLarge, Unavailable
from gateway.settings import Attachments, InspectorConfig, Settings
from gateway.workspace.files import Files, FileUninspectable, clean_name

TEXT = "민원인 홍길동 850312-2345678"
DAY = 86_400 * 1_000_000


class Room:
    """Files over a database, with two people, and a configuration that can change."""

    def __init__(self, engine: Engine, clock: Clock, settings: Settings, kim: str, lee: str) -> None:
        self.engine = engine
        self.clock = clock
        self.settings = settings
        self.kim = kim
        self.lee = lee
        self.inspectors: list[Inspector] = []
        self.files = Files(engine, self._build, b"k" * 32, lambda: self.settings, clock=clock, ids=uuid7)

    def _build(self, given: Settings) -> Readers:
        self.inspectors.append(ScriptedInspector() if given.attachments.inspector else Nobody())
        return Readers(self.inspectors[-1], ScriptedExtractor())

    def configure(self, **changed: object) -> None:
        attachments = self.settings.attachments.model_copy(update=changed)
        self.settings = self.settings.model_copy(update={"attachments": attachments})

    def rows(self) -> list[dict[str, object]]:
        with reading(self.engine).connect() as connection:
            return [dict(row) for row in connection.execute(sa.text("SELECT * FROM stored_file")).mappings()]


@pytest.fixture
async def room(engine: Engine, settings: Settings, clock: Clock, city: Directory, by: Actor) -> AsyncIterator[Room]:
    kim = city.add_user("park@city.example", "TAX", ["staff"], by=by)
    lee = city.add_user("lee@city.example", "TAX", ["staff"], by=by)
    made = Room(engine, clock, settings, kim.id, lee.id)
    yield made
    await made.files.stop()


async def test_what_is_uploaded_is_there_for_its_owner(room: Room) -> None:
    stored = await room.files.upload(room.kim, "C:\\문서\\보고.pdf", TEXT.encode(), "S")
    assert stored.name == "보고.pdf"
    assert (stored.kind, stored.bytes, stored.chars, stored.grade) == ("text", len(TEXT.encode()), len(TEXT), "S")
    assert stored.expires_at - stored.created_at == 30 * DAY
    assert (stored.not_read, stored.mismatch) == (("media/image1.png",), True)
    assert await room.files.get(stored.id, room.kim) == stored
    assert await room.files.listed(room.kim) == [stored]
    found = await room.files.text_of(stored.id, room.kim)
    assert (found.id, found.name, found.kind, found.grade, found.text) == (stored.id, "보고.pdf", "text", "S", TEXT)


async def test_for_everybody_else_it_does_not_exist(room: Room) -> None:
    """The answer is the answer to an id nobody ever made."""
    stored = await room.files.upload(room.kim, "보고.txt", TEXT.encode(), "O")
    assert await room.files.listed(room.lee) == []
    said: set[str] = set()
    for file_id in (stored.id, "file-nobody-made-this"):
        for attempt in (room.files.get, room.files.text_of, room.files.delete):
            with pytest.raises(NotFound) as refused:
                await attempt(file_id, room.lee)
            said.add(f"{refused.value.code} {refused.value.message}")
    assert len(said) == 1
    assert (await room.files.text_of(stored.id, room.kim)).text == TEXT


async def test_a_deleted_file_is_gone(room: Room) -> None:
    stored = await room.files.upload(room.kim, "보고.txt", TEXT.encode(), "O")
    await room.files.delete(stored.id, room.kim)
    with pytest.raises(NotFound):
        await room.files.text_of(stored.id, room.kim)
    with pytest.raises(NotFound):
        await room.files.delete(stored.id, room.kim)
    assert room.rows() == []


async def test_nothing_of_it_stands_in_the_database_in_clear(room: Room) -> None:
    await room.files.upload(room.kim, "홍길동-비밀.txt", TEXT.encode() * 20, "O")
    (row,) = room.rows()
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row.values())
    for canary in ("홍길동", "850312", "비밀"):
        assert canary.encode() not in stored


async def test_a_row_that_was_moved_to_somebody_else_opens_for_nobody(room: Room) -> None:
    stored = await room.files.upload(room.kim, "보고.txt", TEXT.encode(), "O")
    with room.engine.begin() as connection:
        connection.execute(sa.text("UPDATE stored_file SET user_id = :lee"), {"lee": room.lee})
    for owner in (room.kim, room.lee):
        with pytest.raises(NotFound):
            await room.files.text_of(stored.id, owner)


async def test_contents_that_were_swapped_open_for_nobody(room: Room) -> None:
    """Both rows are the same person's: what is sealed is bound to its row."""
    first = await room.files.upload(room.kim, "a.txt", b"first", "O")
    second = await room.files.upload(room.kim, "b.txt", b"second", "O")
    with room.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE stored_file SET content = (SELECT content FROM stored_file WHERE id = :a) WHERE id = :b"),
            {"a": first.id, "b": second.id},
        )
    with pytest.raises(NotFound):
        await room.files.text_of(second.id, room.kim)
    assert (await room.files.text_of(first.id, room.kim)).text == "first"


async def test_files_expire(room: Room) -> None:
    stored = await room.files.upload(room.kim, "보고.txt", TEXT.encode(), "O")
    room.clock.now = stored.expires_at - 10  # each look is one microsecond
    assert (await room.files.text_of(stored.id, room.kim)).text == TEXT
    assert room.files.purge() == 0
    room.clock.now = stored.expires_at
    with pytest.raises(NotFound):
        await room.files.text_of(stored.id, room.kim)
    assert await room.files.listed(room.kim) == []
    assert room.files.purge() == 1
    assert room.rows() == []


async def test_how_long_is_configured(room: Room) -> None:
    room.configure(keep_days=2)
    stored = await room.files.upload(room.kim, "보고.txt", b"a", "O")
    assert stored.expires_at - stored.created_at == 2 * DAY


async def test_one_person_may_keep_so_many(room: Room) -> None:
    """Expired ones do not count, and other people's do not."""
    room.configure(files_per_person=2)
    first = await room.files.upload(room.kim, "1.txt", b"1", "O")
    await room.files.upload(room.kim, "2.txt", b"2", "O")
    with pytest.raises(BadRequest) as refused:
        await room.files.upload(room.kim, "3.txt", b"3", "O")
    assert refused.value.code == "too_many_files"
    await room.files.upload(room.lee, "3.txt", b"3", "O")
    await room.files.delete(first.id, room.kim)
    await room.files.upload(room.kim, "3.txt", b"3", "O")
    room.clock.now += 31 * DAY
    await room.files.upload(room.kim, "4.txt", b"4", "O")


async def test_a_file_may_be_so_large(room: Room) -> None:
    room.configure(max_mb=1)
    await room.files.upload(room.kim, "a.txt", b"a" * 1024 * 1024, "O")
    with pytest.raises(TooLarge) as refused:
        await room.files.upload(room.kim, "a.txt", b"a" * (1024 * 1024 + 1), "O")
    assert refused.value.details == {"limit_mb": 1}


async def test_a_file_nobody_can_vouch_for_is_not_kept(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileUninspectable) as refused:
        await room.files.upload(room.kim, "홍길동.txt", f"{TEXT} [[refuse:encrypted]]".encode(), "O")
    assert refused.value.status == 400
    assert refused.value.details == {"reason": "encrypted", "part": "inner.docx"}
    assert "암호" in refused.value.message
    assert room.rows() == []
    assert "홍길동" not in caplog.text


async def test_an_inspection_stands_in_front_as_soon_as_it_is_configured(room: Room) -> None:
    """A reload, no restart; one that did not change keeps its connections."""
    await room.files.upload(room.kim, "a.txt", b"[[fail]] nobody looks", "O")
    room.configure(inspector=InspectorConfig(kind="icap", url="icap://dlp.example/a"))
    for _ in range(2):
        await room.files.upload(room.kim, "a.txt", b"clean", "O")
    for mark, reason in (("refuse", "inspector_refused"), ("fail", "inspector_failed")):
        with pytest.raises(FileUninspectable) as refused:
            await room.files.upload(room.kim, "a.txt", f"[[{mark}]]".encode(), "O")
        assert refused.value.details == {"reason": reason}
    inspector = room.inspectors[-1]
    assert isinstance(inspector, ScriptedInspector)
    assert len(room.inspectors) == 2
    assert [data for data, _ in inspector.seen] == [b"clean", b"clean", b"[[refuse]]", b"[[fail]]"]


async def test_without_the_database_nothing_is_taken(room: Room, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE stored_file"))
    with pytest.raises(Unavailable):
        await room.files.upload(room.kim, "a.txt", b"a", "O")
    with pytest.raises(Unavailable):
        await room.files.text_of("file-x", room.kim)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("보고.hwp", "보고.hwp"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\보고.hwp", "보고.hwp"),
        ("a\x00b\r\nc\u202e.txt", "abc.txt"),
        ("", "file"),
        ("\x07", "file"),
        ("가" * 400 + ".hwp", "가" * 251 + ".hwp"),
    ],
)
def test_a_name_is_the_last_of_a_path_and_printable(given: str, kept: str) -> None:
    assert clean_name(given) == kept


def test_the_limits_of_the_grammar_are_the_ones_in_force() -> None:
    assert Attachments().max_bytes == 20 * 1024 * 1024
    assert Attachments(max_mb=3).max_bytes == 3 * 1024 * 1024
