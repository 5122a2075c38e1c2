"""The kinds of pages, one module each; the table is `paper_site.pages.KINDS`."""
