"""Tables of a Markdown page, as cells."""


def rows(page: str) -> list[list[list[str]]]:
    """Return the cells of every Markdown table, head and rule first."""
    tables = [part for part in page.split("\n\n") if part.startswith("|")]
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()] for part in tables]
