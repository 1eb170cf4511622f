// Fetches the list of tasks anew while the page is seen and the box is ticked.
const latest = document.getElementById("latest");
const live = document.querySelector(".live");
live.hidden = false;

async function refresh() {
  if (document.hidden || !live.firstElementChild.checked || latest.contains(document.activeElement)) {
    return;
  }
  const answer = await fetch(latest.dataset.from);
  if (answer.ok) latest.innerHTML = await answer.text();
}

setInterval(() => refresh().catch(console.warn), 2000);
