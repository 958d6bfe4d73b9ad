// A link into a folded solution unfolds it. Browsers do so for <details>, which solutions are not.
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  const folded = target?.closest(".toggle-hidden");
  if (folded) {
    folded.querySelector(".toggle-button").click();
    target.scrollIntoView();
  }
}
addEventListener("load", unfold);
addEventListener("hashchange", unfold);
