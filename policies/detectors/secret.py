"""Credentials: tokens of published shape, private keys, passwords and keys beside the word that says so, users in URLs.

word pass ─┬─ a shape's keyword ─▶ RE2 on the text around it ─▶ edges, entropy, stop list
           ├─ 비밀번호, password … ─▶ what comes after a sign or a particle: never Hangul, never code
           ├─ api_key, 인증키 …   ─▶ a long mixed value
           ├─ -----BEGIN … PRIVATE KEY ─▶ to its end
           └─ ://user:password@
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from math import log2
from typing import Final

from ahocorasick_rs import AhoCorasick

from policies.detector import Match
from policies.detectors._columns import cells
from policies.pack import Secrets, Shape, compiled, every_word, shipped
from policies.page import Page

KIND: Final = "SECRET"

_SHAPE: Final = "SECRET:shape"
_PASSWORD: Final = "SECRET:password"  # noqa: S105 – a role of words
_KEY: Final = "SECRET:key"
_BEGIN: Final = "SECRET:begin"
_END: Final = "SECRET:end"
_URL: Final = "SECRET:url"
_LOGON: Final = "SECRET:logon"
_USER: Final = "SECRET:user"
_ACCOUNT: Final = "SECRET:account"
_CLIENT: Final = "SECRET:client"
_CALL: Final = "SECRET:call"

#: A keyword may stand this far to the right of where its value begins.
_BACK: Final = 48

_PRIVATE: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_PUTTY: Final = "putty-user-key-file"
_WITHOUT_END: Final = re.compile(r"[A-Za-z0-9+/=\s\\-]{0,4096}")
_USERINFO: Final = re.compile(r"[^\s/?#@:\"'<>|]{0,64}:(?P<value>[^\s/?#@\"'<>|]{2,128})@[A-Za-z0-9가-힣\[]")
#: jdbc:oracle:thin:user/password@host
_ORACLE: Final = re.compile(r"[^\s/@:\"'<>]{1,64}/(?P<value>[^\s/@\"'<>]{3,64})@[A-Za-z0-9/(]")
#: curl -u user:password; 계정: user / password
_CURL: Final = re.compile(r"[\"']?(?:-u ?|--user[ =])?[\"']?[^\s:/\"']{1,64}:(?P<value>[^\s\"']{6,128})")
_LOGIN: Final = re.compile(r"(?:은|는)? ?[:=]? ?[A-Za-z0-9._@-]{2,40} ?[/,|] ?(?P<value>[!-~]{6,64})")

#: mysql -u root -p'…', redis-cli -a …, sqlcmd -P …: the option that takes a password, if a program that has it is called.
_OPTION: Final = re.compile(
    r"[^\n]{0,120}?\s(?:-p(?=[\"']?[!-~])|-[pPwa] |/user:\S{1,40} )[\"']?(?P<value>[^\s\"']{6,64})(?=[\s\"']|$)"
)
#: put("password", "…")
_PUT: Final = re.compile(r"[\"'] ?, ?[\"'](?P<value>[^\"'\n]{6,64})[\"'] ?[,)]")
#: connect("app", "…"): the last of up to four strings.
_ARGUMENTS: Final = re.compile(
    r"(?: ?(?:[a-z_]{1,16} ?= ?)?[\"'][^\"'\n]{0,120}[\"'] ?,){1,4} ?(?:[a-z_]{1,16} ?= ?)?"
    r"[\"'](?P<value>[^\"'\n]{6,64})[\"'] ?[,)]"
)

#: From the end of a label to its value.
_LEAD: Final = re.compile(
    r"(?:[_-](?:prod|dev|test|stg|real|db|[0-9]))?[\"'`\]*]{0,3}"
    r"(?: ?\([^()\n]{1,12}\))?"
    r"(?: for [A-Za-z0-9_.]{1,20}(?= ))?"
    r"(?: ?(?:초기값|초기|임시|변경|설정|값|정보|재설정|접속|확인|원본|새))?"
    r"(?P<particle> ?(?:는요|은요|는|은|이|가|를|을|도)(?=[ -~‘“]))?"
    r"(?: ?(?:다음과|아래와) 같(?:습니다|음|다)\.?| (?:is|to|was|as)(?= ))?"
    r"(?P<sign>[ \t]{0,4}(?::=|=>|->|==|[:=>→|\t]|(?<= )-(?= ))[ \t]{0,4}(?:\n[ \t]{0,4}){0,2})?"
    r"(?P<line>[ \t]{0,4}\n[ \t]{0,4}\n?)?"
    r"(?P<space>[ ]{0,2})"
)
_FURTHER: Final = re.compile(r"[ 가-힣]{0,20}(?:: ?(?:[a-z]{2,6} )?)?[:(\[\"'‘“<]{0,2} ?(?P<value>[!-~]{8,64})")
_QUOTED: Final = re.compile(r"(?P<quote>[\"'`“‘])(?P<value>[^\"'`”’\n]{4,128})[\"'`”’]")
_BARE: Final = re.compile(r"[!-~]{4,128}")
_FOLLOWS: Final = re.compile(
    r"입니다|이에요|예요|에요|이예요|이야|야|임|이고|이며|이다|이니|인데|으로|로|을|를|이라|라고|라는|라서|였|이었|은|는|이|가|도|만|과|와|및|까지|부터|번입|번이|래|랍"
)
#: Digits alone are a password only where the sentence ends on them.
_ENDS: Final = re.compile(
    r"입니다|이에요|예요|에요|이예요|이야|야|임|이고|이며|이다|이니|인데|으로|을|를|이라|라고|라는|번입|번이|래|랍"
)
_PAIR: Final = re.compile(r"(?:id|아이디|계정|사용자|user|username)[ ]?[/,·&-][ ]?$", re.IGNORECASE)
_SECOND: Final = re.compile(r"[!-~가-힣]{1,40}?[ ]{0,2}[/,|][ ]{0,2}(?P<value>[!-~]{4,64})")

_REFERENCE: Final = re.compile(
    r"\$[A-Za-z_{(]|%[A-Za-z_]+%|[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+(?![A-Za-z0-9_])|[A-Za-z_][A-Za-z0-9_.]*[(\[]|[A-Za-z_]+=(?!=?$)|https?:|[/.]{1,2}[a-z]+/|@[A-Za-z]+[(.]|[{<\[(]|!(?:vault|ref|sub)"
)
_DATE: Final = re.compile(
    r"(?:19|20)[0-9]{2}[-./][0-9]{1,2}(?:[-./][0-9]{1,2})?|[0-9]{1,3}(?:\.[0-9]+)+|[0-9]{1,4}[~-][0-9]{1,4}|[0-9]+(?:bit|자|회|px|%).*"
)
_KEY_LEAD: Final = re.compile(
    r"(?:_[A-Za-z]{2,10})?[\"'`\]]{0,2}(?: ?\([^()\n]{1,16}\))?(?: ?(?:는|은|이|가|를|을)| is(?= ))?[ \t]{0,4}"
    r"(?P<sign>:=|=>|->|==|[:=>|→])?[ \t]{0,4}[\"'`“‘]?"
)
_KEY_VALUE: Final = re.compile(r"[A-Za-z0-9+/=_\-.%~]{8,1024}")
_LETTER: Final = re.compile(r"[A-Za-z]")
_DIGIT: Final = re.compile(r"[0-9]")
_STRONG_MARK: Final = re.compile(r"[!@#$%^&*+?~]")
_QUOTED_KEY: Final = re.compile(r"[\"'](?P<value>[!-&(-~]{16,256})[\"']")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX_KEY: Final = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{48}")
_SEGMENTS: Final = re.compile(r"[-_./~%=+]+")
#: Labels that say little: what follows must look more like a key.
_WEAK_KEYS: Final = frozenset({"key", "token", "secret", "토큰", "credential"})
#: Labels whose values may be as short as a password.
_SHORT_KEYS: Final = ("secret", "secret_key", "secretkey", "secret key", "시크릿", "시크릿키", "비밀키", "인증키")
_SHORT: Final = frozenset({"pw", "pwd", "pass", "암호", "key"})

EXAMPLES: Final = (
    ("AWS 키는 AKIAQX4BIPW3AHOV29GN 입니다", "AKIAQX4BIPW3AHOV29GN"),
    ("aws_secret_access_key = kS9pQ2vLr8Yt3WmZ1xNc5BvD7fGh0JqT4uEoR6aI", "kS9pQ2vLr8Yt3WmZ1xNc5BvD7fGh0JqT4uEoR6aI"),
    ("토큰ghp_a8Kd03LmQ92xTzVb71RnYw45PeHcUj6sGf0D입니다", "ghp_a8Kd03LmQ92xTzVb71RnYw45PeHcUj6sGf0D"),
    (
        "xoxb-2938471029-3847561029384-aB3dE5fG7hI9jK1lM3nO5pQ7",
        "xoxb-2938471029-3847561029384-aB3dE5fG7hI9jK1lM3nO5pQ7",
    ),
    ("구글 키 AIzaSyB3k9Lm2Qp7Rt5Vw8Xz1Nc4Bd6Fg0HjKsA 사용", "AIzaSyB3k9Lm2Qp7Rt5Vw8Xz1Nc4Bd6Fg0HjKsA"),
    (
        "Authorization: Bearer 9f8aQ2kL5mN7pR3sT6vX1yZ4bC0dE8gH",
        "9f8aQ2kL5mN7pR3sT6vX1yZ4bC0dE8gH",
    ),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ),
    ("postgres://app:Qw3rTy!9@db.internal:5432/minwon", "Qw3rTy!9"),
    ("jdbc:oracle:thin:app/Tjdnf#2025@dbhost:1521/ORCL", "Tjdnf#2025"),
    ("curl -u minwon:Tjdnf#2025 https://api.local/v1", "Tjdnf#2025"),
    ("서버 계정은 root / Qhdks!2025 입니다", "Qhdks!2025"),
    ("CREATE USER app IDENTIFIED BY 'wns2025!db'", "wns2025!db"),
    ("초기 비밀번호(Admin!2345)로 접속", "Admin!2345"),
    ("mysql -h db01 -u root -p'Tkfkdgo!2024' minwon", "Tkfkdgo!2024"),
    ('connect("admin", "Rhksfl@1357")', "Rhksfl@1357"),
    ('props.put("password", "Props!321");', "Props!321"),
    ('{"ssid": "CITY-5G", "psk": "cityhall!5g#2"}', "cityhall!5g#2"),
    ("비밀번호를 영문으로 Tjdnf#2025라고 정함", "Tjdnf#2025"),
    ("SECRET_KEY = 'django-insecure-9x$k2(w!7a&v^q3#m8z@r5t*y1u'", "django-insecure-9x$k2(w!7a&v^q3#m8z@r5t*y1u"),
    ("NAVER_SECRET = 'aB3_kd92Lq'", "aB3_kd92Lq"),
    ("비밀번호는 Hwaseong#2025 입니다", "Hwaseong#2025"),
    ("비밀번호는Hwaseong#2025입니다", "Hwaseong#2025"),
    ("와이파이 비번 gongmu1234 이에요", "gongmu1234"),
    ("현관 비밀번호: 1379*", "1379*"),
    ("서고 비번은 4821이야", "4821"),
    ("패스워드 = s3cureP@ss", "s3cureP@ss"),
    ("ID/PW: admin / Admin!2345", "Admin!2345"),
    ('{"user": "kim", "password": "Tjdnf!2025"}', "Tjdnf!2025"),
    ("DB_PASSWORD=R7m!zQ92\nDB_HOST=10.0.0.3", "R7m!zQ92"),
    ("아이디,비밀번호\nminwon01,Spring2025!\nminwon02,Summer2025!", ["Spring2025!", "Summer2025!"]),
    (
        "serviceKey=aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9dE1fG3hI5jK7lM9nO1pQ3rS5tU7vW9xY1zA3bC5dE7fG%3D%3D",
        "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9dE1fG3hI5jK7lM9nO1pQ3rS5tU7vW9xY1zA3bC5dE7fG%3D%3D",
    ),
    ("카카오 REST API 키: 3f7a91c2d84be065a1f9c3d7e2b40856", "3f7a91c2d84be065a1f9c3d7e2b40856"),
    ("주소 API 승인키 devU01TX0FVVEgyMDI1MDMxMjEwMjIzMzExNTU2Nzg=", "devU01TX0FVVEgyMDI1MDMxMjEwMjIzMzExNTU2Nzg="),
    ("X-Naver-Client-Secret: k3Jd9_aQz1", "k3Jd9_aQz1"),
    ("인증키는 7Qm2Zx9LpV4tRk8WnB3s 로 호출", "7Qm2Zx9LpV4tRk8WnB3s"),
    ("api_key: 'Zk93hfLq72mVxP10sTnB'", "Zk93hfLq72mVxP10sTnB"),
)
NEAR_MISSES: Final = (
    "비밀번호는 9자리 이상, 영문·숫자·특수문자를 섞어 정합니다",
    "비밀번호 변경 주기는 90일입니다",
    "비밀번호 3회 오류 시 계정이 잠깁니다",
    "비밀번호는 SHA-256으로 암호화하여 저장한다",
    "암호화 방식: AES256-GCM",
    "암호 알고리즘은 ARIA-256을 쓴다",
    "비밀번호 정책 개정일 2025-03-12",
    "password: str = Field(min_length=9)",
    "password = os.environ['DB_PASSWORD']",
    "password=${DB_PASSWORD}",
    "password: process.env.DB_PASS",
    'DB_PASSWORD="<비밀번호>"',
    "password=********",
    "passwd: your_password_here",
    '<input type="password" name="pw1" id="user_pw">',
    "api_key = settings.API_KEY",
    "API_KEY=YOUR_API_KEY_HERE",
    "AKIAIOSFODNN7EXAMPLE",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----",
    "https://www.seoul.go.kr:443/main@home",
    "postgres://user:password@localhost/db",
    "commit 3f7a91c2d84be065a1f9c3d7e2b40856aa11bb22",
    "integrity: sha512-aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9dE1fG3hI5jK7lM9nO1pQ3rS5tU7vW9xY1zA3bC5dE7fG==",
    "max_tokens=4096, next_page_token=none",
    "task-management-system-for-2025-budget-review",
    "primary_key=user_account_history_identifier",
    "테스트 결과 PASS: 1234, FAIL: 0",
    "비밀번호 찾기 메뉴에서 이메일을 입력하세요",
    "패스워드: Active Directory 연동",
    "단축키: Ctrl+Shift+Alt+Delete",
    "mysql -u root -p minwon",
    'connect("localhost", "minwon_2025")',
    'login("/members/2025", "https://a.kr/?q=1")',
)


class Credential:
    """The detector, compiled from the pack's shapes and words."""

    name = "secret"
    kind = KIND
    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self, pack: Secrets) -> None:
        self._shapes = tuple((f"{KIND}:{shape.id}", shape, compiled(shape.regex)) for shape in pack.secrets)
        self._stop_words = AhoCorasick([word.lower() for word in pack.stop_words])
        self._stop_values = frozenset(word.lower() for word in pack.stop_values)
        self.words: dict[str, tuple[str, ...]] = {
            _SHAPE: every_word(shape.keywords for shape in pack.secrets),
            _PASSWORD: pack.password_labels,
            _KEY: pack.key_labels,
            _BEGIN: ("-----begin", _PUTTY),
            _END: ("-----end", "private-mac:"),
            _URL: ("://",),
            _ACCOUNT: (
                "접속:",
                "접속 :",
                "계정",
                "아이디",
                "접속정보",
                "접속 정보",
                "로그인 정보",
                "login",
                "credentials",
                "id:",
            ),
            _USER: ("curl ", "-u ", "--user ", "wget "),
            _CLIENT: (
                "mysql",
                "mariadb",
                "mongo",
                "redis-cli",
                "sqlcmd",
                "ldapsearch",
                "net use",
                "docker login",
                "smbclient",
            ),
            _CALL: (
                "auth=(",
                "auth = (",
                "connect(",
                "login(",
                "httpbasicauth(",
                "getconnection(",
                "authenticate(",
                "logon(",
                "signin(",
            ),
            _LOGON: ("thin:", "sqlplus ", "sqlldr ", "impdp ", "expdp "),
            **{f"{KIND}:{shape.id}": shape.keywords for shape in pack.secrets},
        }

    def detect(self, page: Page, /) -> Iterable[Match]:
        if page.has(_SHAPE):
            yield from self._published(page)
        if page.has(_BEGIN):
            yield from _private_keys(page)
        if page.has(_URL):
            yield from self._userinfo(page, _URL, _USERINFO)
        if page.has(_LOGON):
            yield from self._userinfo(page, _LOGON, _ORACLE)
        if page.has(_USER):
            yield from self._pairs(page, _USER, _CURL)
        if page.has(_ACCOUNT):
            yield from self._pairs(page, _ACCOUNT, _LOGIN)
        if page.has(_CLIENT):
            yield from self._arguments(page, _CLIENT, _OPTION)
        if page.has(_CALL):
            yield from self._arguments(page, _CALL, _ARGUMENTS)
        if page.has(_PASSWORD):
            yield from self._arguments(page, _PASSWORD, _PUT)
            yield from self._passwords(page)
        if page.has(_KEY):
            yield from self._keys(page)

    def _published(self, page: Page) -> Iterator[Match]:
        text = page.text
        for role, shape, expression in self._shapes:
            if not page.has(role):
                continue
            for begin, stop in _windows(page, role, shape.reach, len(text)):
                for found in expression.finditer(text[begin:stop]):
                    start, end = found.span(1 if expression.groups else 0)
                    start, end = start + begin, end + begin
                    if _whole(text, start, end) and self._believable(text[start:end], shape):
                        yield Match(KIND, start, end, 0.95, f"secret:{shape.id}", ("shape",))

    def _believable(self, value: str, shape: Shape) -> bool:
        if shape.entropy and entropy(value) < shape.entropy:
            return False
        if shape.digits and not _mixed(value):
            return False
        return not self._stopped(value)

    def _stopped(self, value: str) -> bool:
        low = value.lower()
        return low.strip("\"'`.,;:!?()[]{}") in self._stop_values or bool(self._stop_words.find_matches_as_indexes(low))

    def _userinfo(self, page: Page, role: str, expression: re.Pattern[str]) -> Iterator[Match]:
        for word in page.words(role):
            found = expression.match(page.text, word.end)
            if found is not None and not self._stopped(found["value"]) and found["value"][0] not in "$%{":
                yield Match(KIND, *found.span("value"), 0.9, "secret:url", ("userinfo",))

    def _pairs(self, page: Page, role: str, expression: re.Pattern[str]) -> Iterator[Match]:
        """A user and a password with a mark between, where no word says password: only a strong one is believed."""
        for word in page.words(role):
            found = expression.match(page.text, word.end)
            if found is None:
                continue
            value = _trimmed(found["value"], "")
            if (
                len(value) >= 6
                and _STRONG_MARK.search(value)
                and self._strength(value, role, signed=True, quoted=False) >= 0.9
            ):
                start = found.start("value")
                yield Match(KIND, start, start + len(value), 0.85, "secret:pair", ("label",))

    def _arguments(self, page: Page, role: str, expression: re.Pattern[str]) -> Iterator[Match]:
        """What is handed to a program or a function where a password goes: letters and digits, and a sign or an end of digits."""
        done = 0
        for word in page.words(role):
            if word.end < done:
                continue
            found = expression.match(page.text, word.end)
            if found is None:
                continue
            value = found["value"]
            done = found.end()
            if (
                _mixed(value)
                and _STRONG_MARK.search(value)
                and self._strength(value, "", signed=True, quoted=False) >= 0.9
            ):
                yield Match(KIND, *found.span("value"), 0.9, "secret:argument", ("label",))

    def _passwords(self, page: Page) -> Iterator[Match]:
        text = page.text
        done = 0
        begins: dict[int, int] = {}
        for word in page.words(_PASSWORD):
            begins[word.end] = min(word.start, begins.get(word.end, word.start))
        for word in page.labels(_PASSWORD):
            if word.end <= done:
                continue
            label = page.lower[begins[word.end] : word.end]  # requirepass ends with pass
            if label in _SHORT and word.start and _is_letter(text[word.start - 1]):
                continue
            lead = _LEAD.match(text, word.end)
            if lead is None or lead.end() >= len(text):
                continue
            found = self._password(page, label, word.start, lead) or self._further(text, word.end)
            if found is not None:
                done = found.end
                yield found
        yield from self._in_columns(page)

    def _password(self, page: Page, label: str, begin: int, lead: re.Match[str]) -> Match | None:
        text = page.text
        signed = lead["sign"] is not None
        at = lead.end()
        if not signed and not lead["particle"] and (not (lead["space"] or lead["line"]) or label == "pass"):
            return None
        if signed and _PAIR.search(text, max(0, begin - 16), begin):
            pair = _SECOND.match(text, at)
            if pair is not None and not self._stopped(pair["value"]):
                value = pair["value"].rstrip(".,;)")
                return Match(
                    KIND, pair.start("value"), pair.start("value") + len(value), 0.9, "secret:password", ("label",)
                )
        quoted = _QUOTED.match(text, at)
        if quoted is not None:
            value, start = quoted["value"], quoted.start("value")
            end = start + len(value)
            score = self._strength(value, label, signed=True, quoted=True)
        else:
            bare = _BARE.match(text, at)
            if bare is None:
                return None
            value = _trimmed(bare[0], text[begin - 1] if begin else "")
            start, end = at, at + len(value)
            if not signed and lead["line"] and ("," in bare[0] or text[end : end + 1] not in ("", "\n", "\r")):
                return None
            after = text[end : end + 4]
            if after and "가" <= after[0] <= "힣":
                if not (_ENDS if value.isdigit() else _FOLLOWS).match(after):
                    return None
            elif value.isdigit() and not signed and after[:1] not in ("", "\n", ".", ",", " ", ")", "!", "~"):
                return None
            score = self._strength(value, label, signed=signed or lead["particle"] is not None, quoted=False)
        return Match(KIND, start, end, score, "secret:password", ("label",)) if score else None

    def _further(self, text: str, at: int) -> Match | None:
        """비밀번호(Admin!2345), 비밀번호를 영문으로 Admin!2345: behind a few words only what can be nothing else is believed."""
        found = _FURTHER.match(text, at)
        if found is None:
            return None
        value = _trimmed(found["value"], "").rstrip(")]>")
        strong = _STRONG_MARK.search(value) and _mixed(value) and "@" not in value[1:-4] and "/" not in value
        if len(value) < 8 or not strong or not self._strength(value, "", signed=True, quoted=False):
            return None
        start = found.start("value")
        return Match(KIND, start, start + len(value), 0.85, "secret:password", ("label", "apart"))

    def _strength(self, value: str, label: str, *, signed: bool, quoted: bool) -> float:
        """How surely what stands after a password's label is one: 0 when it is none."""
        if len(value) < 4 or self._stopped(value) or _DATE.fullmatch(value) or not value.isascii():
            return 0
        if not quoted and _REFERENCE.match(value):
            return 0
        if quoted and (_REFERENCE.match(value) or " " in value.strip()):
            return 0
        letters = _LETTER.search(value) is not None
        digits = _DIGIT.search(value) is not None
        if letters and (digits or _STRONG_MARK.search(value)):
            if not signed and (len(value) < 6 or not digits or (value[0].isupper() and value[1:].isdigit())):
                return 0
            return 0.9 if len(value) >= 6 or signed else 0.6
        if digits and not letters:
            return 0 if label == "pass" or len(value) > 20 or value.startswith(("0.", "-")) else 0.85
        if letters and signed and value.islower() and len(value) >= 7 and (quoted or label >= "가"):
            return 0.6
        return 0

    def _in_columns(self, page: Page) -> Iterator[Match]:
        """Values under a head that says password."""
        for start, end in cells(page, _PASSWORD, self.words[_PASSWORD]):
            value = page.text[start:end]
            if " " not in value and self._strength(value, "password", signed=True, quoted=False):
                yield Match(KIND, start, end, 0.9, "secret:password", ("column",))

    def _keys(self, page: Page) -> Iterator[Match]:
        text = page.text
        done = 0
        for word in page.words(_KEY):
            if word.end <= done or page.lower.startswith(("key", "_key", " key", "-key", "token"), word.end):
                continue
            if _is_letter(text[word.end : word.end + 1]):
                continue
            label = page.lower[word.start : word.end]
            before = text[word.start - 1] if word.start else ""
            if label in _SHORT and (_is_letter(before) or before in ("_", "-")):
                continue
            lead = _KEY_LEAD.match(text, word.end)
            if lead is None:
                continue
            found = _KEY_VALUE.match(text, lead.end())
            quoted = _QUOTED_KEY.match(text, lead.end() - 1) if lead["sign"] is not None else None
            if quoted is not None and (found is None or found.end() < quoted.end("value")):
                value = quoted["value"]
                if self._is_key(value, weak=label in _WEAK_KEYS, bare=label == "key"):
                    done = quoted.end()
                    yield Match(KIND, *quoted.span("value"), 0.9, "secret:key", ("label", "entropy"))
                    continue
            if found is None:
                done = word.end  # of api_key and key, which end together, the longer comes first
                continue
            done = max(found.end(), word.end)
            if (lead["sign"] is None and label in _WEAK_KEYS) or lead.end() == word.end:
                continue
            value = found[0].rstrip(".-")
            if before == "&" and "&" in value:
                value = value[: value.index("&")]
            if (
                lead["sign"] is not None
                and 8 <= len(value) < 16
                and label.endswith(_SHORT_KEYS)
                and "/" not in value
                and self._strength(value, label, signed=True, quoted=False) >= 0.9
                and not _is_spoken(value)
            ):
                yield Match(KIND, found.start(), found.start() + len(value), 0.85, "secret:key", ("label",))
            elif self._is_key(value, weak=label in _WEAK_KEYS, bare=label == "key"):
                yield Match(KIND, found.start(), found.start() + len(value), 0.9, "secret:key", ("label", "entropy"))

    def _is_key(self, value: str, *, weak: bool, bare: bool) -> bool:
        if len(value) < 16 or self._stopped(value) or not _mixed(value):
            return False
        if _UUID.fullmatch(value):
            return not weak
        if entropy(value) < (3.5 if weak else 3.0) or _is_spoken(value):
            return False
        return not bare or _HEX_KEY.fullmatch(value) is not None or not (value.islower() or value.isupper())


def _windows(page: Page, role: str, reach: int, length: int) -> Iterator[tuple[int, int]]:
    """What may hold a value near a keyword, without reading any character twice."""
    begin, stop = -1, -1
    for word in page.words(role):
        left, right = max(0, word.start - _BACK), min(length, word.end + reach)
        if begin < 0:
            begin, stop = left, right
        elif left <= stop:
            stop = max(stop, right)
        else:
            yield begin, stop
            begin, stop = left, right
    if begin >= 0:
        yield begin, stop


def _private_keys(page: Page) -> Iterator[Match]:
    text = page.text
    ends = [word.end for word in page.words(_END)]
    done = -1
    for word in page.words(_BEGIN):
        if word.start < done:
            continue
        putty = text[word.start].lower() == "p"
        head = None if putty else _PRIVATE.match(text, word.start)
        if head is None and not putty:
            continue
        first = word.end if head is None else head.end()
        index = bisect_left(ends, first)
        if index < len(ends):
            stop = text.find("-----", ends[index], ends[index] + 48)
            done = min(stop + 5, len(text)) if stop >= 0 else ends[index]
        else:
            rest = _WITHOUT_END.match(text, first)
            done = first if rest is None else first + len(rest[0].rstrip())
        yield Match(KIND, word.start, done, 0.95, "secret:private-key", ("shape",))


def _whole(text: str, start: int, end: int) -> bool:
    """Whether a value is not a piece of something longer."""
    return not (start and _is_letter(text[start - 1])) and not (end < len(text) and _is_letter(text[end]))


def _is_letter(char: str) -> bool:
    return char.isalnum() and char.isascii()


def _mixed(value: str) -> bool:
    return _DIGIT.search(value) is not None and _LETTER.search(value) is not None


def _is_spoken(value: str) -> bool:
    """Words with marks between: the name of a thing, not a key."""
    parts = [part for part in _SEGMENTS.split(value) if part]
    if len(parts) < 2:
        return False
    words = sum(len(part) for part in parts if part.isalpha() and (part.islower() or part.isupper() or part.istitle()))
    return words * 2 > sum(map(len, parts)) and max(map(len, parts)) < 20


def _trimmed(value: str, before: str) -> str:
    """Without what belongs to the sentence, the markup or the URL around it."""
    for mark in ("</", '",', "',", "&" if before in ("?", "&") else "\n"):
        if mark in value:
            value = value[: value.index(mark)]
    value = value.rstrip("\"'`|")
    if value.endswith(")") and "(" not in value:
        value = value.rstrip(")")
    return value.rstrip(".,;:\"'`]}")


def entropy(value: str) -> float:
    """Bits per character (Shannon)."""
    size = len(value)
    counts = Counter(value).values()
    return log2(size) - sum([n * log2(n) for n in counts]) / size if size else 0.0


detector: Final = Credential(shipped().secrets)
