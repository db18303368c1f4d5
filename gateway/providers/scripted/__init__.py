"""The shipped fake upstream: practice models for people, and an upstream that misbehaves to order for tests.

    request body ─▶ ScriptedEngine.answer ─▶ Script(status, headers, steps of wire bytes with delays, how it ends)
                                               │
                    ScriptedTransport  ◀───────┤  in process, no socket
                    scripted_server    ◀───────┘  the same bytes over a real one

The engine does no I/O and does not wait: it says what to send and when. Its text is a function of model, prompt and `seed`.
It composes an answer first (`Choice`: pieces of text or a tool call) and then speaks a dialect: OpenAI's chat completions,
responses and embeddings, Anthropic's messages, Gemini's generateContent, Cohere's chat and Bedrock's Converse, each in a file
of its own and known by the ending of its path. The words and their count are the same in all of them.

    text ─▶ script ─▶ schema ─▶ composing ─▶ chat, embeddings, foreign ─▶ anthropic … responses ─▶ engine; transport

With `faults=True` directives in the last user message are obeyed; otherwise they are plain text:
`[[fail:STATUS]]` `[[slow:SECONDS]]` before the first byte, `[[stall:SECONDS]]` silence in mid-answer, `[[cut:CHUNKS]]` breaks
the connection after so many chunks (a whole answer: in mid-body), `[[pace:MS]]`, `[[chunks:N]]` tokens of text, `[[garbage]]`
something that is not JSON, `[[no-usage]]`, `[[usage-twice]]` (the last one is right), `[[usage-absurd]]`, `[[zero-usage]]`.
"""

from __future__ import annotations

from gateway.providers.scripted.engine import ScriptedEngine
from gateway.providers.scripted.schema import smallest
from gateway.providers.scripted.script import (
    Arrival,
    Choice,
    Dialect,
    Ended,
    Faults,
    Rejected,
    Script,
    Step,
    Upstream,
    arrival,
    read_directives,
)
from gateway.providers.scripted.text import compose, count_prompt_tokens, count_tokens, pieces
from gateway.providers.scripted.transport import ScriptedTransport

__all__ = [
    "Arrival",
    "Choice",
    "Dialect",
    "Ended",
    "Faults",
    "Rejected",
    "Script",
    "ScriptedEngine",
    "ScriptedTransport",
    "Step",
    "Upstream",
    "arrival",
    "compose",
    "count_prompt_tokens",
    "count_tokens",
    "pieces",
    "read_directives",
    "smallest",
]
