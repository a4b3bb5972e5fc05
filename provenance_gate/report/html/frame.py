"""A page around its sections: head with the content-security policy, and the parts that several pages share."""

from __future__ import annotations

from collections.abc import Sequence

from provenance_gate.report.html.markup import Child, Markup, join, lines, tag
from provenance_gate.report.html.style import STYLE, content_security_policy


def page(title: str, *sections: Markup) -> str:
    """A whole document. Titles are text of the artifact like everything else."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=content_security_policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        # The digest in the policy is of these very bytes, so they are not escaped; no string of an artifact is in them.
        Markup(f"<style>{STYLE}</style>"),
    )
    body = tag("body", tag("main", *sections))
    return f"<!doctype html>\n{tag('html', head, body, lang='en').html}\n"


def section(title: str, *children: Child) -> Markup:
    """A part with a heading."""
    return tag("section", tag("h2", title), *children)


def table(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[Child]], numeric: Sequence[int] = ()
) -> Markup:
    """A table that scrolls sideways where it is too wide; columns `numeric` are set flush right. Reachable by keyboard."""

    def kind(column: int) -> str | None:
        return "n" if column in numeric else None

    head = tag("tr", *(tag("th", h, scope="col", class_=kind(i)) for i, h in enumerate(headings)))
    body = (tag("tr", *(tag("td", cell, class_=kind(i)) for i, cell in enumerate(row))) for row in rows)
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", *body)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def folded(summary: str, *children: Child) -> Markup:
    """Opened by who wants to see it."""
    return tag("details", tag("summary", summary), *children)


def preformatted(label: str, content: Sequence[str]) -> Markup:
    """Lines as they are, in a block that is reachable by keyboard."""
    return tag("pre", lines(content), tabindex="0", role="region", aria_label=label)


def paragraphs(sentences: Sequence[str], class_: str | None = None) -> Markup:
    return join(tag("p", s, class_=class_) for s in sentences)


def word(value: str, tone: str) -> Markup:
    """An answer; `tone` is bad, good, open or empty, and only repeats what the word says."""
    return tag("span", value, class_=f"word {tone}".strip())
