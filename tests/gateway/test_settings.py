"""A configuration either starts exactly what it says or is refused with file, line and remedy."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import textwrap
from pathlib import Path

import pytest

from gateway.settings import ConfigError, Settings, load_secrets, load_settings, locate

ROOT = Path(__file__).resolve().parents[2]

GOOD = """\
organisation: {name: 데모시}
providers:
  far: {kind: openai_compatible, base_url: https://api.example/v1, api_key_env: FAR_KEY, destination: foreign}
  gov: {kind: openai_compatible, base_url: https://gov.example/v1, destination: government}
  here: {kind: scripted, destination: inside}
models:
  - name: open
    title: {ko: 공개, en: Open}
    grade: O
    context: 1000
    max_output: 100
    deployments: [{provider: far, model: m, price: far/m}]
    fallbacks: [safe]
  - name: safe
    title: {ko: 내부, en: Inside}
    grade: S
    context: 1000
    max_output: 100
    deployments: [{provider: here, model: m, price: here/m}]
"""


def load(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    config = tmp_path / "config.yaml"
    config.write_text(text, encoding="utf-8")
    return load_settings(config, tmp_path / "data", env or {})


def refused(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, env)
    return tuple(problem.replace(str(tmp_path), "") for problem in caught.value.problems)


def test_the_shipped_configuration_starts_without_anything(tmp_path: Path) -> None:
    settings = load_settings(ROOT / "config.yaml", tmp_path, {})
    assert {"practice-inside", "practice-foreign", "gpt-5-mini", "local-gemma"} <= {m.name for m in settings.models}
    assert settings.database_url.get_secret_value() == f"sqlite:///{tmp_path}/ledger.db"
    assert not settings.scripted_faults
    assert not settings.providers["openai"].credential
    assert not settings.providers["local"].enabled


def test_defaults_and_the_environment(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    assert (settings.port, settings.organisation.timezone, settings.limits.body_bytes) == (
        8080,
        "Asia/Seoul",
        10 * 1024 * 1024,
    )
    (tmp_path / "prices").mkdir()
    settings = load(
        tmp_path,
        GOOD,
        {
            "HAECHI_PORT": "9000",
            "HAECHI_DATABASE_URL": "postgresql://u:secret-pw@db/haechi",
            "HAECHI_REDIS_URL": "redis://:secret-pw@r:6379/0",
            "HAECHI_PRICES": str(tmp_path / "prices"),
            "HAECHI_SCRIPTED_FAULTS": "1",
            "FAR_KEY": " secret-key\n",
        },
    )
    assert settings.port == 9000
    assert settings.scripted_faults
    assert settings.prices == tmp_path / "prices"
    assert settings.database_url.get_secret_value().startswith("postgresql://u:")
    assert settings.providers["far"].api_key == "secret-key"
    assert settings.providers["far"].usage_family == ("openai", "chat")
    for shown in (repr(settings), str(settings)):
        assert "secret-pw" not in shown
        assert "secret-key" not in shown


def test_a_proxys_user_comes_from_the_environment_and_is_not_shown(tmp_path: Path) -> None:
    text = GOOD.replace(
        "destination: government}", "destination: government, proxy: 'http://proxy:1', proxy_auth_env: P}"
    )
    assert not load(tmp_path, text).providers["gov"].proxy_known
    settings = load(tmp_path, text, {"P": "kim:p@ss/word"})
    assert settings.providers["gov"].proxy == "http://kim:p%40ss%2Fword@proxy:1"
    assert settings.providers["gov"].proxy_known
    assert "word" not in repr(settings)
    assert "P: set, but empty" in refused(tmp_path, text, {"P": ""})[0]


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        ("anthropic", "", ("anthropic", "messages")),
        ("gemini", "", ("google", "generateContent")),
        ("cohere", "", ("cohere", "v2")),
        ("bedrock_converse", "", ("aws", "converse")),
        ("openai_responses", "", ("openai", "responses")),
        ("openai_responses", ", family: perplexity/responses", ("perplexity", "responses")),
        ("openai_compatible", "", ("openai", "chat")),
    ],
)
def test_usage_is_read_as_the_kind_reports_it_unless_it_is_said_otherwise(
    tmp_path: Path, kind: str, written: str, read: tuple[str, str]
) -> None:
    given = f"far: {{kind: {kind}, base_url: https://api.example/v1{written},"
    text = GOOD.replace("far: {kind: openai_compatible, base_url: https://api.example/v1,", given)
    assert load(tmp_path, text).providers["far"].usage_family == read


def test_a_reload_of_the_same_inputs_is_the_same_settings(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == load(tmp_path, GOOD)


# Each row: what is replaced in GOOD, by what, and what the one complaint has to say.
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    grade: O", "    grde: O", [":9:", "models[0].grde: unknown key", "did you mean `grade`?"]),
        ("    grade: O\n", "", [":7:", "models[0].grade: missing"]),
        ("    grade: O", "    grade: X", [":9:", "'X' is not allowed", "'O', 'S' or 'C'"]),
        ("    grade: O", "    grade: O\n    grade: S", [":10:", "written twice, first on line 9"]),
        ("    grade: S", "    grade: C", [":16:", "classified text goes to no model"]),
        ("provider: far,", "provider: fra,", [":12:", "no provider is called 'fra'", "far"]),
        ("- name: safe", "- name: open", ["models[1].name", "'open' is also models[0]", "rename"]),
        ("fallbacks: [safe]", "fallbacks: [sfe]", [":13:", "no model is called 'sfe'", "did you mean 'safe'?"]),
        ("fallbacks: [safe]", "fallbacks: [open]", ["goes round: open → open"]),
        ("far/m", "far-m", [":12:", "'far-m' is not a price key"]),
        ("max_output: 100\n    deployments: [{provider: far", "max_output: 2000\n    deployments: [{provider: far",
         [":11:", "larger than `context`"]),
        ("{name: 데모시}", "{name: 데모시, timezone: Asia/Soul}", [":1:", "no time zone is called 'Asia/Soul'"]),
        ("{name: 데모시}", "{name: 데모시, currency: USD}", [":1:", "'USD' is not allowed"]),
        ("{name: 데모시}", '{name: 데모시, fiscal_year_starts: "02-29"}', [":1:", "not a day of every year"]),
        ("destination: foreign", "destination: moon", [":3:", "'moon' is not allowed", "inside"]),
        ("api_key_env: FAR_KEY", "api_key_env: sk-abc123", [":3:", "not the name of an environment variable"]),
        ("api_key_env: FAR_KEY", 'api_key_env: ""', [":3:", "not the name of an environment variable"]),
        ("api_key_env: FAR_KEY", "api_key: sk-abc123", [":3:", "unknown key", "api_key_env"]),
        ("https://api.example/v1", "http://api.example/v1", [":3:", "plain http to the outside"]),
        ("https://api.example/v1", "https://user:pw@api.example/v1", [":3:", "may not carry a user"]),
        ("https://api.example/v1", "api.example", [":3:", "not an http(s) address"]),
        ("base_url: https://api.example/v1, ", "", [":3:", "no base_url"]),
        ("destination: government}", "destination: government, ca_file: none.pem}", [":4:", "no such file: none.pem"]),
        ("destination: government}", "destination: government, tax: {rate_bp: 1000}}", ["a rate without a treatment"]),
        ("destination: government}", "destination: government, family: openai}", ["is not a usage family"]),
        ("    grade: O", "    grade: O\n    confirmed: {nam: true}", [":10:", "unknown key", "did you mean `name`?"]),
        ("    grade: O", "    grade: O\n    confirmed: {window: maybe}", [":10:", "models[0].confirmed.window"]),
        ("destination: government}", "destination: government, proxy: 'http://me:pw@proxy:1'}", [":4:", "may not carry a user"]),
        ("destination: government}", "destination: government, proxy: 'socks5://proxy:1'}", [":4:", "not an http(s) proxy"]),
        ("destination: government}", "destination: government, proxy_auth_env: P}", [":4:", "there is no proxy"]),
        ("api_key_env: FAR_KEY", "credentials_env: FAR_KEY", [":3:", "takes no Google service account", "kind gemini"]),
        ("kind: openai_compatible, base_url: https://api.example/v1, api_key_env: FAR_KEY",
         "kind: gemini, base_url: https://api.example/v1beta, credentials_env: FAR_KEY",
         [":3:", "base_url", "project and location", "/publishers/google"]),
        ("api_key_env: FAR_KEY", "api_key_env: FAR_KEY, credentials_env: FAR_KEY", [":3:", "a second credential"]),
        ("api_key_env: FAR_KEY", "credentials: {private_key: abc123}", [":3:", "unknown key", "credentials_env"]),
        ("api_key_env: FAR_KEY", "api_key_env: FAR_KEY, token_url: https://a/t", [":3:", "there is no service account"]),
        ("api_key_env: FAR_KEY", "credentials_env: FAR_KEY, token_url: http://a/t", [":3:", "token_url", "plain http"]),
        ("organisation:", "limits: {body_mb: 0}\norganisation:", [":1:", "limits.body_mb", "greater than or equal to 1"]),
        ("organisation:", "web: {trusted_proxies: [proxy]}\norganisation:", [":1:", "'proxy' is not a network"]),
        ("organisation:", "attachments: {max_mb: 0}\norganisation:", [":1:", "attachments.max_mb"]),
        ("organisation:", "attachments: {keep_day: 3}\norganisation:", [":1:", "unknown key", "did you mean `keep_days`?"]),
        ("organisation:", "attachments: {inspector: {kind: icap, url: 'http://a/b'}}\norganisation:",
         [":1:", "attachments.inspector.url", "not an address of icap", "icap://host"]),
        ("organisation:", "attachments: {inspector: {kind: http, url: 'https://user:pw@a/b'}}\norganisation:",
         [":1:", "may not carry a user", "token_env"]),
        ("organisation:", "attachments: {inspector: {kind: http, url: 'http://[a/b'}}\norganisation:",
         ["not an address of http"]),
        ("organisation:", "attachments: {inspector: {kind: ftp, url: 'ftp://a/b'}}\norganisation:",
         ["attachments.inspector.kind", "'ftp' is not allowed"]),
        ("organisation:", "attachments: {inspector: {kind: icap, url: 'icap://a/b', token_env: T}}\norganisation:",
         ["ICAP has no bearer"]),
        ("organisation:", "attachments: {inspector: {kind: icap, uri: 'icap://a/b'}}\norganisation:",
         ["unknown key", "did you mean `url`?"]),
        ("organisation:", "database_url: mysql://x\norganisation:", [":1:", "not a database address"]),
        ("organisation:", "redis_url: localhost\norganisation:", [":1:", "not a Redis address"]),
        ("organisation:", "- organisation:", ["not YAML"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_to_do(tmp_path: Path, old: str, new: str, says: list[str]) -> None:
    assert old in GOOD
    told = refused(tmp_path, GOOD.replace(old, new, 1))
    assert any(all(words in line for words in ["/config.yaml:", " → ", *says]) for line in told), told
    assert not any("abc123" in line or "pw@" in line for line in told)


def test_all_mistakes_of_meaning_are_told_at_once(tmp_path: Path) -> None:
    told = refused(tmp_path, GOOD.replace("provider: far,", "provider: fra,").replace("[safe]", "[sfe]"))
    assert len(told) == 2


def test_text_kept_inside_never_falls_back_to_the_outside(tmp_path: Path) -> None:
    """`safe` is S and inside; falling back to `open` would lower the grade. Made O, it would still leave the building."""
    turned = GOOD.replace("    fallbacks: [safe]\n", "") + "    fallbacks: [open]\n"
    assert "takes grade O, lower than S" in refused(tmp_path, turned)[0]
    assert "runs inside, 'open' does not" in refused(tmp_path, turned.replace("grade: S", "grade: O"))[0]


def test_s_goes_inside_and_to_government_only_where_it_is_allowed(tmp_path: Path) -> None:
    at_gov = GOOD.replace("provider: here,", "provider: gov,")
    assert "it may run at: government" in refused(tmp_path, at_gov)[0]
    assert load(tmp_path, at_gov + "policies: {government_grade: S}\n").models[1].grade == "S"
    far = at_gov.replace("provider: gov,", "provider: far,")
    assert "it may run at: foreign" in refused(tmp_path, far + "policies: {government_grade: S}\n")[0]


def test_one_model_is_not_both_inside_and_outside(tmp_path: Path) -> None:
    both = GOOD.replace("price: far/m}]", "price: far/m}, {provider: here, model: m, price: here/m}]")
    assert "runs inside and outside" in refused(tmp_path, both)[0]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"FAR_KEY": ""}, "FAR_KEY: set, but empty"),
        ({"FAR_KEY": "  "}, "FAR_KEY: set, but empty"),
        ({"HAECHI_PORT": "http"}, "HAECHI_PORT: 'http' is not a port"),
        ({"HAECHI_PORT": "70000"}, "not a port"),
        ({"HAECHI_PRICES": "/nowhere"}, "HAECHI_PRICES: /nowhere is not a folder"),
        ({"HAECHI_DATABASE_URL": ""}, "HAECHI_DATABASE_URL"),
        ({"HAECHI_REDIS_URL": ""}, "HAECHI_REDIS_URL"),
    ],
)
def test_an_environment_that_cannot_be_meant_is_refused(tmp_path: Path, env: dict[str, str], says: str) -> None:
    (told,) = refused(tmp_path, GOOD, env)
    assert says in told


@pytest.mark.parametrize("text", ["", "[]", "just words", "a: [", "\t- x", "a: *b"])
def test_what_is_no_configuration_at_all(tmp_path: Path, text: str) -> None:
    (told,) = refused(tmp_path, text)
    assert told.startswith("/config.yaml:")


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HAECHI_CONFIG"):
        load_settings(tmp_path / "none.yaml", tmp_path, {})


def test_arguments_win_over_the_environment(tmp_path: Path) -> None:
    env = {"HAECHI_CONFIG": "from-env.yaml", "HAECHI_DATA": "/from-env"}
    assert locate(env) == (Path("from-env.yaml"), Path("/from-env"))
    assert locate(env, Path("a.yaml"), Path("b")) == (Path("a.yaml"), Path("b"))
    assert locate({})[1] == Path("data")


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    first = load_secrets(data)
    assert load_secrets(data) == first
    assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
    values = {getattr(first, name).get_secret_value() for name in type(first).model_fields}
    assert len(values) == 3
    assert {len(value) for value in values} == {32}
    assert sorted(path.name for path in data.iterdir()) == ["secrets.json"]


def _race(data: str, start: multiprocessing.synchronize.Barrier, out: multiprocessing.Queue[bytes]) -> None:
    start.wait()
    out.put(load_secrets(Path(data)).pepper.get_secret_value())


def test_processes_that_start_at_once_end_with_the_same_secrets(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        data = tmp_path / str(attempt)
        start, out = context.Barrier(4), context.Queue()
        racers = [context.Process(target=_race, args=(str(data), start, out)) for _ in range(4)]
        for racer in racers:
            racer.start()
        assert len({out.get(timeout=20) for _ in racers}) == 1
        for racer in racers:
            racer.join()


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "not json", json.dumps({"pepper": "", "session_key": "00" * 32, "encryption_key": "zz"})],
)
def test_damaged_secrets_are_not_replaced(tmp_path: Path, content: str) -> None:
    """New ones would quietly make every key and every stored chat worthless."""
    path = tmp_path / "secrets.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="restore it from a backup"):
        load_secrets(tmp_path)
    assert path.read_text() == content


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    load_secrets(tmp_path)
    os.chmod(tmp_path / "secrets.json", 0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secrets(tmp_path)


def test_the_message_is_a_list_a_person_can_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace("grade: O", "grade: X"))
    assert str(caught.value) == textwrap.dedent(f"""\
        configuration refused, 1 problem(s) / 설정을 받아들일 수 없습니다 (1건)
          {tmp_path}/config.yaml:9: models[0].grade: 'X' is not allowed → use one of 'O', 'S' or 'C'""")


INSPECTED = GOOD + "attachments: {inspector: {kind: http, url: 'https://dlp.example/x', token_env: DLP_TOKEN}}\n"


def test_an_inspections_token_comes_from_the_environment_and_is_not_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, INSPECTED, {"DLP_TOKEN": " secret-token\n"})
    assert settings.inspector_token is not None
    assert settings.inspector_token.get_secret_value() == "secret-token"
    assert "secret-token" not in repr(settings)


def test_an_inspection_without_its_token_refuses_to_start(tmp_path: Path) -> None:
    """Its service would refuse every file, and nobody would know why."""
    assert "DLP_TOKEN: not set" in refused(tmp_path, INSPECTED)[0]
    assert "DLP_TOKEN: set, but empty" in refused(tmp_path, INSPECTED, {"DLP_TOKEN": ""})[0]


def test_files_have_limits_without_a_word_in_the_configuration(tmp_path: Path) -> None:
    attachments = load(tmp_path, GOOD).attachments
    assert (attachments.max_mb, attachments.keep_days, attachments.inspector) == (20, 30, None)


def test_what_becomes_of_a_kind_can_be_set_and_a_bad_table_refuses_to_start(tmp_path: Path) -> None:
    """Of the shipped configuration only that one line is another."""
    shipped = (ROOT / "config.yaml").read_text("utf-8")
    config = tmp_path / "config.yaml"
    config.write_text(shipped.replace("  actions: {} ", "  actions: {PHONE: warn, EMAIL: {foreign: block}} "), "utf-8")
    assert load_settings(config, tmp_path / "data", {}).policies.actions == {
        "PHONE": "warn",
        "EMAIL": {"foreign": "block"},
    }
    config.write_text(shipped.replace("  actions: {} ", "  actions: {PHONES: warn} "), "utf-8")
    with pytest.raises(ConfigError, match="PHONES"):
        load_settings(config, tmp_path / "data", {})


VERTEX = GOOD.replace(
    "kind: openai_compatible, base_url: https://api.example/v1, api_key_env: FAR_KEY",
    "kind: gemini, credentials_env: SERVICE_ACCOUNT,"
    " base_url: https://asia-northeast3-aiplatform.googleapis.com/v1/projects/p/locations/asia-northeast3/publishers/google",
)


def test_a_service_account_is_a_key_file_or_its_text_and_is_not_shown(tmp_path: Path) -> None:
    """A relative path starts at the configuration's folder. Unset, its models are listed as unavailable."""
    key = '{"type": "service_account", "private_key": "canary"}'
    (tmp_path / "account.json").write_text(key + "\n")
    for value in (key, "account.json", str(tmp_path / "account.json")):
        settings = load(tmp_path, VERTEX, {"SERVICE_ACCOUNT": value})
        provider = settings.providers["far"]
        assert (provider.service_account, provider.api_key, provider.credential) == (key, None, True)
        assert "canary" not in repr(settings)
    unset = load(tmp_path, VERTEX).providers["far"]
    assert (unset.service_account, unset.credential) == (None, False)


@pytest.mark.parametrize("value", ["none.json", ".", "empty.json", "latin.json", "x" * 5000])
def test_a_key_file_that_cannot_be_read_is_told_with_its_line_and_never_quoted(tmp_path: Path, value: str) -> None:
    (tmp_path / "empty.json").write_text("\n")
    (tmp_path / "latin.json").write_bytes("{é".encode("latin-1")[::-1])
    (told,) = refused(tmp_path, VERTEX, {"SERVICE_ACCOUNT": value})
    assert told.startswith("/config.yaml:3: providers.far.credentials_env: the key file that SERVICE_ACCOUNT names")
    assert value[:20] not in told.partition("credentials_env")[2] or value == "."


def test_a_service_account_is_not_asked_for_vectors(tmp_path: Path) -> None:
    vectors = VERTEX.replace("    grade: O\n", "    grade: O\n    capabilities: [embeddings]\n")
    (told,) = refused(tmp_path, vectors)
    assert "embeddings are not spoken with a service account" in told
