"""HTML and SVG put together so that whatever comes from outside is text and never markup."""

from html import escape


class Markup(str):
    """Is sent as it stands; any other string is escaped."""

    __slots__ = ()


def joined(*parts: str | None) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts if part))


def tag(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """`class_` is class, `aria_label` is aria-label; an attribute that is None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def table(caption: str, headers: list[str], rows: list[list[str]]) -> Markup:
    """A header that begins with `>` is of a column of figures. The first cell of a row names the row."""
    classes = ["n" if header.startswith(">") else None for header in headers]
    head = [
        tag("th", name.removeprefix(">"), scope="col", class_=kind) for name, kind in zip(headers, classes, strict=True)
    ]
    body = [
        tag(
            "tr",
            *(_cell(cell, kind, is_first=at == 0) for at, (cell, kind) in enumerate(zip(row, classes, strict=True))),
        )
        for row in rows
    ]
    shown = tag("table", tag("caption", caption, class_="aside"), tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", shown, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(cell: str, kind: str | None, *, is_first: bool) -> Markup:
    return tag("th", cell, scope="row", class_=kind) if is_first else tag("td", cell, class_=kind)


def section(title: str, *parts: str | None) -> Markup:
    return tag("section", tag("h2", title), *parts)


def spaced(*parts: str | None) -> Markup:
    said = [part for part in parts if part]
    return joined(*(part for at, one in enumerate(said) for part in ((" · ", one) if at else (one,))))


def kind_of(style: str) -> str:
    """Of a terminal's colour."""
    return {"green": "good", "red": "bad", "yellow": "warn"}.get(style, "dim")
