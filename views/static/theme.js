// The theme: the user's choice, or that of the system. Loaded first, so that no page flashes.
(function () {
  "use strict";
  var root = document.documentElement;
  var chosen = null;
  try { chosen = localStorage.getItem("scheduler-theme"); } catch (error) { /* no storage: the system's theme */ }
  var dark = matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = chosen || (dark.matches ? "dark" : "light");
  dark.addEventListener("change", function () {
    if (!chosen) { window.schedulerTheme(dark.matches ? "dark" : "light"); }
  });
  window.schedulerTheme = function (name) {
    root.dataset.theme = name;
    document.dispatchEvent(new CustomEvent("themechange"));
  };
  window.chooseSchedulerTheme = function () {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("scheduler-theme", chosen); } catch (error) { /* for this page only */ }
    window.schedulerTheme(chosen);
  };
})();
