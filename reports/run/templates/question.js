// Other questions than the run's, answered in the page while sliders move.
(async () => {
  "use strict";
  const form = document.getElementById("question");
  if (!form) return;
  const data = await deploymarkData("choices-data");
  if (!data) return;
  const { choices, figures, run } = data;
  const table = new deploymarkRule.Table(choices);
  const names = Object.keys(figures);
  const list = document.getElementById("limits");
  const verdict = document.getElementById("verdict");
  const command = document.getElementById("ask-command");
  const STEPS = 1000;
  let limits = [];
  let waiting = 0;

  const make = (tag, values = {}, ...content) => {
    const element = Object.assign(document.createElement(tag), values);
    element.append(...content);
    return element;
  };
  const option = (value, text, chosen) => make("option", { value, selected: chosen }, text);
  // Three digits, never an exponent and no whole digit rounded away: as the reports write.
  function significant(value) {
    if (!value) return "0";
    const exponent = Number(value.toExponential(2).split("e")[1]);
    return value.toFixed(Math.max(0, 2 - exponent));
  }

  // In the unit that a reader sees: 12.3 ms, 3.19 MiB.
  function amount(name, value, unit = true) {
    const { scale, kind, unit: of } = figures[name];
    const shown = value * scale;
    const text = kind === "score" ? shown.toFixed(3) : significant(shown);
    return `${text.replace("-", "−")}${unit && of ? ` ${of}` : ""}`;
  }
  function withInterval(name, { value, low, high }) {
    if (low === high) return amount(name, value);
    return `${amount(name, value)} [${amount(name, low, false)}, ${amount(name, high, false)}]`;
  }

  // What a limit is held against: the figure, or what it is beside FP32.
  const kinds = (name) => (choices.figures[name].scatters === "image" ? "difference" : "ratio");
  function judged(limit) {
    const source = limit.kind === "figure" ? "estimates" : "beside";
    return choices.figures[limit.figure][source].filter(Boolean).flat();
  }
  function range(limit) {
    const seen = judged(limit).filter(Number.isFinite);
    const [low, high] = [Math.min(...seen), Math.max(...seen)];
    return seen.length ? [low, high > low ? high : low + Math.abs(low || 1) * 0.01] : [0, 1];
  }
  const isWide = ([low, high]) => low > 0 && high / low > 10;
  function fromSlider(limit, place) {
    const [low, high] = range(limit);
    const share = place / STEPS;
    const value = isWide([low, high]) ? low * (high / low) ** share : low + (high - low) * share;
    return Number(value.toPrecision(4));
  }
  function toSlider(limit) {
    const [low, high] = range(limit);
    const value = Math.min(high, Math.max(low, limit.limit));
    const share = isWide([low, high]) ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return Math.round(share * STEPS);
  }

  // As `deploymark choose --where` takes it.
  function written(limit) {
    const sign = (limit.upper ? "<" : ">") + (limit.strict ? "" : "=");
    const number = String(Number(Math.abs(limit.limit).toPrecision(6)));
    if (limit.kind === "figure") return `${limit.figure} ${sign} ${limit.limit < 0 ? "-" : ""}${number}`;
    if (limit.kind === "ratio") return `${limit.figure} ${sign} fp32 * ${number}`;
    return `${limit.figure} ${sign} fp32 ${limit.limit < 0 ? "-" : "+"} ${number}`;
  }

  function question() {
    const [maximize, objective] = form.elements.objective.value.split(" ");
    const asked = {
      objective,
      maximize: maximize === "largest",
      then: choices.question.then,
      indifference: Number(form.elements.indifference.value) / 100,
      constraints: limits,
    };
    return { ...asked, own: same(asked) };
  }
  const essence = (asked) => JSON.stringify([
    asked.objective, asked.maximize, asked.indifference,
    asked.constraints.map(({ figure, upper, strict, kind, limit }) => [figure, upper, strict, kind, limit]),
  ]);
  const original = essence({ ...choices.question, constraints: choices.constraints });
  const same = (asked) => essence(asked) === original;

  function sentence(asked, found) {
    const named = found.winner || found.leader;
    if (!named) return "No cell meets what was asked. The command below names the nearest, and what would have to give way.";
    const value = `${figures[asked.objective].title} ${withInterval(asked.objective, table.figure(named, asked.objective))}`;
    if (found.outcome === "best") {
      const met = found.entrants.filter((one) => one.objective.value !== null && one.held.every((held) => held.state === "met")).length;
      const of = `${met} of ${choices.cells.length} cells`;
      return `Ship ${named}: ${value}, the best of ${asked.constraints.length ? `${of} that meet what was asked` : of}.`;
    }
    if (found.outcome === "tie") {
      const others = found.tie.length - 1;
      const words = { artifact_bytes: "the smaller artifact", objective: "the better figure", cell: "the order of names" };
      const by = words[found.settledBy] || figures[asked.then].title;
      return `Ship ${named}: ${value}, a tie with ${others} other cell${others === 1 ? "" : "s"} that ${by} settles.`;
    }
    return `Undecided: ${named} leads with ${value}, and may not be the best.`;
  }

  // A limit as a place on an axis: of one beside FP32 where all cells have the same FP32 cell.
  function absolute(limit) {
    const op = limit.upper ? "<=" : ">=";
    const told = { figure: limit.figure, op, value: limit.limit, text: `${limit.upper ? "≤" : "≥"} ${amount(limit.figure, limit.limit)}` };
    if (limit.kind === "figure") return told;
    const { estimates, beside } = choices.figures[limit.figure];
    const seen = estimates.flatMap((own, at) => {
      if (!own || !beside[at]) return [];
      return [limit.kind === "ratio" ? own[0] / beside[at][0] : own[0] - beside[at][0]];
    });
    const [low, high] = [Math.min(...seen), Math.max(...seen)];
    if (!seen.length || high - low > 1e-6 * Math.abs(high)) return null;
    const value = limit.kind === "ratio" ? high * limit.limit : high + limit.limit;
    return { ...told, value, text: written(limit).replace(/^\S+ /, "").replace("<=", "≤").replace(">=", "≥").replace("fp32", "FP32").replace(/ [-+] 0$/, "") };
  }

  // A shell's word.
  const word = (text) => (/^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

  function answer() {
    const asked = question();
    const found = deploymarkRule.decide(table, asked);
    verdict.textContent = sentence(asked, found);
    verdict.className = found.outcome;
    command.textContent = [
      "deploymark", "choose", run,
      ...limits.flatMap((limit) => ["--where", written(limit)]),
      asked.maximize ? "--maximize" : "--minimize", asked.objective,
      ...(asked.then ? ["--then", asked.then] : []),
      "--indifference", String(asked.indifference),
    ].map(word).join(" ");
    document.dispatchEvent(new CustomEvent("deploymark:question", {
      detail: {
        limits: limits.map(absolute).filter(Boolean),
        objective: asked.objective,
        maximize: asked.maximize,
        winner: found.winner,
        leader: found.leader,
        standings: found.standings,
      },
    }));
    return asked;
  }

  // Once a frame at most, however fast a slider moves.
  function soon() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => remember(answer()));
  }
  function remember(asked) {
    const kept = [asked.objective, asked.maximize, asked.indifference, limits.map((limit) => [limit.figure, limit.upper, limit.strict, limit.kind, limit.limit])];
    deploymarkFragment.set({ q: asked.own ? null : JSON.stringify(kept) });
  }

  function row(limit, place) {
    const { title, unit, scale } = figures[limit.figure];
    const shown = () => Number((limit.kind === "figure" ? limit.limit * scale : limit.limit).toPrecision(4));
    const figure = make("select", { ariaLabel: "figure of the limit" }, ...names.map((name) => option(name, figures[name].title, name === limit.figure)));
    const sign = make("select", { ariaLabel: "most or least" }, option("most", "≤", limit.upper), option("least", "≥", !limit.upper));
    const kind = make("select", { ariaLabel: "against what" },
      option("figure", unit || "as measured", limit.kind === "figure"),
      option("beside", limit.kind === "difference" || kinds(limit.figure) === "difference" ? "more or less than FP32" : "times FP32", limit.kind !== "figure"));
    const slider = make("input", { type: "range", min: 0, max: STEPS, value: toSlider(limit), ariaLabel: `${title}, limit` });
    const number = make("input", { type: "number", step: "any", value: shown(), ariaLabel: `${title}, limit as a number` });
    const text = () => slider.setAttribute("aria-valuetext", written(limit));
    text();
    const remove = make("button", { type: "button", ariaLabel: `remove the limit on ${title}` }, "×");
    slider.addEventListener("input", () => {
      limit.limit = fromSlider(limit, Number(slider.value));
      number.value = shown();
      text();
      soon();
    });
    number.addEventListener("input", () => {
      const typed = number.valueAsNumber;
      if (!Number.isFinite(typed)) return;
      limit.limit = limit.kind === "figure" ? typed / scale : typed;
      slider.value = toSlider(limit);
      text();
      soon();
    });
    figure.addEventListener("change", () => renew(place, { figure: figure.value, kind: "figure", upper: !choices.figures[figure.value].more }));
    sign.addEventListener("change", () => {
      limit.upper = sign.value === "most";
      soon();
    });
    kind.addEventListener("change", () => renew(place, { kind: kind.value === "figure" ? "figure" : kinds(limit.figure) }));
    remove.addEventListener("click", () => {
      limits.splice(place, 1);
      rows();
      soon();
      document.getElementById("add-limit").focus();
    });
    return make("li", {}, figure, sign, slider, number, kind, remove);
  }
  // Another figure, or held against something else: the limit begins where all cells meet it.
  function renew(place, changes) {
    const limit = { ...limits[place], strict: false, ...changes };
    const [low, high] = range(limit);
    limit.limit = Number((limit.upper ? high : low).toPrecision(4));
    limits[place] = limit;
    rows();
    soon();
  }
  function rows() {
    list.replaceChildren(...limits.map(row));
  }

  function start(objective, maximize, indifference, asked) {
    form.elements.objective.value = `${maximize ? "largest" : "smallest"} ${objective}`;
    form.elements.indifference.value = Number((100 * indifference).toPrecision(4));
    limits = asked.map((limit) => ({ ...limit }));
    rows();
  }
  function asAsked() {
    const { objective, maximize, indifference } = choices.question;
    start(objective, maximize, indifference, choices.constraints);
  }
  function restore() {
    try {
      const [objective, maximize, indifference, asked] = JSON.parse(deploymarkFragment.get("q"));
      if (!(objective in figures) || asked.some(([figure]) => !(figure in figures))) throw new Error("other figures");
      start(objective, Boolean(maximize), Number(indifference), asked.map(([figure, upper, strict, kind, limit]) => (
        { figure, upper: Boolean(upper), strict: Boolean(strict), kind: kind === "figure" ? kind : kinds(figure), limit: Number(limit) })));
    } catch {
      asAsked();
    }
    answer();
  }

  const goals = names.filter((name) => figures[name].goal);
  form.elements.objective.append(...goals.map((name) => {
    const more = choices.figures[name].more || (name === choices.question.objective && choices.question.maximize);
    return option(`${more ? "largest" : "smallest"} ${name}`, `${more ? "largest" : "smallest"} ${figures[name].title}`);
  }));
  form.elements.objective.addEventListener("change", soon);
  form.elements.indifference.addEventListener("input", soon);
  document.getElementById("add-limit").addEventListener("click", () => {
    const free = names.find((name) => !limits.some((limit) => limit.figure === name)) || names[0];
    limits.push({ figure: free, upper: true, strict: false, kind: "figure", limit: 0 });
    renew(limits.length - 1, { upper: !choices.figures[free].more });
    list.lastElementChild.querySelector("select").focus();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    asAsked();
    soon();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("copy-command").addEventListener("click", () => deploymarkCopy(command.textContent));
  form.hidden = false;
  document.addEventListener("deploymark:table", answer);
  document.addEventListener("deploymark:drawn", answer);
  restore();
})();
