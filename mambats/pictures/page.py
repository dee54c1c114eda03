"""A page of HTML that stands alone: words are escaped, pictures lie within, and nothing is asked of a network."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Kinds of pictures that a page takes, by how their content begins.
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif", b"<?xml": "image/svg+xml", b"<svg": "image/svg+xml"}
_SECRET = re.compile(r"pass(word|phrase)?$|token|secret|credential|api_?key", re.IGNORECASE)
_SECRET_LINE = re.compile(r"(?im)^(\s*[\w.-]*(?:password|passphrase|token|secret|credential|api_?key)[\w.-]*\s*:).+$")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # name and password in an address
_HIDDEN = "(hidden)"
_STYLE = """
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:#222;background:#fff;
 max-width:1060px;margin:2em auto;padding:0 1.2em}
h1{font-size:1.6em;margin:0 0 .2em}
h2{font-size:1.15em;margin:2em 0 .5em;border-bottom:1px solid #ddd;padding-bottom:.2em}
p{margin:.4em 0}.small{color:#666;font-size:.87em}
.cards{display:flex;flex-wrap:wrap;gap:.8em;margin:1.2em 0}
.card{border:1px solid #ddd;border-radius:6px;padding:.5em .9em}
.card b{display:block;font-size:1.35em;font-variant-numeric:tabular-nums}.card span{color:#666;font-size:.85em}
.bad{color:#A33A00;border-color:#D55E00}p.bad{border-left:4px solid #D55E00;padding:.3em .7em;background:#FDF3EC}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9em;margin:.6em 0}
td,th{padding:.25em .8em;border-bottom:1px solid #eee;text-align:right;font-variant-numeric:tabular-nums}
th{border-bottom:1px solid #999}.name{text-align:left}
pre{background:#f7f7f7;border:1px solid #e5e5e5;border-radius:4px;padding:.7em;overflow:auto;max-height:32em;
 font-size:.85em}
img{max-width:100%;height:auto;display:block;margin:.6em 0}
figcaption{color:#666;font-size:.87em}figure{margin:0 0 1.2em}
"""
# What a browser may load for the page: what lies in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Page:
    """Collects the parts of a page in order.

    Args:
        title: Above the page.

    Example:
        page = Page("A run")
        page.words("All is well.")
        Path("page.html").write_text(page.html(), encoding="utf-8")
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts = list[str]()

    def section(self, name: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(name)}</h2>")

    def words(self, text: str, *, bad: bool = False, small: bool = False) -> None:
        """Add a paragraph; `bad` stands out."""
        kind = ' class="bad"' if bad else ' class="small"' if small else ""
        self._parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def cards(self, facts: Mapping[str, str], bad: Iterable[str] = ()) -> None:
        """Add numbers to see at a glance, by what they say; those named in `bad` stand out."""
        worse = set(bad)
        cards = [
            f'<div class="card{" bad" if name in worse else ""}"><b>{html.escape(value)}</b>'
            f"<span>{html.escape(name)}</span></div>"
            for name, value in facts.items()
        ]
        self._parts.append(f'<div class="cards">{"".join(cards)}</div>')

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> None:
        """Add a table; its first columns, `names` of them, hold names, the others numbers."""
        top = "".join(_cell("th", cell, k < names) for k, cell in enumerate(head))
        lines = ("".join(_cell("td", cell, k < names) for k, cell in enumerate(row)) for row in rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        self._parts.append(f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>')

    def text(self, text: str) -> None:
        """Add text as it stands, in type of one width; values that look like secrets are left out."""
        shown = _LOGIN.sub(_HIDDEN, _SECRET_LINE.sub(rf"\1 {_HIDDEN}", text))
        self._parts.append(f"<pre>{html.escape(shown)}</pre>")

    def json(self, content: Any) -> None:
        """Add plain values, indented; values under a name like password or token are left out."""
        self._parts.append(f"<pre>{html.escape(json.dumps(_open(content), indent=2, ensure_ascii=False))}</pre>")

    def picture(self, content: bytes, caption: str) -> None:
        """Add a PNG, GIF or SVG, which is shown as a picture: nothing in it is run.

        Raises:
            ValueError: If it is none of these.
        """
        kind = next((kind for begin, kind in _KINDS.items() if content.startswith(begin)), None)
        if kind is None:
            raise ValueError(f"{caption}: is no PNG, GIF or SVG. Give one of these.")
        source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        words = html.escape(caption)
        self._parts.append(f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>')

    def html(self) -> str:
        """Return the page."""
        title = html.escape(self.title)
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{_STYLE}</style></head>\n'
            f"<body><h1>{title}</h1>\n" + "\n".join(self._parts) + "\n</body></html>\n"
        )


def _cell(kind: str, text: str, name: bool) -> str:
    return f"<{kind}{' class=name' if name else ''}>{html.escape(text)}</{kind}>"


def _open(content: Any) -> Any:
    """Return values without those whose name says that they are secret."""
    if isinstance(content, Mapping):
        return {str(k): _HIDDEN if _SECRET.search(str(k)) and v else _open(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_open(one) for one in content]
    return _LOGIN.sub(_HIDDEN, content) if isinstance(content, str) else content
