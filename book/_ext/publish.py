"""What the pages need beyond their text: an address, light assets, links in their code.

`BOOK_URL`, in the environment, is where the book will be published; `GITHUB_REPOSITORY` is its
repository, "owner/name". What needs one of them is left out without it.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fontTools import subset
from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx_codeautolink.extension.block import CodeBlockAnalyser

LOST = """
<h1>This page was dropped</h1>
<p>There is nothing at this address. <a href="{0}book/index.html">The first page</a> lists the
chapters, and <a href="{0}search.html">the search</a> knows every word of them.</p>
"""
WITHOUT_TEXT = ["404", "genindex", "search"]
NAME = re.compile(r"fa-[\w-]+")
ICON = re.compile(r'(?:\.fa-[\w-]+:before,?)+\{content:"\\\w+"\}')


def configure(app: Sphinx, config: Config) -> None:
    """What `_config.yml` cannot say: it is in the environment, or overridden elsewhere."""
    config.mathjax_path = "mathjax/startup.js"
    site = os.environ.get("BOOK_URL", "").rstrip("/") + "/"
    config.notfound_urls_prefix = start = urlsplit(site).path
    config.notfound_context = {"title": "Page not found", "body": LOST.format(start)}
    if site != "/":
        config.html_baseurl = config.ogp_site_url = site
        config.sitemap_url_scheme = "{link}"
        config.sitemap_excludes = [f"{name}.html" for name in WITHOUT_TEXT]
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{repository}",
            "repository_branch": "main",
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": {"binderhub_url": "https://mybinder.org"},
        }


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Cut what the pages load, from three megabytes to less than one, and what none loads."""
    if not error and app.builder.name == "html":
        mathjax = Path(app.outdir, "_static", "mathjax")
        for bundle in mathjax.glob("*-*.js"):
            bundle.unlink()  # of parts, and they are loaded one by one
        for unused in ("sre", "output/svg"):  # speech, and another output
            shutil.rmtree(mathjax / unused, ignore_errors=True)
        lighten_icons(Path(app.outdir))
        for path in Path(app.outdir, "_images").rglob("*.png"):
            picture = Image.open(path).convert("RGB")
            picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def lighten_icons(site: Path) -> None:
    """Keep of Font Awesome, the theme's two megabytes of icons, only those that are shown."""
    static = site / "_static"
    pages = " ".join(path.read_text() for path in site.rglob("*.html"))
    shown = set(NAME.findall(pages))
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    rules = ICON.sub(
        lambda rule: rule[0] if shown & set(NAME.findall(rule[0])) else "",
        sheet.read_text(),
    )
    sheet.write_text(rules)
    letters = {int(code, 16) for code in re.findall(r'"\\(\w{4})"', rules)}
    letters |= set(map(ord, re.findall("[\ue000-\uf8ff]", rules)))
    unicodes = ",".join(map(hex, letters))
    for font in (static / "vendor/fontawesome/webfonts").iterdir():
        subset.main([str(font), f"--unicodes={unicodes}", f"--output-file={font}"])
    (static / "scripts" / "fontawesome.js").write_text("")


def setup(app: Sphinx) -> dict[str, Any]:
    if os.environ.get("BOOK_URL"):
        app.setup_extension("sphinx_sitemap")
    # sphinx-codeautolink counts titles and sections, and a title of an exercise has its own type.
    CodeBlockAnalyser.visit_exercise_title = CodeBlockAnalyser.visit_title
    CodeBlockAnalyser.visit_solution_title = CodeBlockAnalyser.visit_title
    app.connect("config-inited", configure, priority=1)
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
