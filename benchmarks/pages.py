"""What the pages of the built book weigh, how fast they show, and what axe-core says of them."""

import statistics
import sys
from pathlib import Path

from browser import (
    chromium,
    find_chromium,
    is_grave,
    opened,
    serve,
    transferred,
    violations,
)
from playwright.sync_api import Browser

BUILT = Path(__file__).parents[1] / "_build" / "html"
LOADS, WIDTH = 5, 1280
PAINT = """() => new Promise(resolve => {
  const last = list => resolve(list.getEntries().at(-1).startTime);
  new PerformanceObserver(last).observe({ type: "largest-contentful-paint", buffered: true });
})"""


def largest_paint(browser: Browser, address: str) -> float:
    """Milliseconds until the largest picture or paragraph on the screen is painted."""
    with opened(browser, address, width=WIDTH) as page:
        return page.evaluate(PAINT)


def row(browser: Browser, address: str) -> list[str]:
    with opened(browser, address, width=WIDTH, reduced_motion="reduce") as page:
        sizes, found = transferred(page), violations(page)
    paint = statistics.median(largest_paint(browser, address) for _ in range(LOADS))
    weight, grave = sum(sizes.values()), sum(map(is_grave, found))
    return [f"{weight:,}", f"{len(sizes)}", f"{grave} / {len(found)}", f"{paint:.0f}"]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BUILT
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.html")
        if "_static" not in path.parts and path != folder / "index.html"
    )
    program = find_chromium()
    if not names or program is None:
        sys.exit(f"no {'Chromium found' if names else f'pages in {folder}: make book'}")
    print(f"Each page alone, gzip over loopback, {WIDTH} px wide;")
    print(f"the largest paint is the median of {LOADS} loads\n")
    print("| page | bytes | requests | axe: serious / all | largest paint, ms |")
    print("|---|---:|---:|---:|---:|")
    with serve(folder) as address, chromium(program) as browser:
        for name in names:
            print(f"| {name} | {' | '.join(row(browser, f'{address}/{name}'))} |")


if __name__ == "__main__":
    main()
