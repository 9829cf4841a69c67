"""The HTML page: the title is escaped, the body is inserted unchanged."""

from embedctl.reports.page import html_page


def test_the_title_is_escaped_and_the_body_is_unchanged():
    html = html_page("a & b", "<p>text</p>")
    assert html.count("a &amp; b") == 2
    assert "<h1>a &amp; b</h1><p>text</p></body></html>\n" in html
    assert "http" not in html
