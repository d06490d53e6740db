"""Tables as wide as the terminal: columns leave by rank, names lose their middle, numbers none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement as Width
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

SHORT = 20
"""Characters to which names are shortened before a column of numbers leaves."""

SHORTEST = 8
"""Characters that are always left of a name."""

FRONTS = (0.4, 0.6, 0.2, 0.0)
"""Shares of a shortened name that may stand before what is left out."""

HEAD = 5
"""Characters to which heads are not broken."""

UNLIMITED = 10_000


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    head : str
        Its words; they are broken over lines where there is no room for one.
    rank : int
        Columns of high rank leave first where there is no room; those of rank 0 always stay.
    name : bool
        Holds names, which may lose their middle; at the left.
    left : bool
        Holds words, at the left; numbers stand at the right.
    """

    head: str
    rank: int = 0
    name: bool = False
    left: bool = False


@dataclass(frozen=True)
class Row:
    """One row: a text for each column; a line is drawn above it where it begins a section."""

    cells: Sequence[str | Text]
    style: StyleType = ""
    section: bool = False


@dataclass(frozen=True)
class Body:
    """Columns and rows as they might be shown.

    Attributes
    ----------
    columns, rows
        Of the table.
    broken : bool
        Whether heads are broken over lines.
    gap : int
        Blanks between columns.
    shortest : int or None
        To how many characters names may be shortened here; None leaves them whole.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    broken: bool = False
    gap: int = 2
    shortest: int | None = None


def leaving(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[Body]:
    """Give a table ever leaner: heads broken, columns closer, names shorter, columns left out.

    Parameters
    ----------
    columns, rows
        Of the whole table.

    Yields
    ------
    Body
        From the fullest to the leanest.

    Examples
    --------
    >>> columns = [Column("site", name=True), Column("rate", 1), Column("aliased energy %")]
    >>> [len(body.columns) for body in leaving(columns, [])]
    [3, 3, 3, 2, 2, 2, 2]
    """
    limits = sorted({column.rank for column in columns}, reverse=True)
    for limit in limits:
        there = [place for place, column in enumerate(columns) if column.rank <= limit]
        body = Body(
            [columns[place] for place in there],
            [replace(row, cells=[row.cells[place] for place in there]) for row in rows],
        )
        yield body
        yield (body := replace(body, broken=True, gap=1))
        yield replace(body, shortest=SHORT)
        if limit == limits[-1]:
            yield replace(body, shortest=SHORTEST)


def fitted(bodies: Iterable[Body], console: Console) -> Table:
    """Make the first table that is no wider than the console; the last one if none is.

    Parameters
    ----------
    bodies : iterable of Body
        From the fullest to the leanest, such as :func:`leaving` gives.
    console : Console
        Where it will be printed.

    Returns
    -------
    rich.table.Table
        In which nothing is wrapped, and only names may have lost their middle.

    Examples
    --------
    >>> columns = [Column("site", name=True), Column("aliased energy %")]
    >>> rows = [Row(["features.stages.3.blocks.0.downsampling", "12.5"])]
    >>> table = fitted(leaving(columns, rows), Console(width=36))
    >>> [list(column.cells)[0].plain for column in table.columns]
    ['features.s….0.downsampling', '12.5']
    """
    made = Table()
    for body in bodies:
        made = _table(body)
        excess = width_of(made, console) - console.width
        if excess <= 0:
            return made
        room = _longest(body) - excess
        if body.shortest is not None and room >= body.shortest:
            return _table(_shorter(body, room))
    return made


def width_of(table: Table, console: Console) -> int:
    """Say how many columns of the terminal a table would take."""
    return Width.get(console, console.options.update(max_width=UNLIMITED), table).maximum


def in_lines(head: str, width: int = HEAD) -> str:
    r"""Break a head over lines, but not what stands in brackets.

    Examples
    --------
    >>> in_lines("aliased energy %"), in_lines("points [95 %]", 9), in_lines("non-aliased %", 9)
    ('aliased\nenergy\n%', 'points\n[95 %]', 'non-\naliased %')
    """
    words = re.findall(r"\[[^\]]*\]|[^\s-]+-?", head)
    width = max(HEAD, width, *map(cell_len, words))
    lines = [words[0]]
    for word in words[1:]:
        joined = lines[-1] + ("" if lines[-1].endswith("-") else " ") + word
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return "\n".join(lines)


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Shorten names to a width by their middle, so that as many as may be stay apart.

    Parameters
    ----------
    names : sequence of str
        Of sites or runs. Blanks in front, which nest them, stay.
    width : int
        Characters.

    Returns
    -------
    list of str
        Of names that would become the same each module is shortened.

    Examples
    --------
    >>> shortened(["features.stages.3.blocks.0.downsample", "  conv"], 16)
    ['featur…ownsample', '  conv']
    >>> shortened(["extractor.0.residual_reduction", "extractor.1.residual_reduction"], 16)
    ['ex…tor.0.res…ion', 'ex…tor.1.res…ion']
    """

    def cut(name: str, front: float | None) -> str:
        if cell_len(name) <= width:
            return name
        word = name.lstrip()
        blanks = min(len(name) - len(word), max(0, width - SHORTEST))
        room = width - blanks
        short = _modules_cut(word, room) if front is None else _cut(word, room, front)
        return " " * blanks + short

    tried = [[cut(name, front) for name in names] for front in (*FRONTS, None)]
    return max(tried, key=lambda each: len(set(each)))


def _cut(word: str, room: int, front: float = 0.5) -> str:
    """Leave the middle of a word out."""
    if len(word) <= room:
        return word
    head = round(front * (room - 1))
    return f"{word[:head]}…{word[len(word) - (room - 1 - head) :]}"


def _modules_cut(name: str, room: int) -> str:
    """Leave the middle of each module's name out, of the longest most; in the end of the whole."""
    parts = name.split(".")
    rooms = [len(part) for part in parts]
    while sum(rooms) + len(rooms) - 1 > room and max(rooms) > 2:
        rooms[rooms.index(max(rooms))] -= 1
    short = ".".join(_cut(part, each) for part, each in zip(parts, rooms, strict=True))
    return _cut(short, room)


def _longest(body: Body) -> int:
    place = _names(body)
    if place is None:
        return 0
    return max((_length(row.cells[place]) for row in body.rows), default=0)


def _shorter(body: Body, room: int) -> Body:
    place = _names(body)
    if place is None:
        return body
    names = shortened([str(row.cells[place]) for row in body.rows], room)
    rows = [
        replace(row, cells=[*row.cells[:place], name, *row.cells[place + 1 :]])
        for row, name in zip(body.rows, names, strict=True)
    ]
    return replace(body, rows=rows)


def _names(body: Body) -> int | None:
    return next((place for place, each in enumerate(body.columns) if each.name), None)


def _length(cell: str | Text) -> int:
    text = cell.plain if isinstance(cell, Text) else cell
    return max(map(cell_len, text.split("\n")))


def _table(body: Body) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, body.gap - 1, 0, 0))
    for place, column in enumerate(body.columns):
        width = max((_length(row.cells[place]) for row in body.rows), default=0)
        table.add_column(
            in_lines(column.head, width) if body.broken else column.head,
            justify="left" if column.name or column.left else "right",
            no_wrap=True,
        )
    for row in body.rows:
        if row.section:
            table.add_section()
        cells = [cell if isinstance(cell, Text) else Text(cell) for cell in row.cells]
        table.add_row(*cells, style=row.style)
    return table
