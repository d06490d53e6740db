"""Tables of words and numbers as text and as HTML: what results print, and show in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> list[str]:
    """Write a table in lines of text.

    Parameters
    ----------
    heads : sequence of str
        Of the columns.
    rows : sequence of sequence of str
        Cells.
    words : int
        Columns that hold words, at the left; numbers stand at the right.

    Examples
    --------
    >>> aligned(["site", "%"], [["stem", "7.5"], ["pool", "12.0"]])
    ['site     %', 'stem   7.5', 'pool  12.0']
    """
    lines = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as HTML, in which names and numbers stand as they are.

    Examples
    --------
    >>> html_table(["site"], [["<stem>"]])
    '<table><thead><tr><th>site</th></tr></thead><tbody><tr><td>&lt;stem&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
