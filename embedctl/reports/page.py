"""The shell of an HTML page that holds all it shows: no script, nothing fetched."""

from __future__ import annotations

from html import escape

STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}td{vertical-align:top;"
    "padding:.2rem .6rem}th{text-align:left}.above{background:#fde7d9}img{max-width:100%}"
    "section{border-top:1px solid #ccc}"
)


def page(title: str, body: str) -> str:
    """A page of HTML whose texts are escaped already, under a heading that is its title, too."""
    name = escape(title)
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"</head><body><h1>{name}</h1>{body}</body></html>\n"
    )
