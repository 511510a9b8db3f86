"use strict";
// What is new since the page was made. A page is whole without it.
(() => {
  const words = document.getElementById("state-words");
  const badge = document.getElementById("state");
  if (!words) return;
  const fresh = document.getElementById("fresh");
  const indexing = document.getElementById("indexing");
  let touched = false; // a filter is being typed
  document.addEventListener("input", () => { touched = true; });

  async function look() {
    if (!document.hidden) {
      const asked = new URLSearchParams(location.search);
      asked.set("newest", fresh ? fresh.dataset.newest : "");
      try {
        const answer = await fetch(`/state?${asked}`, { cache: "no-store" });
        if (answer.ok) show(await answer.json());
        else gone();
      } catch {
        gone();
      }
    }
    setTimeout(look, indexing ? 1000 : 3000);
  }

  function show(state) {
    if (indexing && state.ready && !touched) location.reload();
    words.textContent = state.words;
    badge.className = `badge ${state.kind}`;
    badge.querySelector(".symbol").textContent = state.symbol;
    if (fresh && state.newer) {
      document.getElementById("newer").textContent = state.newer === 1 ? "1 new event"
        : `${state.newer.toLocaleString("en")}${state.newer >= 1000 ? " or more" : ""} new events`;
      fresh.hidden = false;
    }
  }

  function gone() {
    words.textContent = "axon-audit view has ended: this page is not up to date";
    badge.className = "badge bad";
  }

  setTimeout(look, 1000);
})();
