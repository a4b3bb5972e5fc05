"""The style sheet of every page, and the content-security policy that allows it and nothing else.

Colors of text have a contrast of at least 4.5 to their ground in both schemes. Cells of a heat map have eleven steps of one
hue; their numbers stand in a table beside the picture. No rule asks for a file, a font or an address.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#57606a;--line:#d0d7de;--soft:#f6f8fa;--accent:#0b57d0;
--bad:#a40e26;--good:#116329;--open:#7a4d00;--bad-bg:#ffebe9;--good-bg:#dafbe1;--open-bg:#fff4d6;
--low:#eef3fb;--high:#0b3d91;--s1:#0b57d0;--s2:#b35900;--s3:#116329;--s4:#8250df;--s5:#a40e26;--s6:#57606a}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9aa4af;--line:#30363d;--soft:#161b22;
--accent:#79b8ff;--bad:#ff9a92;--good:#7ee2a0;--open:#f2cc60;--bad-bg:#3b1215;--good-bg:#0f2d1a;--open-bg:#33270a;
--low:#172033;--high:#9ecbff;--s1:#79b8ff;--s2:#ffb070;--s3:#7ee2a0;--s4:#d2a8ff;--s5:#ff9a92;--s6:#9aa4af}}
@media print{:root{color-scheme:light;--bg:#fff;--fg:#000;--dim:#444;--line:#999;--soft:#fff;--accent:#000;
--bad:#8a0018;--good:#0a4d1c;--open:#5c3a00;--bad-bg:#fff;--good-bg:#fff;--open-bg:#fff;
--low:#eef3fb;--high:#0b3d91;--s1:#0b57d0;--s2:#b35900;--s3:#116329;--s4:#8250df;--s5:#a40e26;--s6:#57606a}
section,figure,tr,li{break-inside:avoid}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.3;margin:.2rem 0 .6rem}
h2{font-size:1.15rem;margin:2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p{margin:.4rem 0}.dim{color:var(--dim)}.small{font-size:.875rem}
.verdict{padding:1rem;border:1px solid var(--line);border-left-width:.5rem;border-radius:.3rem;background:var(--soft)}
.verdict.bad{border-left-color:var(--bad);background:var(--bad-bg)}
.verdict.good{border-left-color:var(--good);background:var(--good-bg)}
.verdict.open{border-left-color:var(--open);background:var(--open-bg)}
.word{font-weight:700;text-transform:uppercase;letter-spacing:.04em;font-size:.85rem}
.bad .word,.word.bad{color:var(--bad)}.good .word,.word.good{color:var(--good)}.open .word,.word.open{color:var(--open)}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .5rem;border-bottom:1px solid var(--line)}
th{font-weight:600;white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}td{min-width:3rem}td.n,td .word{white-space:nowrap}.bad-text{color:var(--bad)}
ol.tells{list-style:none;margin:0;padding:0}
ol.tells li{margin:.5rem 0;padding:.2rem 0 .2rem .7rem;border-left:.3rem solid var(--line)}
ol.tells li.bad{border-left-color:var(--bad)}li.bad .dim,li.good .dim,li.open .dim{color:var(--dim)}
ul.tree,ul.tree ul{list-style:none;margin:0;padding-left:1.1rem;border-left:2px solid var(--line)}
ul.tree{padding-left:0;border:0}ul.tree,ol.tells,.verdict,p,li,h1,h2,h3{overflow-wrap:anywhere}
td,th{overflow-wrap:break-word}ul.tree li{margin:.3rem 0;padding-left:.3rem}
pre{background:var(--soft);border:1px solid var(--line);border-radius:.3rem;padding:.6rem;overflow-x:auto;
font:.8rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
details{margin:.4rem 0}summary{cursor:pointer;color:var(--accent)}
summary:focus-visible,.scroll:focus-visible,pre:focus-visible{outline:2px solid var(--accent)}
figure{margin:.8rem 0}figcaption{font-size:.875rem;color:var(--dim)}
svg{display:block;max-width:100%;height:auto}
svg text{fill:var(--fg);font:11px system-ui,sans-serif}svg .tick{fill:var(--dim)}
svg.key{display:inline-block;vertical-align:baseline}.legend{margin-right:1rem;font-size:.875rem}
svg .axis{stroke:var(--line);stroke-width:1}svg .none{fill:none;stroke:var(--line);stroke-dasharray:2 2}
svg .mark{stroke:var(--dim);stroke-width:1;stroke-dasharray:4 3}
svg .bar{fill:var(--accent)}
svg .s1{fill:var(--s1)}svg .s2{fill:var(--s2)}svg .s3{fill:var(--s3)}svg .s4{fill:var(--s4)}svg .s5{fill:var(--s5)}
svg .s6{fill:var(--s6)}svg .cell{stroke:var(--line);stroke-width:.5}
""" + "".join(f"svg .h{step}{{fill:color-mix(in srgb,var(--high) {10 * step}%,var(--low))}}\n" for step in range(11))

SERIES = 6
"""Classes s1 .. s6 for parts of a whole; the last one serves all that are left."""
STEPS = 10
"""Classes h0 .. h10 of a heat map."""


def content_security_policy() -> str:
    """Nothing is loaded, run, sent or framed; styles only this very sheet, by its digest."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
