"""The table of hits in a browser: pages, order, search, files, copies; hostile names."""

import csv
import io

from support.report_pages import made
from support.run_directories import fragment
from support.shown_pages import column, names, pages, rows, saved

from virnucpro.report.load import TOP_HITS
from virnucpro.report.page import PAGE_SIZE


def test_no_record(show, tmp_path):
    page = show(made(tmp_path / "run", []))
    assert page.get_by_role("heading", level=1).inner_text() == "Viral sequences in reads"
    assert page.get_by_text("there is nothing to call").is_visible()
    assert page.locator("#filter").count() == page.locator("figure").count() == 0


def test_one_record(show, tmp_path):
    page = show(made(tmp_path / "run", [("only", 300, 0.9)], sequences=True))
    assert names(page) == ["only"]
    assert page.get_by_text("1 to 1 of 1 hit", exact=True).is_visible()
    assert page.locator("#pager").is_hidden()
    assert page.locator(".track").count() == 0
    assert page.locator("#figure-calls .live svg").is_visible()
    assert page.get_by_role("button", name="Copy the sequence as FASTA").is_visible()


def test_one_record_without_a_score(show, tmp_path):
    page = show(made(tmp_path / "run", [("short", 40, None)]))
    assert page.locator("figure").count() == 0
    assert page.get_by_text("40 nt, 100.0% of bases").is_visible()


def test_a_hundred_thousand_records_are_shown_in_pages(show, large):
    page = show(large)
    assert page.get_by_text(f"1 to {PAGE_SIZE} of {TOP_HITS} hits").is_visible()
    found = pages(page)
    assert [len(one) for one in found] == [PAGE_SIZE] * (TOP_HITS // PAGE_SIZE)
    assert len({name for one in found for name in one}) == TOP_HITS
    assert page.get_by_text(f"{TOP_HITS - PAGE_SIZE + 1} to {TOP_HITS} of {TOP_HITS} hits").is_visible()
    assert page.get_by_role("button", name="Last page").is_disabled()
    page.get_by_role("button", name="First page").click()
    assert names(page) == found[0]


def test_a_hundred_thousand_records_are_sorted_by_any_column(show, large):
    page = show(large)
    for label, number in (("length, nt", 2), ("virus score", 3), ("FDR", 4)):
        for order, backwards in (("descending", True), ("ascending", False)):
            page.locator("#hits").get_by_role("button", name=label).click()
            assert page.locator("#hits th[aria-sort]").get_attribute("aria-sort") == order
            values = column(page, number)
            page.get_by_role("button", name="Last page").click()
            values += column(page, number)
            assert len(values) == 2 * PAGE_SIZE
            assert values == sorted(values, reverse=backwards)
    page.locator("#hits").get_by_role("button", name="record").press("Enter")
    found = [name for one in pages(page) for name in one]
    assert found == sorted(found)


def test_a_hundred_thousand_records_are_filtered(show, large):
    page = show(large)
    everything = [name for one in pages(page) for name in one]
    page.get_by_label("Search").fill("READ_1")
    wanted = [name for name in everything if "read_1" in name]
    assert PAGE_SIZE < len(wanted) < TOP_HITS
    assert page.get_by_text(f"1 to {PAGE_SIZE} of {len(wanted)} of {TOP_HITS} hits").is_visible()
    assert [name for one in pages(page) for name in one] == wanted
    page.get_by_label("Minimum length, nt").fill("700")
    assert page.get_by_text("1 to ").is_visible()
    lengths = column(page, 2)
    assert min(lengths) >= 700
    page.get_by_role("button", name="Show all").click()
    page.get_by_text(f"of {TOP_HITS} hits").wait_for()
    page.locator("#hits").get_by_role("button", name="FDR").click()
    page.get_by_role("button", name="Last page").click()
    limit = max(column(page, 4))
    page.get_by_label("Maximum FDR").fill(f"{limit}")
    assert max(column(page, 4)) <= limit
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Minimum score").fill("0.99995")
    assert min(column(page, 3)) == 1
    page.get_by_label("Search").fill("no such record")
    assert names(page) == []
    assert page.get_by_text(f"no hit of {TOP_HITS} fits").is_visible()


def test_search_finds_host_classes_and_files(show, full):
    page = show(full)
    page.get_by_label("Search").fill("sample_2")
    files = rows(page).locator("td:nth-child(7)").all_inner_texts()
    assert len(files) == PAGE_SIZE
    assert set(files) == {"sample_2_L001_R1.fastq.gz"}
    page.get_by_label("Search").fill("plant")
    assert set(rows(page).locator("td:nth-child(6)").all_inner_texts()) == {"plant"}


def test_what_is_filtered_is_saved_as_csv(show, tmp_path):
    records = [("=1+1", 300, 0.99), ('a,"b"', 1234, 0.9), ("+x", 300, 0.8), ("@y", 300, 0.7), ("plain", 300, 0.6)]
    records += [(f"more_{i}", 200, 0.9) for i in range(60)]
    page = show(made(tmp_path / "run", records, fdr=0.25))
    page.get_by_label("Minimum length, nt").fill("250")
    text = saved(page, page.get_by_role("button", name="Save as CSV")).decode()
    table = list(csv.reader(io.StringIO(text)))
    assert table[0] == ["seq_name", "length", "virus_score", "fdr"]
    assert table[1:] == [
        ["'=1+1", "300", "0.9900", "0.2500"],
        ['a,"b"', "1234", "0.9000", "0.2500"],
        ["'+x", "300", "0.8000", "0.2500"],
        ["'@y", "300", "0.7000", "0.2500"],
        ["plain", "300", "0.6000", "0.2500"],
    ]
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("of 65 hits").wait_for()
    assert len(saved(page, page.get_by_role("button", name="Save as CSV")).splitlines()) == 66


def test_names_and_sequences_are_copied(show, tmp_path):
    long = "n" * 200
    directory = tmp_path / "run"
    page = show(
        made(directory, [(long, 130, 0.9), ("b", 130, 0.8)], sequences=True),
        permissions=["clipboard-read", "clipboard-write"],
    )
    row = rows(page).first
    row.get_by_role("button", name="Copy the name").click()
    row.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == long
    rows(page).nth(1).get_by_role("button", name="Copy the sequence as FASTA").click()
    rows(page).nth(1).get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f">b of a test\n{fragment(130)}"


def test_hostile_names_are_shown_and_do_nothing(show, tmp_path):
    hostile = ["<script>alert(1)</script>", '"><img/src=x/onerror=alert(1)>', "</table><h1>x", "a'b&lt;${alert(1)}"]
    page = show(made(tmp_path / "run", [(name, 3000, 0.9) for name in hostile]))
    assert names(page) == hostile
    page.get_by_label("Search").fill("<script>")
    assert names(page) == hostile[:1]
    page.get_by_role("button", name="Show all").click()
    page.locator("#figure-contigs .live svg").scroll_into_view_if_needed()
    box = page.locator("#figure-contigs .live svg").bounding_box()
    tips = set()
    for part in range(20):
        page.mouse.move(box["x"] + box["width"] * part / 20, box["y"] + 50)
        tips.update(page.locator("#figure-contigs [aria-label=tip] text").all_text_contents())
    assert any(name in tip for tip in tips for name in hostile)
    assert page.locator("h1").count() == 1


def test_a_script_that_got_in_would_not_run(show, tmp_path):
    """The policy of the page is what stops it: a page without it is the other half of the test."""
    path = made(tmp_path / "run", [("a", 300, 0.9)])
    text = path.read_text()
    added = text.replace("</body>", "<script>document.title = 'changed'</script></body>")
    (tmp_path / "open.html").write_text(added.replace("Content-Security-Policy", "Nothing"))
    assert show(tmp_path / "open.html").title() == "changed"
    context_errors = []
    (tmp_path / "closed.html").write_text(added)
    browser_page = show(tmp_path / "open.html").context.new_page()
    browser_page.on("console", lambda message: context_errors.append(message.text))
    browser_page.goto((tmp_path / "closed.html").as_uri())
    assert browser_page.title() == "virnucpro: reads"
    assert any("Content Security Policy" in error for error in context_errors)
