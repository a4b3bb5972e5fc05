"""HTML pages as a reader's browser takes them, and audits to make pages from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Json
from provenance_gate.report.audit import Audit
from provenance_gate.report.interface import NominatedOnly, ReadingCost
from provenance_gate.tells.cluster import cluster
from provenance_gate.tells.interface import (
    ClaimCheck,
    Standing,
    TellGroup,
    TellResult,
    TellStatus,
    Withheld,
)
from provenance_gate.tells.verdict import conclude

from . import build

VOID = {"meta", "br", "col"}


@dataclass
class Parsed(HTMLParser):
    """A strict reading: every element is closed in order; `texts` as shown, `attributes` of every element."""

    texts: list[str] = field(default_factory=list)
    elements: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @classmethod
    def of(cls, page: str) -> Parsed:
        """Read a whole page."""
        parsed = cls()
        parsed.feed(page)
        parsed.close()
        assert parsed.open == []
        return parsed


def tell(number: int, status: TellStatus = TellStatus.QUIET, text: str = "nothing", **numbers: Json) -> TellResult:
    """One tell."""
    groups = {**dict.fromkeys(range(1, 8), TellGroup.CONFIG), **dict.fromkeys((8, 9, 10), TellGroup.TOKENIZER)}
    groups |= {14: TellGroup.BEHAVIOR}
    return TellResult(
        id=number,
        name=f"tell-{'abcdefghijklmn'[number - 1]}",
        group=groups.get(number, TellGroup.WEIGHTS),
        title=f"Title {number}",
        status=status,
        seen=text,
        expected="nothing of the kind",
        strength=0.5 if status is TellStatus.FIRED else 0.0,
        reproduce="look at it",
        base="org/base" if status is TellStatus.FIRED else None,
        numbers=numbers,
    )


PICTURES: dict[int, dict[str, Json]] = {
    10: {"template_diff": ["--- a", "+++ b", "-You are Qwen"]},
    14: {"examples": [{"prompt": "Once", "ours": "a <b>", "base": "the", "parts_at": 0}]},
    11: {"histogram": [0] * 10 + [1, 2, 3, 0, 0, 0, 0, 0, 9, 500], "moved": [{"id": 7, "token": "<b>", "cosine": 0.1}]},
    12: {
        "parents": [
            {
                "name": "org/base",
                "layers": [0, 1],
                "roles": ["ffn_down", "attention_q"],
                "change": [[0.0, 1.4], [0.5, None]],
                "correlation": [[1.0, 0.0], [0.8, None]],
                "aligned": True,
            }
        ]
    },
    13: {
        "vectors": [
            {"place": "decoder/0/norm", "layer": 0, "ks_p_value": 0.25, "bit_equal": False, "same_values": True},
            {"place": "decoder/-/norm", "layer": None, "ks_p_value": 1.0, "bit_equal": True, "same_values": True},
        ]
    },
}


def audit(text: str = "nothing") -> Audit:
    """An audit with a result of every kind; `text` stands wherever an artifact can put words."""
    found = build.impostor_result()
    tells = tuple(
        tell(i, (TellStatus.FIRED, TellStatus.QUIET, TellStatus.NOT_MEASURED)[i % 3], text, **PICTURES.get(i, {}))
        for i in range(1, 15)
    )
    claims = tuple(ClaimCheck(text, text, text, text, standing) for standing in Standing)
    subject = replace(found.artifact, name=text)
    lineages = [replace(x, base=replace(x.base, id=text, source=text)) for x in found.lineages[:1]] + [
        *found.lineages[1:]
    ]
    return Audit(
        tool_version="0.1.0",
        command=("provenance-gate", "audit", text),
        artifact=subject,
        digest=found.digest,
        purl=found.purl,
        verdict=conclude(text, lineages, NotMeasured(text), tells, claims),
        lineages=lineages,
        untested={text: text},
        nominated=[NominatedOnly(text, (text,), text)],
        merge=NotMeasured(text),
        ancestry=build.ancestry(text),
        tells=tells,
        withheld=[Withheld("card", text, text, (2,), text)],
        cluster=cluster(tells),
        claims=claims,
        stored=1,
        records=2,
        damaged=[text],
        cost=ReadingCost(100, 50, 3),
    )
