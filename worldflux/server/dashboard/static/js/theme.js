// Runs before the page is painted, so that a dark page never flashes white.
(function () {
  let choice = null;
  try { choice = localStorage.getItem("wf.theme"); } catch { choice = null; }
  const system = matchMedia("(prefers-color-scheme: dark)");
  function apply() {
    const dark = choice === "dark" || (choice !== "light" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    dispatchEvent(new Event("themechange"));
  }
  window.worldfluxTheme = {
    current: () => document.documentElement.dataset.theme,
    choose(next) {
      choice = next;
      try { localStorage.setItem("wf.theme", next); } catch { /* a private window keeps it for this page only */ }
      apply();
    },
  };
  system.addEventListener("change", apply);
  apply();
})();
