"""The chat template as text. It is never rendered: Jinja from a stranger is a program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.tells.documents import CHAT_TEMPLATE, TOKENIZER_CONFIG, document, json_document
from provenance_gate.tells.interface import Side

MAX_CHARACTERS: Final = 256 << 10
"""Of what is looked at; the longest in wide use have some 20,000."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The text, cut at `MAX_CHARACTERS`, and the file that has it."""

    text: str
    file: str


def chat_template(side: Side) -> ChatTemplate | NotMeasured:
    """chat_template.jinja, else `chat_template` of tokenizer_config.json: a text, or a list, whose "default" or first one
    counts."""
    data = document(side, CHAT_TEMPLATE)
    if data is not None:
        return ChatTemplate(data.decode("utf-8", "replace")[:MAX_CHARACTERS], CHAT_TEMPLATE)
    settings = json_document(side, TOKENIZER_CONFIG)
    if isinstance(settings, NotMeasured):
        return NotMeasured(f"no {CHAT_TEMPLATE}, and {settings.reason}")
    value = settings.get("chat_template")
    if isinstance(value, list):
        named = [v for v in value if isinstance(v, dict) and isinstance(v.get("template"), str)]
        value = next((v["template"] for v in named if v.get("name") == "default"), None) or next(
            (v["template"] for v in named), None
        )
    if not isinstance(value, str) or not value.strip():
        return NotMeasured(f"no {CHAT_TEMPLATE}, and no chat_template in {TOKENIZER_CONFIG}")
    return ChatTemplate(value[:MAX_CHARACTERS], TOKENIZER_CONFIG)
