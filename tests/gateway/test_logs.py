"""A configured secret never reaches the log, whatever put it there."""

import json
import logging

from gateway.logs import Redacting


def line(message: str, *args: object, exc: BaseException | None = None) -> logging.LogRecord:
    info = (type(exc), exc, exc.__traceback__) if exc else None
    return logging.LogRecord("haechi", logging.ERROR, __file__, 1, message, args, info)


SECRETS = {"key of openai": "sk-canary-123456", "short": "abc"}


def test_a_secret_is_replaced_by_its_name_in_messages_and_tracebacks() -> None:
    formatter = Redacting(SECRETS, as_json=True)
    told = formatter.format(line("sent %s", "sk-canary-123456", exc=ValueError("Bearer sk-canary-123456")))
    assert "canary" not in told
    assert "[key of openai]" in json.loads(told)["message"]


def test_words_too_short_to_be_secrets_are_left_alone() -> None:
    assert "abc" in Redacting(SECRETS, as_json=False).format(line("abc"))
