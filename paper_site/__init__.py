"""The companion website: data documents and Markdown in, pages out."""
