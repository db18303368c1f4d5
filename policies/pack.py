"""Rules as data: a folder of YAML files → one frozen `Pack`, or an error that names file, line and remedy.

    packs/default/   secrets.yaml  marks.yaml  email.yaml  keywords.yaml  places.yaml  names.yaml  site.yaml    what ships
    a site's folder  the same files, holding only what is added; dictionaries.yaml: words of departments, what a hit means

A pack is read whole or refused whole. What a later folder says is added to the lists before it; an entry with the same `id`,
`variant` or `name` takes the earlier one's place. Every expression is compiled by RE2 while reading, so one that could take
longer than the text is long does not come in. The version is a digest of what was read: the same files are the same version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import re2
import yaml

from policies.decision import Grade
from policies.ruleset import Dictionary, Rules

SHIPPED = Path(__file__).parent / "packs" / "default"

#: Bytes RE2 may spend on one expression; what needs more is refused when it is read.
_RE2_MEMORY = 4 << 20
_LONGEST_EXPRESSION = 2000
_LARGEST_FILE = 4 << 20
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class PackError(ValueError):
    """A pack that is refused, whole. The message is `file:line: what is wrong: what to do`."""

    def __init__(self, file: str, line: int, problem: str, remedy: str) -> None:
        super().__init__(f"{file}:{line}: {problem}: {remedy}")
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True)
class Shape:
    """The published shape of a credential. `regex` is RE2 with at most one group, which takes the value.

    It is looked for only within `reach` characters of a keyword. `entropy`: bits per character it must have; `digits`: it must
    hold a digit and a letter.
    """

    id: str
    keywords: tuple[str, ...]
    regex: str
    source: str
    entropy: float = 0.0
    reach: int = 320
    digits: bool = False


@dataclass(frozen=True, slots=True)
class Secrets:
    secrets: tuple[Shape, ...] = ()
    password_labels: tuple[str, ...] = ()
    key_labels: tuple[str, ...] = ()
    stop_words: tuple[str, ...] = ()
    stop_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """`words`: RE2 expressions of the mark as it is written; `triggers`: plain words of which every mark holds one."""

    variant: str
    grade: Grade
    words: tuple[str, ...]
    triggers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FieldValue:
    """What a metadata field may say beside the marks themselves."""

    variant: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    marks: tuple[Mark, ...] = ()
    fields: tuple[str, ...] = ()
    values: tuple[FieldValue, ...] = ()
    talk: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    example_domains: tuple[str, ...] = ()
    machine_addresses: tuple[str, ...] = ()
    role_mailboxes: tuple[str, ...] = ()
    personal_domains: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    file_endings: tuple[str, ...] = ()
    at_words: tuple[str, ...] = ()
    dot_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """Words of one of the classes of sensitive information of the Personal Information Protection Act."""

    id: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keywords:
    topics: tuple[Topic, ...] = ()
    persons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    provinces: tuple[str, ...] = ()
    districts: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    venues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """Syllables are given as one string each; all else as lists of words."""

    surnames: tuple[str, ...] = ()
    usual_surnames: tuple[str, ...] = ()
    compound_surnames: tuple[str, ...] = ()
    first_syllables: str = ""
    last_syllables: str = ""
    particles: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    latin_labels: tuple[str, ...] = ()
    romanised_surnames: tuple[str, ...] = ()
    honorifics: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    doubtful_endings: str = ""
    not_names: tuple[str, ...] = ()
    not_beginnings: tuple[str, ...] = ()
    word_endings: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Whose numbers, addresses and mailboxes are public here, and which detectors are off."""

    phones: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    mail_domains: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dictionaries:
    dictionaries: tuple[Dictionary, ...] = ()


@dataclass(frozen=True, slots=True)
class Pack:
    """Everything detectors know that is not code. `version` is a digest of the files."""

    version: str
    secrets: Secrets = field(default_factory=Secrets)
    marks: Marks = field(default_factory=Marks)
    email: Mail = field(default_factory=Mail)
    keywords: Keywords = field(default_factory=Keywords)
    places: Places = field(default_factory=Places)
    names: Names = field(default_factory=Names)
    site: Site = field(default_factory=Site)
    dictionaries: Dictionaries = field(default_factory=Dictionaries)

    @property
    def rules(self) -> Rules:
        """What a site says about its own text, as the scanner takes it."""
        return Rules(
            phones=self.site.phones,
            addresses=self.site.addresses,
            mail_domains=self.site.mail_domains,
            mailboxes=self.site.mailboxes,
            dictionaries=self.dictionaries.dictionaries,
            off=frozenset(self.site.off),
            pack=self.version,
        )


_SECTIONS: dict[str, type] = {
    f"{name}.yaml": kind
    for name, kind in {
        "secrets": Secrets,
        "marks": Marks,
        "email": Mail,
        "keywords": Keywords,
        "places": Places,
        "names": Names,
        "site": Site,
        "dictionaries": Dictionaries,
    }.items()
}
#: Fields whose texts are expressions.
_EXPRESSIONS = {(Shape, "regex"), (Mark, "words"), (Dictionary, "patterns")}
#: What tells the entries of a list apart.
_KEYS = {Shape: "id", Topic: "id", Mark: "variant", FieldValue: "variant", Dictionary: "name"}


def compiled(expression: str) -> Any:
    """The expression in RE2, which reads a text once whatever the two are. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _RE2_MEMORY
    return re2.compile(expression, options)


@cache
def shipped() -> Pack:
    """The pack that ships with the project."""
    return load()


def load(*folders: Path | str) -> Pack:
    """The shipped pack and what `folders` add to it, in order. Raises PackError; OSError when a folder cannot be read."""
    parts: dict[str, Any] = {name: kind() for name, kind in _SECTIONS.items()}
    digest = hashlib.sha256()
    for folder in (SHIPPED, *map(Path, folders)):
        found = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
        if not found:
            raise PackError(
                folder.name, 1, "빈 폴더 (an empty folder)", f"파일을 두십시오 (add {', '.join(_SECTIONS)})"
            )
        for path in found:
            if path.name not in _SECTIONS:
                raise PackError(
                    path.name,
                    1,
                    "규칙 파일이 아님 (no file of a pack)",
                    f"이름을 고치거나 옮기십시오 (rename or move it; known: {', '.join(_SECTIONS)})",
                )
            data = path.read_bytes()
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(data).digest())
            parts[path.name] = _merged(parts[path.name], _Reader(path.name).read(data, _SECTIONS[path.name]))
    return Pack(digest.hexdigest()[:16], **{name.removesuffix(".yaml"): part for name, part in parts.items()})


def _merged(base: Any, more: Any) -> Any:
    """Lists are added to; entries of one key replaced; texts joined."""
    out: dict[str, Any] = {}
    for each in fields(base):
        old, new = getattr(base, each.name), getattr(more, each.name)
        if isinstance(old, tuple) and new and type(new[0]) in _KEYS:
            key = _KEYS[type(new[0])]
            entries = {getattr(entry, key): entry for entry in (*old, *new)}
            out[each.name] = tuple(entries.values())
        elif isinstance(old, tuple):
            out[each.name] = tuple(dict.fromkeys((*old, *new)))
        else:
            out[each.name] = old + new
    return type(base)(**out)


class _Reader:
    """Reads one file into its dataclass; holds the file's name for the errors."""

    def __init__(self, name: str) -> None:
        self._name = name

    def fail(self, node: yaml.Node | None, problem: str, remedy: str) -> PackError:
        return PackError(self._name, node.start_mark.line + 1 if node is not None else 1, problem, remedy)

    def read(self, data: bytes, kind: type) -> Any:
        if len(data) > _LARGEST_FILE:
            raise self.fail(None, "너무 큰 파일 (too large)", "4 MiB 아래로 나누십시오 (keep it under 4 MiB)")
        try:
            node = yaml.compose(data.decode("utf-8"), Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise PackError(
                self._name,
                line,
                f"YAML 문법 오류 (not YAML: {error.problem})",
                "문법을 고치십시오 (correct the syntax)",
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            raise self.fail(
                None, "읽을 수 없는 파일 (not readable)", "UTF-8 YAML로 저장하십시오 (save it as UTF-8 YAML)"
            ) from None
        if node is None:
            raise self.fail(None, "빈 파일 (empty)", "내용을 적거나 지우십시오 (fill or remove it)")
        return self._record(node, kind)

    def _record(self, node: yaml.Node, kind: type) -> Any:
        if not isinstance(node, yaml.MappingNode):
            names = ", ".join(each.name for each in fields(kind))
            raise self.fail(node, "항목: 값 모양이 아님 (no mapping)", f"다음으로 적으십시오 (write {names})")
        hints = get_type_hints(kind)
        known = {each.name: each for each in fields(kind)}
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value
            if name not in known:
                raise self.fail(
                    key, f"모르는 항목 (unknown key) {name!s:.40}", f"쓸 수 있는 항목 (use one of) {', '.join(known)}"
                )
            if name in values:
                raise self.fail(key, f"두 번 나온 항목 (key twice) {name}", "하나만 남기십시오 (keep one of them)")
            values[name] = self._value(value, hints[name], (kind, name))
        for name, each in known.items():
            if name not in values and each.default is MISSING and each.default_factory is MISSING:
                raise self.fail(node, f"빠진 항목 (missing) {name}", f"적으십시오 (add `{name}: …`)")
        return kind(**values)

    def _value(self, node: yaml.Node, hint: Any, where: tuple[type, str]) -> Any:
        if get_origin(hint) is tuple:
            return self._list(node, get_args(hint)[0], where)
        if not isinstance(node, yaml.ScalarNode) or node.value == "":
            raise self.fail(node, f"{where[1]}: 글이 아님 (no text)", "값 하나를 적으십시오 (write one value)")
        text = cast(str, node.value)
        if get_origin(hint) is Literal:
            if text not in get_args(hint):
                raise self.fail(
                    node,
                    f"{where[1]}: 모르는 값 (unknown) {text:.40}",
                    f"다음 중 하나 (use) {', '.join(get_args(hint))}",
                )
            return text
        if hint is bool:
            if text not in ("true", "false"):
                raise self.fail(node, f"{where[1]}: {text:.40}", "true 또는 false (write true or false)")
            return text == "true"
        if hint in (int, float):
            try:
                number = hint(text)
            except ValueError:
                number = -1
            if not 0 <= number <= 100_000:
                raise self.fail(node, f"{where[1]}: {text:.40}", "0 이상의 수를 적으십시오 (write a number from 0)")
            return number
        if where in _EXPRESSIONS:
            self._expression(node, text, groups=1 if where[0] is Shape else 0)
        return text

    def _list(self, node: yaml.Node, hint: Any, where: tuple[type, str]) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"{where[1]}: 목록이 아님 (no list)", "`- …` 또는 [ ]로 적으십시오 (write a list)")
        if not is_dataclass(hint):
            return tuple(self._value(item, hint, where) for item in node.value)
        kind = cast(type, hint)
        entries: dict[str, Any] = {}
        for item in node.value:
            entry = self._record(item, kind)
            key = str(getattr(entry, _KEYS[kind]))
            if key in entries:
                raise self.fail(item, f"두 번 나온 이름 (twice) {key:.40}", "하나만 남기십시오 (keep one of them)")
            entries[key] = entry
        return tuple(entries.values())

    def _expression(self, node: yaml.Node, text: str, groups: int) -> None:
        if len(text) > _LONGEST_EXPRESSION:
            raise self.fail(node, "너무 긴 정규식 (expression too long)", "나누십시오 (split it)")
        try:
            expression = compiled(text)
        except re2.error as error:
            why = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise self.fail(
                node,
                f"RE2가 읽지 못하는 정규식 (RE2 does not take it: {why:.100})",
                "되돌아보기(lookaround)와 역참조 없이 적으십시오 (write it without lookaround and back references)",
            ) from None
        if expression.groups > groups or expression.search("") is not None:
            raise self.fail(
                node,
                f"묶음이 {groups}개보다 많거나 빈 글에도 맞는 정규식 (more than {groups} groups, or it matches nothing at all)",
                "묶음은 (?:…)로 적고, 값이 있어야만 맞게 하십시오 (write groups (?:…) and let it need a value)",
            )


def every_word(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Several lists as one, each word once, in order."""
    return tuple(dict.fromkeys(word for words in lists for word in words))
