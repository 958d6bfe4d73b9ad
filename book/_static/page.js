// A link into a folded solution unfolds it, and the fold of a check in it, which not every browser
// does by itself.
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  target?.closest("details")?.setAttribute("open", "");
  const folded = target?.closest(".toggle-hidden");
  if (folded) {
    folded.querySelector(".toggle-button").click();
    target.scrollIntoView();
  }
}
addEventListener("load", unfold);
addEventListener("hashchange", unfold);

// Code that scrolls takes the keyboard's focus: the theme sees to it after each change of size,
// but it cannot tell for what is folded.
addEventListener("click", ({ target }) => {
  if (target.closest(".admonition.toggle > .admonition-title")) {
    dispatchEvent(new Event("resize"));
  }
});

// A formula that is wider than its column scrolls, and so takes the focus, too.
addEventListener("load", async () => {
  await globalThis.MathJax?.startup.promise;
  for (const formula of document.querySelectorAll("mjx-container[display]")) {
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
  }
});

// What a search shows of a page is its text, not its buttons.
addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const toText = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    for (const part of page.querySelectorAll(".bd-header-article, #jb-print-docs-body")) {
      part.remove();
    }
    return toText(page.documentElement.outerHTML, anchor);
  };
});
