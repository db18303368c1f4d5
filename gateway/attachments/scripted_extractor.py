"""An extractor that reads plain text and obeys a mark in it: the fake beside the seam."""

from __future__ import annotations

import re

from gateway.attachments.extracted import Extracted, Uninspectable

_REFUSE = re.compile(r"\[\[refuse:(\w+)\]\]")


class ScriptedExtractor:
    """`[[refuse:encrypted]]` in a file is that refusal; every other file is its own text."""

    async def extract(self, data: bytes, name: str) -> Extracted:
        text = data.decode()
        if told := _REFUSE.search(text):
            raise Uninspectable(told[1], "inner.docx")
        return Extracted("text", text, ("media/image1.png",), mismatch=name.endswith(".pdf"))
