"""config.yaml and the environment → one frozen `Settings`, or one `ConfigError` that lists everything wrong.

    config.yaml ─▶ nodes (with lines) ─▶ Config (grammar) ─▶ checks (meaning) ─┐
    environment ─▶ port, paths, credentials, overrides ────────────────────────┼─▶ Settings
    HAECHI_DATA/secrets.json (generated once) ─────────────────────────────────┘

`load_settings` depends on its arguments and on the files they name, on nothing else, so a reload is a second call.
An unknown key, an empty secret or a model that could lead S-grade text outside refuses to start: a gateway that guesses
what its operator meant is worse than one that is down. No message ever quotes a value that may be a secret.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import secrets as random
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from policies.rules.actions import TableRefused, read_table

Destination = Literal["inside", "government", "domestic", "foreign"]
Grade = Literal["O", "S", "C"]
Env: TypeAlias = Mapping[str, str]
Path_: TypeAlias = tuple[str | int, ...]

#: Open < sensitive < classified (N2SF).
GRADES: tuple[Grade, ...] = ("O", "S", "C")
#: Least to most exposed.
DESTINATIONS: tuple[Destination, ...] = ("inside", "government", "domestic", "foreign")

#: How usage is reported where the configuration does not say: with the wire format of these kinds, in one way only.
FAMILY_OF_KIND: Mapping[str, str] = {
    "anthropic": "anthropic/messages",
    "bedrock_converse": "aws/converse",
    "cohere": "cohere/v2",
    "gemini": "google/generateContent",
    "openai_responses": "openai/responses",
}

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,95}")
_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_PRICE_KEY = re.compile(r"[a-z][a-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9._:@/-]*")
_FAMILY = re.compile(r"[a-z][a-z0-9]*/[A-Za-z0-9-]+")
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


class ConfigError(Exception):
    """Everything that keeps the configuration from starting, one line each: `file:line path: what → remedy`."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"configuration refused, {count} problem(s) / 설정을 받아들일 수 없습니다 ({count}건)"
        super().__init__("\n".join([head, *(f"  {line}" for line in self.problems)]))


@dataclass(frozen=True, slots=True)
class _Problem:
    path: Path_
    what: str
    remedy: str


# ── grammar ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse(what: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{what}", {"what": what, "remedy": remedy})


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as e:  # the three ways zoneinfo says "no such zone"
        raise _refuse(f"no time zone is called {value!r}", "use an IANA name such as Asia/Seoul") from e
    return value


def _month_day(value: str) -> str:
    try:
        date.fromisoformat(f"2025-{value}")  # a common year: 02-29 would not come round every year
    except ValueError as e:
        raise _refuse(f"{value!r} is not a day of every year", 'write MM-DD in quotes, such as "01-01"') from e
    return value


def _price_key(value: str) -> str:
    if not _PRICE_KEY.fullmatch(value):
        raise _refuse(f"{value!r} is not a price key", "write provider/model, such as openai/gpt-5-mini")
    return value


def _model_name(value: str) -> str:
    if not _MODEL_NAME.fullmatch(value):
        raise _refuse(f"{value!r} is not a model name", "use letters, digits, '.', '_', ':' and '-', at most 96")
    return value


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise _refuse(f"{value!r} is not a short name", "use lower-case letters, digits, '_' and '-', at most 48")
    return value


def _actions(value: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        read_table(value)
    except TableRefused as refused:
        raise _refuse("; ".join(refused.problems), "correct these / 이 항목을 고치십시오") from None
    return value


def _family(value: str) -> str:
    if not _FAMILY.fullmatch(value):
        raise _refuse(f"{value!r} is not a usage family", "write provider/flavour, such as openai/chat")
    return value


def _env_name(value: str) -> str:
    if not _ENV_NAME.fullmatch(value):
        raise _refuse(
            "not the name of an environment variable",  # not quoted: it may be the key itself, pasted by mistake
            "name the variable that holds the key, such as OPENAI_API_KEY / 키가 아니라 변수 이름을 쓰십시오",
        )
    return value


def _url(value: str) -> str:
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _refuse("not an http(s) address", "write https://host[:port][/path]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _refuse("an address may not carry a user, a query or a fragment", "put the key into api_key_env")
    return value.rstrip("/")


class Section(BaseModel):
    """A block of config.yaml: unknown keys are refused, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Label(Section):
    """One text in the two languages the product speaks."""

    ko: str = Field(min_length=1)
    en: str = Field(min_length=1)


class Organisation(Section):
    name: str = Field(min_length=1)
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Seoul"
    currency: Literal["KRW"] = "KRW"
    fiscal_year_starts: Annotated[str, AfterValidator(_month_day)] = "01-01"


class Tax(Section):
    """How value-added tax reaches what this provider's use costs; `rate_bp` in basis points (1000 = 10 %)."""

    treatment: Literal["provider_charged", "reverse_charge", "domestic_invoice", "none"] = "none"
    rate_bp: int = Field(default=0, ge=0, le=10_000)


class ProviderConfig(Section):
    """One upstream account as written in config.yaml."""

    kind: Annotated[str, AfterValidator(_slug)]
    destination: Destination
    base_url: Annotated[str, AfterValidator(_url)] | None = None
    api_key_env: Annotated[str, AfterValidator(_env_name)] | None = None
    credentials_env: Annotated[str, AfterValidator(_env_name)] | None = None
    token_url: Annotated[str, AfterValidator(_url)] | None = None
    enabled_env: Annotated[str, AfterValidator(_env_name)] | None = None
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    proxy: str | None = None
    proxy_auth_env: Annotated[str, AfterValidator(_env_name)] | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    tax: Tax = Tax()
    stream_usage: bool = True
    base64_vectors: bool = False
    output_cap_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    trust_reported_cost: bool = False
    family: Annotated[str, AfterValidator(_family)] = "openai/chat"

    @model_validator(mode="before")
    @classmethod
    def _reports_as_its_kind_does(cls, given: Any) -> Any:
        """A kind that is one vendor's wire format brings that vendor's usage with it."""
        if isinstance(given, dict) and given.get("family") is None and given.get("kind") in FAMILY_OF_KIND:
            return {**{k: v for k, v in given.items() if k != "family"}, "family": FAMILY_OF_KIND[given["kind"]]}
        return given


class DeploymentConfig(Section):
    """Where a model runs: a provider, the upstream's own name for the model, and the key of its price."""

    provider: str
    model: str = Field(min_length=1)
    price: Annotated[str, AfterValidator(_price_key)]
    weight: int = Field(default=1, ge=1, le=1000)
    tokenizer: Annotated[str, AfterValidator(_slug)] | None = None


Capability = Literal[
    "chat", "tools", "vision", "json", "reasoning", "documents", "search",
    "embeddings", "images", "audio", "speech", "transcription", "rerank",
]  # fmt: skip


class Confirmed(Section):
    """Whether somebody has seen the upstream's name for a model and its window, and where: `source` with the day it was read.

    Both stand for whoever reads the list: a model with an unconfirmed name or window is shown and not offered. What its price
    is worth stands with the price. `confirmed: false` is short for neither.
    """

    name: bool = True
    window: bool = True
    source: str | None = None
    reason: Label | None = None


def _confirmed(given: object) -> object:
    return {"name": given, "window": given} if isinstance(given, bool) else given


class ModelConfig(Section):
    """What staff pick. `grade` is the highest data grade it may take; a hold is computed from `max_output`, the default cap."""

    name: Annotated[str, AfterValidator(_model_name)]
    title: Label
    use: Label | None = None
    tasks: tuple[Annotated[str, AfterValidator(_slug)], ...] = ()
    grade: Grade
    capabilities: tuple[Capability, ...] = ("chat",)
    context: int = Field(gt=0)
    max_output: int = Field(gt=0)
    deployments: tuple[DeploymentConfig, ...] = Field(min_length=1)
    fallbacks: tuple[str, ...] = ()
    confirmed: Annotated[Confirmed, BeforeValidator(_confirmed)] = Confirmed()


#: The pack that reads nothing.
NO_PACK = "none"


class Policies(Section):
    """`government_grade`: the highest grade for `government` destinations; `on_error`: what a failing filter decides.

    `actions`: what becomes of a kind of finding where that is not the default, by kind or by kind and destination
    (docs/filters/evidence.md). `seconds`: how long reading one request may take; `restore`: masked values are put back into
    answers; `output`: what becomes of personal data and secrets that a model writes. `detectors`: a site's own, as
    `module:name` (docs/filters/README.md). `pack: none` reads nothing at all: only the declared grade decides.
    """

    pack: Annotated[str, AfterValidator(_slug)] = "default"
    detectors: tuple[str, ...] = ()
    on_error: Literal["block", "route_local"] = "block"
    government_grade: Literal["O", "S"] = "O"
    actions: Annotated[Mapping[str, str | Mapping[str, str]], AfterValidator(_actions)] = Field(default_factory=dict)
    seconds: float = Field(default=5, gt=0, le=60)
    restore: bool = False
    output: Literal["off", "mask", "block"] = "off"


class Limits(Section):
    """Ceilings per request, per person and per process; seconds unless the name says otherwise."""

    body_mb: int = Field(default=10, ge=1, le=1024)
    header_seconds: float = Field(default=10, gt=0)
    body_seconds: float = Field(default=30, gt=0)
    body_min_bytes_per_second: int = Field(default=1024, ge=1)
    n: int = Field(default=4, ge=1, le=128)
    streams_per_user: int = Field(default=64, ge=1)
    streams_per_key: int = Field(default=64, ge=1)
    attempts: int = Field(default=3, ge=1, le=10)
    first_byte_seconds: float = Field(default=60, gt=0)
    idle_seconds: float = Field(default=30, gt=0)
    deadline_seconds: float = Field(default=600, gt=0)
    keepalive_seconds: float = Field(default=10, gt=0)
    drain_seconds: float = Field(default=60, ge=0)
    depth: int = Field(default=64, ge=1, le=1000)
    quota_wait_seconds: float = Field(default=3, ge=0)
    lease_seconds: float = Field(default=30, ge=1)
    idempotency_answer_kb: int = Field(default=256, ge=0, le=10_240)

    @property
    def body_bytes(self) -> int:
        return self.body_mb * 1024 * 1024

    @property
    def lease_us(self) -> int:
        """How long a hold stays its process's own without being renewed; upkeep renews three times as often."""
        return int(self.lease_seconds * 1_000_000)


class InspectorConfig(Section):
    """A site's own service that decrypts or inspects uploads before they are read; `seconds` for one file."""

    kind: Literal["http", "icap"]
    url: str
    mode: Literal["respmod", "reqmod"] = "respmod"
    token_env: Annotated[str, AfterValidator(_env_name)] | None = None
    seconds: float = Field(default=30, gt=0, le=600)


class Attachments(Section):
    """Uploaded files: how large, how many, how long they are kept; what reading one may cost; who looks at them first."""

    max_mb: int = Field(default=20, ge=1, le=512)
    files_per_person: int = Field(default=200, ge=1, le=1000)
    keep_days: int = Field(default=30, ge=1, le=3650)
    read_seconds: float = Field(default=60, ge=1, le=600)
    read_memory_mb: int = Field(default=1024, ge=256, le=16384)
    reads_at_once: int = Field(default=2, ge=1, le=64)
    ocr: bool = True
    inspector: InspectorConfig | None = None

    @property
    def max_bytes(self) -> int:
        return self.max_mb * 1024 * 1024


class Web(Section):
    """Where the pages stand: which portals may embed them, which proxies' `X-Forwarded-For` is believed."""

    frame_ancestors: tuple[Annotated[str, AfterValidator(_url)], ...] = ()
    trusted_proxies: tuple[str, ...] = ()


class Config(Section):
    """The whole of config.yaml."""

    organisation: Organisation
    database_url: str = "sqlite:///{data}/ledger.db"
    redis_url: str | None = None
    providers: dict[str, ProviderConfig]
    models: tuple[ModelConfig, ...]
    policies: Policies = Policies()
    attachments: Attachments = Attachments()
    limits: Limits = Limits()
    web: Web = Web()


# ── what the rest of the gateway sees ────────────────────────────────────────────────────────────────────────────────


#: Kinds Vertex AI speaks with a service account, and how its addresses end.
_ON_VERTEX: Mapping[str, str] = {"gemini": "google", "anthropic": "anthropic"}


class Provider(ProviderConfig):
    """An upstream account with what the environment says about it.

    `credential` is false when `api_key_env` or `credentials_env` names a variable that is not set: its models are listed as
    unavailable.
    `enabled` is false while `enabled_env` names a variable that is unset, empty or 0. `proxy_known` is false when
    `proxy_auth_env` names a variable that is not set; `proxy` has what stands in it, and is not shown.
    """

    name: str
    secret: SecretStr | None = None
    credentials: SecretStr | None = None
    credential: bool = True
    enabled: bool = True
    proxy: str | None = Field(default=None, repr=False)
    proxy_known: bool = True

    @property
    def api_key(self) -> str | None:
        """The key itself, for the client that sends it and for nobody else."""
        return self.secret.get_secret_value() if self.secret else None

    @property
    def service_account(self) -> str | None:
        """The JSON of a service account's key file, for whoever signs with it and for nobody else."""
        return self.credentials.get_secret_value() if self.credentials else None

    @property
    def usage_family(self) -> tuple[str, str]:
        """(provider, flavour) as the usage extractors name them."""
        provider, flavour = self.family.split("/", 1)
        return provider, flavour


class Secrets(Section):
    """32 random bytes each, made once per installation and kept in `secrets.json`."""

    pepper: SecretBytes
    session_key: SecretBytes
    encryption_key: SecretBytes


class Settings(Section):
    """Everything a process knows about its installation before it opens the database."""

    organisation: Organisation
    database_url: SecretStr
    redis_url: SecretStr | None
    providers: Mapping[str, Provider]
    models: tuple[ModelConfig, ...]
    policies: Policies
    attachments: Attachments
    inspector_token: SecretStr | None
    limits: Limits
    web: Web
    port: int
    data: Path
    config: Path
    prices: Path | None
    scripted_faults: bool
    secrets: Secrets

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.organisation.timezone)


def locate(env: Env, config: Path | None = None, data: Path | None = None) -> tuple[Path, Path]:
    """The configuration file and the data folder: an argument wins over the environment, the environment over defaults.

    Without either, `config.yaml` of the working folder is read; where there is none, the one shipped with the package.
    """
    if config is None:
        config = Path(env["HAECHI_CONFIG"]) if env.get("HAECHI_CONFIG") else Path("config.yaml")
        if not env.get("HAECHI_CONFIG") and not config.exists():
            config = Path(__file__).resolve().parent.parent / "config.yaml"
    if data is None:
        data = Path(env.get("HAECHI_DATA") or "data")
    return config, data


def load_settings(config: Path, data: Path, env: Env) -> Settings:
    """Read, check and combine; raises ConfigError with every problem found. Creates `data` and its secrets once."""
    parsed, lines = _read(config)
    problems: list[_Problem] = []
    try:
        written = Config.model_validate(parsed)
    except ValidationError as e:
        raise ConfigError([_at(config, lines, problem) for problem in _complaints(e)]) from None
    data = data.expanduser().absolute()
    problems += _check_names(written)
    problems += _check_fallbacks(written)
    problems += _check_destinations(written)
    problems += _check_providers(written, config.parent)
    problems += _check_service_accounts(written, config.parent, env)
    problems += _check_web(written)
    problems += _check_inspector(written)
    database_url = env.get("HAECHI_DATABASE_URL", written.database_url).replace("{data}", data.as_posix())
    redis_url = env.get("HAECHI_REDIS_URL", written.redis_url)
    problems += _check_urls(database_url, redis_url)
    refused = [_at(config, lines, problem) for problem in problems]
    refused += _check_environment(written, env)
    if refused:
        raise ConfigError(refused)
    providers = {name: _with_environment(name, given, config.parent, env) for name, given in written.providers.items()}
    return Settings(
        organisation=written.organisation,
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url) if redis_url else None,
        providers=providers,
        models=written.models,
        policies=written.policies,
        attachments=written.attachments,
        inspector_token=_inspector_token(written, env),
        limits=written.limits,
        web=written.web,
        port=int(env.get("HAECHI_PORT", "8080")),
        data=data,
        config=config.absolute(),
        prices=Path(env["HAECHI_PRICES"]).absolute() if env.get("HAECHI_PRICES") else None,
        scripted_faults=env.get("HAECHI_SCRIPTED_FAULTS") == "1",
        secrets=load_secrets(data),
    )


# ── reading, with lines ──────────────────────────────────────────────────────────────────────────────────────────────


def _read(config: Path) -> tuple[Any, dict[Path_, int]]:
    """The document and the line of every key and item in it."""
    try:
        text = config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            [f"{config}: no such file → name one with --config or HAECHI_CONFIG / 설정 파일이 없습니다"]
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError([f"{config}: cannot be read ({e}) → check its permissions and that it is UTF-8"]) from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path_, int] = {(): 1}
        repeated = list(_walk(node, (), lines)) if node is not None else []
        if repeated:
            raise ConfigError([_at(config, lines, problem) for problem in repeated])
        document = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise ConfigError([f"{config}:{line}: not YAML: {e.problem} → check indentation, quotes and colons"]) from None
    except yaml.YAMLError as e:
        raise ConfigError([f"{config}: not YAML: {e} → save it as plain UTF-8 text"]) from None
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise ConfigError([f"{config}:1: not a mapping of keys → start with `organisation:`"])
    return document, lines


def _walk(node: yaml.Node, path: Path_, lines: dict[Path_, int]) -> Iterator[_Problem]:
    """Fill `lines`; yield keys written twice, which YAML parsers silently let the later one win."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                yield _Problem((*path, name), f"key written twice, first on line {seen[name]}", "keep one of them")
            seen[name] = line
            lines[(*path, name)] = line
            yield from _walk(value, (*path, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            yield from _walk(item, (*path, index), lines)


def _at(config: Path, lines: Mapping[Path_, int], problem: _Problem) -> str:
    known = problem.path
    while known not in lines:
        known = known[:-1]
    return f"{config}:{lines[known]}: {_spell(problem.path)}: {problem.what} → {problem.remedy}"


def whereabouts(config: Path, path: Path_) -> str:
    """`file:line: path`, for a complaint by somebody who sees only what was read; without the line where it has changed since."""
    try:
        _, lines = _read(config)
    except ConfigError:
        return f"{config}: {_spell(path)}"
    return f"{config}:{lines[path]}: {_spell(path)}" if path in lines else f"{config}: {_spell(path)}"


def _spell(path: Path_) -> str:
    """("models", 0, "grade") → models[0].grade"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(file)"


def _complaints(error: ValidationError) -> list[_Problem]:
    """Without the echoes: a list whose only item is wrong is also called too short."""
    found = [_explain(detail) for detail in error.errors(include_url=False)]
    return [p for p in found if not any(q.path != p.path and q.path[: len(p.path)] == p.path for q in found)]


def _explain(detail: ErrorDetails) -> _Problem:
    """One of pydantic's complaints in the operator's words. Never quotes the value of an unknown or a secret key."""
    path, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    match kind:
        case "refused":
            return _Problem(path, context["what"], context["remedy"])
        case "extra_forbidden":
            return _Problem(path, "unknown key / 알 수 없는 키", _suggest(path))
        case "missing":
            return _Problem(path, "missing / 빠졌습니다", f"add `{path[-1]}: …` here")
        case "literal_error":
            return _Problem(path, f"{str(detail['input'])[:40]!r} is not allowed", f"use one of {context['expected']}")
    return _Problem(path, detail["msg"], "see the comments in the shipped config.yaml")


def _suggest(path: Path_) -> str:
    name = str(path[-1])
    if name in {"api_key", "key", "token", "secret", "password"}:
        return "keys do not belong in this file; name the variable that holds it with api_key_env"
    if name in {"credentials", "credentials_file", "service_account"}:
        return "name the variable that holds the key file's path, or its text, with credentials_env"
    known = list(_section(path[:-1]).model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"


def _section(path: Path_) -> type[Section]:
    """The grammar of the block at `path`; indexes and provider names do not matter."""
    named: dict[str, type[Section]] = {
        "organisation": Organisation, "providers": ProviderConfig, "tax": Tax, "models": ModelConfig, "title": Label,
        "use": Label, "reason": Label, "confirmed": Confirmed, "deployments": DeploymentConfig, "policies": Policies,
        "limits": Limits, "web": Web, "attachments": Attachments, "inspector": InspectorConfig,
    }  # fmt: skip
    for part in reversed(path):
        if isinstance(part, str) and part in named:
            return named[part]
    return Config


# ── checks of meaning ────────────────────────────────────────────────────────────────────────────────────────────────


def _check_names(config: Config) -> Iterator[_Problem]:
    for name in config.providers:
        if not _SLUG.fullmatch(name):
            yield _Problem(("providers", name), "not a provider name", "use lower-case letters, digits, '_' and '-'")
    first: dict[str, int] = {}
    for index, model in enumerate(config.models):
        where: Path_ = ("models", index)
        if model.name in first:
            yield _Problem(
                (*where, "name"), f"{model.name!r} is also models[{first[model.name]}]", "rename one of them"
            )
        first.setdefault(model.name, index)
        if model.max_output > model.context:
            yield _Problem((*where, "max_output"), "larger than `context`", "an answer has to fit into the window")
        places: set[tuple[str, str]] = set()
        for position, deployment in enumerate(model.deployments):
            at: Path_ = (*where, "deployments", position)
            if deployment.provider not in config.providers:
                yield _Problem(
                    (*at, "provider"),
                    f"no provider is called {deployment.provider!r}",
                    f"add it under `providers` or use one of: {', '.join(config.providers)}",
                )
            place = (deployment.provider, deployment.model)
            if place in places:
                yield _Problem(at, "the same deployment twice", "use `weight` to send it more")
            places.add(place)


def _check_fallbacks(config: Config) -> Iterator[_Problem]:
    models = {model.name: model for model in config.models}
    for index, model in enumerate(config.models):
        for position, name in enumerate(model.fallbacks):
            at: Path_ = ("models", index, "fallbacks", position)
            target = models.get(name)
            if target is None:
                yield _Problem(at, f"no model is called {name!r}", _near_model(name, models))
            elif GRADES.index(target.grade) < GRADES.index(model.grade):
                yield _Problem(
                    at,
                    f"{name!r} takes grade {target.grade}, lower than {model.grade} of {model.name!r}",
                    "fall back to the same or a higher grade / 대체 모델의 등급은 같거나 높아야 합니다",
                )
            elif _exposure(config, model) == "inside" and _exposure(config, target) != "inside":
                yield _Problem(
                    at,
                    f"{model.name!r} runs inside, {name!r} does not",
                    "text kept inside must not leave because a server failed / 내부 모델은 외부로 대체할 수 없습니다",
                )
    for cycle in _cycles({name: [f for f in model.fallbacks if f in models] for name, model in models.items()}):
        index = next(i for i, model in enumerate(config.models) if model.name == cycle[0])
        yield _Problem(("models", index, "fallbacks"), f"goes round: {' → '.join(cycle)}", "remove one of these")


def _near_model(name: str, models: Mapping[str, ModelConfig]) -> str:
    near = difflib.get_close_matches(name, models, n=1)
    return f"did you mean {near[0]!r}?" if near else "declare it under `models` or remove it"


def _cycles(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Each round trip once, starting where it is first met."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> Iterator[list[str]]:
        if name in trail:
            yield [*trail[trail.index(name) :], name]
        elif name not in done:
            for following in edges[name]:
                yield from visit(following, [*trail, name])
            done.add(name)

    for name in edges:
        yield from visit(name, [])


def _exposure(config: Config, model: ModelConfig) -> Destination:
    """The most exposed place this model's text may go. A missing provider is reported elsewhere; it counts as foreign."""
    places = [
        config.providers[deployment.provider].destination if deployment.provider in config.providers else "foreign"
        for deployment in model.deployments
    ]
    return max(places, key=DESTINATIONS.index)


def _check_destinations(config: Config) -> Iterator[_Problem]:
    for index, model in enumerate(config.models):
        at: Path_ = ("models", index, "grade")
        places = {config.providers[d.provider].destination for d in model.deployments if d.provider in config.providers}
        allowed = {"inside", "government"} if config.policies.government_grade == "S" else {"inside"}
        if model.grade == "C":
            yield _Problem(
                at, "classified text goes to no model", "use S or O / C등급은 어떤 모델에도 보낼 수 없습니다"
            )
        elif model.grade == "S" and places - allowed:
            outside = ", ".join(sorted(places - allowed))
            yield _Problem(
                at,
                f"grade S, but it may run at: {outside}",
                "use grade O, or deployments with destination inside / S등급은 내부 모델만 가능합니다",
            )
        elif "inside" in places and places != {"inside"}:
            yield _Problem(
                ("models", index, "deployments"),
                "runs inside and outside",
                "make it two models: what people are told about where their text goes must hold for every attempt",
            )


def _check_providers(config: Config, folder: Path) -> Iterator[_Problem]:
    for name, provider in config.providers.items():
        at: Path_ = ("providers", name)
        if provider.kind == "openai_compatible" and provider.base_url is None:
            yield _Problem(at, "no base_url", "add `base_url: https://…/v1`")
        if provider.base_url and provider.destination != "inside" and _is_plain_and_public(provider.base_url):
            yield _Problem((*at, "base_url"), "plain http to the outside", "use https://, the key travels with it")
        if provider.proxy is not None and urllib.parse.urlsplit(provider.proxy).scheme not in {"http", "https"}:
            yield _Problem((*at, "proxy"), "not an http(s) proxy", "write http://host:port")
        elif provider.proxy is not None and urllib.parse.urlsplit(provider.proxy).username is not None:
            yield _Problem(
                (*at, "proxy"),
                "a proxy may not carry a user",
                "put user:password into a variable; name it: proxy_auth_env",
            )
        if provider.proxy_auth_env is not None and provider.proxy is None:
            yield _Problem(
                (*at, "proxy_auth_env"), "there is no proxy", "add `proxy: http://host:port`, or leave this out"
            )
        for key in ("ca_file", "client_cert"):
            file = getattr(provider, key)
            if file is not None and not (folder / file).is_file():
                yield _Problem((*at, key), f"no such file: {file}", "a relative path starts at this file's folder")
        if provider.tax.treatment == "none" and provider.tax.rate_bp:
            yield _Problem((*at, "tax"), "a rate without a treatment", "name the treatment, or leave rate_bp out")


def _check_service_accounts(config: Config, folder: Path, env: Env) -> Iterator[_Problem]:
    """What one needs beside its key, which the provider itself looks at when it is built."""
    for name, provider in config.providers.items():
        at: Path_ = ("providers", name)
        if provider.credentials_env is None:
            if provider.token_url is not None:
                yield _Problem(
                    (*at, "token_url"), "there is no service account", "add credentials_env, or leave this out"
                )
            continue
        publisher = _ON_VERTEX.get(provider.kind)
        if publisher is None:
            kinds = " or ".join(_ON_VERTEX)
            yield _Problem(
                (*at, "credentials_env"),
                f"the kind {provider.kind} takes no Google service account",
                f"use kind {kinds}, or name the variable of an API key: api_key_env",
            )
        elif not re.search(rf"/projects/[^/]+/locations/[^/]+/publishers/{publisher}$", provider.base_url or ""):
            yield _Problem(
                (*at, "base_url") if provider.base_url else at,
                "a service account needs Vertex AI's address, with project and location",
                "write https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/publishers/"
                + publisher,
            )
        if provider.api_key_env is not None:
            yield _Problem((*at, "api_key_env"), "a second credential beside credentials_env", "keep one of them")
        if provider.token_url and provider.destination != "inside" and _is_plain_and_public(provider.token_url):
            yield _Problem(
                (*at, "token_url"), "plain http to the outside", "use https://, a signed claim travels there"
            )
        try:
            _service_account(provider, folder, env)
        except (OSError, ValueError) as error:
            yield _Problem(
                (*at, "credentials_env"),
                f"the key file that {provider.credentials_env} names cannot be read ({type(error).__name__})",
                "give its path, which starts at this file's folder, or its whole text / 키 파일을 읽을 수 없습니다",
            )
    for index, model in enumerate(config.models):
        for position, place in enumerate(model.deployments):
            given = config.providers.get(place.provider)
            if given is not None and given.credentials_env is not None and "embeddings" in model.capabilities:
                yield _Problem(
                    ("models", index, "deployments", position),
                    "Vertex AI's embeddings are not spoken with a service account",
                    "use the Gemini API with api_key_env for embeddings",
                )


def _service_account(given: ProviderConfig, folder: Path, env: Env) -> str:
    """The JSON, from the variable itself or from the file it names; empty where it is not set. Raises OSError, ValueError."""
    value = env.get(given.credentials_env, "").strip() if given.credentials_env else ""
    if not value or value.startswith("{"):
        return value
    text = (folder / value).read_text("utf-8").strip()
    if not text:
        raise ValueError("an empty file")
    return text


def _is_plain_and_public(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return ipaddress.ip_address(parts.hostname or "").is_global
    except ValueError:  # a name, not an address
        return True


def _check_web(config: Config) -> Iterator[_Problem]:
    for index, network in enumerate(config.web.trusted_proxies):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield _Problem(("web", "trusted_proxies", index), f"{network!r} is not a network", "write 10.0.0.0/8")


def _check_inspector(config: Config) -> Iterator[_Problem]:
    inspector = config.attachments.inspector
    if inspector is None:
        return
    at: Path_ = ("attachments", "inspector")
    schemes = {"http": {"http", "https"}, "icap": {"icap", "icaps"}}[inspector.kind]
    example = {"http": "https://host[:port]/path", "icap": "icap://host[:port]/service"}[inspector.kind]
    try:
        parts = urllib.parse.urlsplit(inspector.url)
        usable = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        yield _Problem((*at, "url"), f"not an address of {inspector.kind}", f"write {example}")
    elif parts.username or parts.password or parts.query or parts.fragment:
        yield _Problem(
            (*at, "url"),
            "an address may not carry a user, a query or a fragment",
            "name the token's variable: token_env",
        )
    if inspector.kind == "icap" and inspector.token_env is not None:
        yield _Problem((*at, "token_env"), "ICAP has no bearer", "leave it out, or use kind: http")


def _inspector_token(config: Config, env: Env) -> SecretStr | None:
    inspector = config.attachments.inspector
    token = env.get(inspector.token_env, "").strip() if inspector is not None and inspector.token_env else ""
    return SecretStr(token) if token else None


def _check_urls(database_url: str, redis_url: str | None) -> Iterator[_Problem]:
    if not re.match(r"sqlite:///.|postgres(ql)?(\+psycopg)?://.", database_url):
        yield _Problem(
            ("database_url",),
            "not a database address (config.yaml or HAECHI_DATABASE_URL)",
            "write sqlite:///{data}/ledger.db or postgresql://user:password@host/name",
        )
    if redis_url is not None and not re.match(r"(rediss?|unix)://.", redis_url):
        yield _Problem(
            ("redis_url",),
            "not a Redis address (config.yaml or HAECHI_REDIS_URL)",
            "write redis://host:6379/0, or null",
        )


def _check_environment(config: Config, env: Env) -> Iterator[str]:
    port = env.get("HAECHI_PORT", "8080")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        yield f"HAECHI_PORT: {port[:20]!r} is not a port → use a number from 1 to 65535"
    prices = env.get("HAECHI_PRICES")
    if prices and not Path(prices).is_dir():
        yield f"HAECHI_PRICES: {prices} is not a folder → name a folder of dated price files, or unset it"
    asked = {
        name
        for p in config.providers.values()
        for name in (p.api_key_env, p.credentials_env, p.proxy_auth_env)
        if name is not None
    }
    inspector = config.attachments.inspector
    if inspector is not None and inspector.token_env is not None:
        asked.add(inspector.token_env)
        if inspector.token_env not in env:
            yield f"{inspector.token_env}: not set, and the document inspection needs it → set it, or leave token_env out"
    for name in sorted(asked):
        if name in env and not env[name].strip():
            yield f"{name}: set, but empty → give it the key, or unset it / 빈 키입니다. 값을 넣거나 변수를 지우십시오"


def _with_environment(name: str, given: ProviderConfig, folder: Path, env: Env) -> Provider:
    key = env.get(given.api_key_env, "").strip() if given.api_key_env else ""
    account = _service_account(given, folder, env)
    switch = env.get(given.enabled_env, "") if given.enabled_env else "1"
    user = env.get(given.proxy_auth_env, "").strip() if given.proxy_auth_env else ""
    return Provider.model_validate(
        {field: getattr(given, field) for field in ProviderConfig.model_fields}
        | {
            "name": name,
            "ca_file": str(folder / given.ca_file) if given.ca_file else None,
            "client_cert": str(folder / given.client_cert) if given.client_cert else None,
            "secret": SecretStr(key) if key else None,
            "credentials": SecretStr(account) if account else None,
            "credential": (given.api_key_env is None or bool(key)) and (given.credentials_env is None or bool(account)),
            "enabled": switch not in {"", "0"},
            "proxy": _with_user(given.proxy, user) if given.proxy and user else given.proxy,
            "proxy_known": given.proxy_auth_env is None or bool(user),
        }
    )


def _with_user(proxy: str, user: str) -> str:
    name, _, password = user.partition(":")
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{urllib.parse.quote(name, safe='')}:{urllib.parse.quote(password, safe='')}@{rest}"


# ── secrets of the installation ──────────────────────────────────────────────────────────────────────────────────────

_SECRET_BYTES = 32


def load_secrets(data: Path) -> Secrets:
    """Read `secrets.json` of the data folder, making it first where there is none.

    The file is written under another name and then *linked* to its own: linking fails where the name exists, so of two
    processes that start at once one wins and both read the winner's file. It is never rewritten.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data / "secrets.json"
    if not path.exists():
        fresh = {name: random.token_hex(_SECRET_BYTES) for name in Secrets.model_fields}
        write_private(path, json.dumps(fresh, indent=1), replace=False)
    if path.stat().st_mode & 0o077:
        raise ConfigError([f"{path}: others can read it → chmod 600 {path} / 다른 사용자가 읽을 수 있습니다"])
    try:
        stored = json.loads(path.read_text(encoding="ascii"))
        values = {name: bytes.fromhex(stored[name]) for name in Secrets.model_fields}
    except (OSError, ValueError, KeyError, TypeError):
        values = {}
    if not values or any(len(value) != _SECRET_BYTES for value in values.values()):
        raise ConfigError(
            [f"{path}: incomplete → restore it from a backup; without it no API key and no stored chat can be read"]
        )
    return Secrets(**{name: SecretBytes(value) for name, value in values.items()})


def write_private(path: Path, text: str, *, replace: bool) -> None:
    """A file only its owner can read (mode 600), on disk and whole before it has its name.

    With `replace` false an existing file is left as it is, silently: whoever came first has won.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(temporary).replace(path)
        else:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        Path(temporary).unlink(missing_ok=True)
