"""What all pages have in common: one file that needs no other and no network, dark or light."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

__all__ = ["STYLE", "figures", "page", "section", "table"]

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:2.2rem 0 .3rem}
.figures{display:flex;flex-wrap:wrap;gap:.6rem;margin-bottom:.8rem}
.figures div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .9rem}
.figures b{display:block;font-size:1.35rem}.figures span{font-size:.8rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);
padding:.25rem .6rem;text-align:right;white-space:nowrap}td.text,th.text{text-align:left}
tr:nth-child(even){background:var(--soft)}
img{max-width:100%;background:#fff;border-radius:.4rem}p{margin:.2rem 0 .6rem}
.wide{overflow-x:auto}.wide svg{display:block;font:12px system-ui,sans-serif}
@media print{h2{break-after:avoid}img,svg{break-inside:avoid}}
"""


def figures(values: Mapping[str, str]) -> str:
    """Boxes of a value and its name."""
    boxes = "".join(f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
                    for name, value in values.items())
    return f"<div class=figures>{boxes}</div>"


def section(heading: str, sentence: str, body: str) -> str:
    """A heading, a sentence below it, and what may be wider than the page."""
    return (f"<h2>{html.escape(heading)}</h2><p>{html.escape(sentence)}</p>"
            f"<div class=wide>{body}</div>")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (0,),
          colours: Sequence[str] = ()) -> str:
    """Cells as text; the columns ``text`` are set to the left, a row begins with its colour."""
    kind = [" class=text" if i in text else "" for i in range(len(heads))]

    def line(tag: str, cells: Sequence[str], colour: str = "transparent") -> str:
        edge = f' style="border-left:.9rem solid {colour}"' if colours else ""
        return "<tr>" + "".join(f"<{tag}{k}{'' if i else edge}>{html.escape(c)}</{tag}>"
                                for i, (k, c) in enumerate(zip(kind, cells))) + "</tr>"

    body = "".join(line("td", row, *colours[i : i + 1]) for i, row in enumerate(rows))
    return f"<table><thead>{line('th', heads)}</thead><tbody>{body}</tbody></table>"


def page(title: str, *body: str) -> str:
    """The whole file."""
    name = html.escape(title)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\""
        f"width=device-width,initial-scale=1\"><title>{name}</title><style>{STYLE}</style></head>"
        f"<body><h1>{name}</h1>{''.join(body)}</body></html>\n")
