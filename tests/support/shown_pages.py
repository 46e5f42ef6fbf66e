"""What a browser shows of a report."""


def rows(page):
    """Return the rows that can be seen."""
    return page.locator("#hits tbody tr:visible")


def names(page) -> list[str]:
    """Return the names of the rows that can be seen, from top to bottom."""
    return page.locator("#hits tbody tr:visible th bdi").all_inner_texts()


def column(page, number: int) -> list[float]:
    """Return a column of the rows that can be seen."""
    cells = page.locator(f"#hits tbody tr:visible td:nth-child({number})").all_text_contents()
    return [float(cell.replace(",", "")) for cell in cells]


def pages(page) -> list[list[str]]:
    """Return the names on all pages of the table, from the first."""
    found = [names(page)]
    while page.get_by_role("button", name="Next page").is_enabled():
        page.get_by_role("button", name="Next page").click()
        found.append(names(page))
    return found


def saved(page, button) -> bytes:
    """Press a button; return the file that it saves."""
    with page.expect_download() as download:
        button.click()
    return download.value.path().read_bytes()
