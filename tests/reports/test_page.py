"""The shell of a page: its title is escaped, its body is not touched."""

from embedctl.reports.page import page


def test_the_title_is_escaped_and_the_body_is_as_given():
    html = page("a & b", "<p>text</p>")
    assert html.count("a &amp; b") == 2
    assert "<h1>a &amp; b</h1><p>text</p></body></html>\n" in html
    assert "http" not in html
