"""Make the stored outputs anew with real Jekyll: ``python tests/data/jekyll/regenerate.py``.

Needs Jekyll 4.3 with kramdown, Rouge and jekyll-seo-tag (Debian 12: ``apt-get install jekyll ruby-jekyll-seo-tag``).
All texts that go in are our own; what comes out is committed, because the machines that run the tests have no Ruby.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPANIONS = sorted(path.name for path in HERE.iterdir() if (path / "_config.yml").is_file())
ENVIRONMENT = {
    **os.environ,
    "TZ": "America/New_York",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "JEKYLL_ENV": "development",
}

KRAMDOWN = """
require 'json'; require 'kramdown'; require 'kramdown-parser-gfm'
options = {input: 'GFM', hard_wrap: false, auto_ids: true, toc_levels: (1..6).to_a, entity_output: 'as_char',
  smart_quotes: 'lsquo,rsquo,ldquo,rdquo', footnote_nr: 1, syntax_highlighter: nil, show_warnings: false}
texts = JSON.parse($stdin.read)
puts JSON.generate(texts.map { |text| Kramdown::Document.new(text, options).to_html })
"""
LIQUID = """
require 'json'; require 'jekyll'
site = Jekyll::Site.new(Jekyll.configuration({'quiet' => true, 'source' => ARGV[0], 'baseurl' => '/proj/',
  'url' => 'https://ex.org', 'timezone' => 'America/New_York'}))
input = JSON.parse($stdin.read)
puts JSON.generate(input['templates'].map { |text|
  template = Liquid::Template.parse(text)
  template.render!(input['data'].dup, registers: {site: site, page: {'path' => 'a.md'}}, filters: [Jekyll::Filters])
})
"""
VERSIONS = """
require 'json'; require 'jekyll'; require 'kramdown-parser-gfm'; require 'rouge'
puts JSON.generate({jekyll: Jekyll::VERSION, kramdown: Kramdown::VERSION, liquid: Liquid::VERSION, rouge: Rouge.version,
  'kramdown-parser-gfm': Gem.loaded_specs['kramdown-parser-gfm']&.version.to_s})
"""


def ruby(program: str, given: object, *arguments: str) -> object:
    """Run a Ruby program on JSON."""
    done = subprocess.run(
        ["ruby", "-e", program, *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    return json.loads(done.stdout)


def store(name: str, value: object) -> None:
    """Write a JSON file."""
    (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Make everything."""
    store("versions.json", ruby(VERSIONS, None))
    texts = [pair["text"] for pair in json.loads((HERE / "markdown.json").read_text(encoding="utf-8"))]
    outputs = ruby(KRAMDOWN, texts)
    assert isinstance(outputs, list)
    store("markdown.json", [{"text": text, "html": html} for text, html in zip(texts, outputs, strict=True)])
    liquid = json.loads((HERE / "liquid.json").read_text(encoding="utf-8"))
    templates = [pair["template"] for pair in liquid["cases"]]
    with tempfile.TemporaryDirectory() as empty:
        outputs = ruby(LIQUID, {"templates": templates, "data": liquid["data"]}, empty)
    assert isinstance(outputs, list)
    cases = [{"template": template, "output": output} for template, output in zip(templates, outputs, strict=True)]
    store("liquid.json", {"data": liquid["data"], "cases": cases})
    for name in COMPANIONS:
        target = HERE / "expected" / name
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(
            ["jekyll", "build", "-q", "--disable-disk-cache", "-s", str(HERE / name), "-d", str(target)],
            check=True,
            env=ENVIRONMENT,
        )


if __name__ == "__main__":
    main()
