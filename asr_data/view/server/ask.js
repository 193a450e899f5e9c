"use strict";
// Questions to the server. The token of the page's address goes along with each; nothing else is ever asked.

const asrServer = (() => {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const trouble = document.getElementById("trouble");
  const facts = JSON.parse(document.getElementById("data").textContent);

  class Refused extends Error {}

  // The answer to a question; `Refused` where there is none, with the server's words.
  async function ask(path, question, options = {}) {
    let response;
    try {
      response = await fetch(path, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify(question),
        ...options,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused("The server does not answer: was asr-annotate view stopped? Start it again, and reload this page.");
    }
    const answer = await response.json();
    if (answer.error) throw new Refused(answer.error);
    return answer;
  }

  function say(message) {
    trouble.hidden = !message;
    trouble.textContent = message ?? "";
  }

  // Runs `work`; what is refused is said at the top of the page. What was said before goes when it succeeds, except for
  // work in the background, that nobody asked for.
  async function attempt(work, { background = false } = {}) {
    try {
      const done = await work();
      if (!background) say(null);
      return done;
    } catch (error) {
      if (error.name !== "AbortError") {
        if (!(error instanceof Refused)) throw error;
        say(error.message);
      }
      return undefined;
    }
  }

  // --- charts: their script comes after the first rows ----------------------------------------------------

  // Whether charts can be drawn, once that is known.
  let arrived;
  const library = new Promise((resolve) => (arrived = resolve));

  // The script calls one of these two.
  function charts(curve) {
    for (const frame of facts.frames) frame.curve = curve;
    arrived(true);
  }

  function noCharts() {
    arrived(false);
    say("Curves cannot be drawn; the server's terminal says why.");
  }

  // Asks for the script, which the server has by now.
  function fetchCharts() {
    const script = document.createElement("script");
    script.src = `charts.js?token=${encodeURIComponent(token)}`;
    script.addEventListener("error", noCharts);
    document.head.append(script);
  }

  return { charts, chartsReady: () => library, fetchCharts, noCharts, Refused, ask, attempt, facts, say };
})();
