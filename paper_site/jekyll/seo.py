"""``{% seo %}``: the tags of jekyll-seo-tag 2.8 for title, description, address, Open Graph and JSON-LD."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from paper_site.jekyll import times
from paper_site.jekyll.filters import PLAIN, absolute_url
from paper_site.jekyll.values import text_of

if TYPE_CHECKING:
    from paper_site.jekyll.engine import Context
    from paper_site.jekyll.site import Site


def _plain(site: Site, value: Any) -> str | None:
    """Text without markup, one line, escaped; None when nothing is left."""
    if value is None or value is False:
        return None
    text = PLAIN["strip_html"](site.markdown(text_of(value)))
    text = PLAIN["escape_once"](" ".join(text.split()))
    return text or None


def tags(site: Site, context: Context) -> str:
    """The tags for the page that is being rendered."""
    values, page = site.config.values, context.get("page")
    base: Any = site
    site_title = _plain(site, values.get("title") or values.get("name"))
    tagline = _plain(site, values.get("tagline"))
    site_description = _plain(site, values.get("description"))
    page_title = _plain(site, page.get("title")) or site_title
    tagline_or_description = tagline or site_description
    own = _plain(site, page.get("title"))
    if own and site_title and own != site_title:
        title: str | None = f"{own} | {site_title}"
    elif site_title and tagline_or_description and not own:
        title = f"{site_title} | {tagline_or_description}"
    else:
        title = own or site_title
    description = _plain(site, page.get("description"))
    if description is None:
        excerpt = page["excerpt"] if "excerpt" in page else None  # noqa: SIM401 - it is worked out on asking
        description = _plain(site, excerpt) or site_description
    url = page["url"]
    canonical = page.get("canonical_url") or absolute_url(base, re.sub(r"/index\.html$", "/", url))
    language = text_of(page.get("lang") or page.get("locale") or values.get("lang") or "en_US").replace("-", "_")
    author = page.get("author") or values.get("author")
    if isinstance(author, list):
        author = author[0] if author else None
    name = text_of(author.get("name")) if isinstance(author, dict) else (text_of(author) if author else None)
    image = page.get("image")
    if isinstance(image, dict):
        image = image.get("path")
    picture = absolute_url(base, image) if image else None
    is_post = page.get("date") is not None
    out = ["<!-- Begin Jekyll SEO tag v2.8.0 -->"]
    escaped = PLAIN["escape_once"]

    def meta(key: str, value: Any, kind: str = "property") -> None:
        out.append(f'<meta {kind}="{key}" content="{value}" />')

    if title:
        out.append(f"<title>{title}</title>")
    out.append('<meta name="generator" content="Jekyll v4.3.1" />')
    if page_title:
        meta("og:title", page_title)
    if name:
        meta("author", escaped(name), "name")
    meta("og:locale", language)
    if description:
        meta("description", description, "name")
        meta("og:description", description)
    if values.get("url"):
        out.append(f'<link rel="canonical" href="{canonical}" />')
        meta("og:url", canonical)
    if site_title:
        meta("og:site_name", site_title)
    if picture:
        meta("og:image", picture)
    if is_post:
        meta("og:type", "article")
        moment = times.any_time(page["date"], site.zone)
        if moment is not None:
            meta("article:published_time", times.xml_schema(times.local(moment, site.zone)))
    else:
        meta("og:type", "website")
    if picture:
        meta("twitter:card", "summary_large_image", "name")
        meta("twitter:image", picture, "property")
    else:
        meta("twitter:card", "summary", "name")
    if page_title:
        meta("twitter:title", page_title, "property")
    home = url in {"/", "/index.html", "/about/"}
    kind = "BlogPosting" if is_post else ("WebSite" if home else "WebPage")
    linked: dict[str, Any] = {"@context": "https://schema.org", "@type": kind}
    if name:
        linked["author"] = {"@type": "Person", "name": name}
    if is_post:
        moment = times.any_time(page["date"], site.zone)
        if moment is not None:
            stamp = times.xml_schema(times.local(moment, site.zone))
            linked["dateModified"] = linked["datePublished"] = stamp
    if description:
        linked["description"] = description
    if page_title:
        linked["headline"] = page_title
    if picture:
        linked["image"] = picture
    if is_post:
        linked["mainEntityOfPage"] = {"@type": "WebPage", "@id": canonical}
    if home and site_title:
        linked["name"] = site_title
    linked["url"] = canonical
    text = json.dumps(
        dict(sorted(linked.items(), key=lambda kv: (kv[0][0] != "@", kv[0]))), ensure_ascii=False, separators=(",", ":")
    )
    out.append('<script type="application/ld+json">\n' + text.replace("</", "<\\/") + "</script>")
    out.append("<!-- End Jekyll SEO tag -->")
    return "\n".join(out) + "\n"
