"""Build a self-contained HTML page without scripts and external files."""

from __future__ import annotations

from html import escape

STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}td,th{vertical-align:top;"
    "padding:.2rem .6rem}th{text-align:left}.above{background:#fde7d9}img{max-width:100%}"
    "section{border-top:1px solid #ccc}"
)


def html_page(title: str, body: str) -> str:
    """Return an HTML page with `title` as title and heading; `body` is HTML whose texts are already escaped."""
    escaped = escape(title)
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{escaped}</title><style>{STYLE}</style>'
        f"</head><body><h1>{escaped}</h1>{body}</body></html>\n"
    )
