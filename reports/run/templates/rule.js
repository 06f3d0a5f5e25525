// The rule of `deploymark choose`, on the data of choices.json: pure functions, nothing of a page.
// A port of bench/choose/rule.py, bench/choose/table.py and bench/statistics/paired_ratio.py; a
// test holds both to the same answers.
(() => {
  "use strict";
  const FAR = 50;
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  function variance(values) {
    const centre = mean(values);
    return values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1);
  }

  // Polygamma functions for x > 0: recurrence to 10, then the asymptotic series (Abramowitz and
  // Stegun, 6.3.18, 6.4.12, 6.4.13).
  function digamma(x) {
    let shift = 0;
    for (; x < 10; x += 1) shift -= 1 / x;
    const y = 1 / (x * x);
    return (
      shift + Math.log(x) - 0.5 / x -
      y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))
    );
  }
  function trigamma(x) {
    let shift = 0;
    for (; x < 10; x += 1) shift += 1 / (x * x);
    const y = 1 / (x * x);
    const series = y * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - (y * 5) / 66))));
    return shift + 1 / x + y / 2 + series / x;
  }
  function tetragamma(x) {
    let shift = 0;
    for (; x < 10; x += 1) shift -= 2 / (x * x * x);
    const y = 1 / (x * x);
    const series = y * y * (0.5 - y * (1 / 6 - y * (1 / 6 - y * (0.3 - (y * 5) / 6))));
    return shift - y - y / x - series;
  }
  function inverseTrigamma(value) {
    let place = 0.5 + 1 / value;
    for (let step = 0; step < 50; step += 1) {
      const found = trigamma(place);
      const move = (found * (1 - found / value)) / tetragamma(place);
      place += move;
      if (Math.abs(move) < 1e-8 * place) break;
    }
    return place;
  }

  // Lanczos' approximation with Godfrey's coefficients: 15 digits.
  const LANCZOS = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
    -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
    1.5056327351493116e-7,
  ];
  function logGamma(x) {
    if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
    const base = x + 6.5;
    let sum = LANCZOS[0];
    for (let term = 1; term < 9; term += 1) sum += LANCZOS[term] / (x - 1 + term);
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(base) - base + Math.log(sum);
  }
  // The regularised incomplete beta function by its continued fraction (Lentz).
  function betaFraction(x, a, b) {
    const tiny = 1e-300;
    let c = 1;
    let d = 1 - ((a + b) * x) / (a + 1);
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    let value = d;
    for (let m = 1; m <= 500; m += 1) {
      for (const term of [
        (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
        (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
      ]) {
        d = 1 + term * d;
        d = 1 / (Math.abs(d) < tiny ? tiny : d);
        c = 1 + term / c;
        if (Math.abs(c) < tiny) c = tiny;
        value *= d * c;
      }
      if (Math.abs(d * c - 1) < 1e-15) break;
    }
    return value;
  }
  function incompleteBeta(x, a, b) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const front = Math.exp(
      logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
    );
    return x < (a + 1) / (a + b + 2)
      ? (front * betaFraction(x, a, b)) / a
      : 1 - (front * betaFraction(1 - x, b, a)) / b;
  }
  // Beyond t lies so much of Student's distribution, on one side.
  const beyond = (t, freedom) => 0.5 * incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);
  const quantiles = new Map();
  // Where half of `error` lies beyond, by bisection on a logarithm.
  function studentQuantile(freedom, error) {
    const key = `${freedom} ${error}`;
    if (!quantiles.has(key)) {
      let [low, high] = [-20, 700];
      for (let step = 0; step < 200 && high - low > 1e-14; step += 1) {
        const middle = (low + high) / 2;
        if (beyond(Math.exp(middle), freedom) > error / 2) low = middle;
        else high = middle;
      }
      quantiles.set(key, Math.exp((low + high) / 2));
    }
    return quantiles.get(key);
  }

  const NONE = { variance: 0, freedom: 0 };
  // What the spreads of many comparisons tell of any one (Smyth 2004, section 6.2).
  function fitPrior(samples) {
    const known = samples
      .filter((sample) => sample.length >= 2)
      .map((sample) => [variance(sample), sample.length - 1])
      .filter(([spread]) => spread > 0);
    if (known.length < 3) return NONE;
    const terms = known.map(([v, f]) => Math.log(v) - digamma(f / 2) + Math.log(f / 2));
    const noise = mean(known.map(([, f]) => trigamma(f / 2)));
    const [centre, excess] = [mean(terms), variance(terms) - noise];
    const most = known.reduce((sum, [, f]) => sum + f, 0);
    if (excess <= 0) {
      return { variance: known.reduce((sum, [v, f]) => sum + v * f, 0) / most, freedom: most };
    }
    const freedom = Math.min(2 * inverseTrigamma(excess), most);
    const level = centre + digamma(freedom / 2) - Math.log(freedom / 2);
    return { variance: Math.exp(level), freedom };
  }
  function pairedInterval(logs, error, prior) {
    if (!logs.length) return null;
    const own = logs.length - 1;
    const freedom = own + prior.freedom;
    if (freedom <= 0) return null;
    const spread = ((own ? own * variance(logs) : 0) + prior.freedom * prior.variance) / freedom;
    const reach = Math.min(studentQuantile(freedom, error) * Math.sqrt(spread / logs.length), FAR);
    const centre = mean(logs);
    return [Math.exp(centre - reach), Math.exp(centre + reach)];
  }

  const ends = (values) => (values ? (values.length === 1 ? [values[0], values[0], values[0]] : values) : null);
  const estimate = (value, low, high) => ({ value, low, high });
  const MISSING = estimate(null, null, null);

  // numpy's quantile, linear between the neighbours.
  function quantile(ordered, share) {
    const at = share * (ordered.length - 1);
    const below = Math.floor(at);
    const above = Math.min(below + 1, ordered.length - 1);
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below);
  }

  class Table {
    constructor(choices) {
      this.choices = choices;
      this.index = new Map(choices.cells.map((cell, index) => [cell, index]));
      this.disturbed = new Set(choices.disturbed);
      this.priors = new Map();
      this.maps = new Map();
      this.drawn = new Map();
    }

    figure(cell, name) {
      const found = this.choices.figures[name];
      const told = found && ends(found.estimates[this.index.get(cell)]);
      return told ? estimate(...told) : MISSING;
    }

    beside(cell, name) {
      const found = this.choices.figures[name];
      const told = found && ends(found.beside[this.index.get(cell)]);
      return told ? estimate(...told) : MISSING;
    }

    values(cell, name) {
      const key = `${name} ${cell}`;
      if (!this.maps.has(key)) {
        const told = (this.choices.figures[name].values || [])[this.index.get(cell)];
        this.maps.set(key, new Map(told ? told[0].map((launch, at) => [launch, told[1][at]]) : []));
      }
      return this.maps.get(key);
    }

    draws(cell, name) {
      const key = `${name} ${cell}`;
      if (!this.drawn.has(key)) {
        const text = (this.choices.figures[name].draws || [])[this.index.get(cell)];
        const bytes = text ? Uint8Array.from(atob(text), (mark) => mark.charCodeAt(0)) : null;
        this.drawn.set(
          key,
          bytes && Float64Array.from({ length: bytes.length / 2 }, (_, at) => (bytes[2 * at] + 256 * bytes[2 * at + 1]) / 65535),
        );
      }
      return this.drawn.get(key);
    }

    logRatios(cell, other, name) {
      const [first, second] = [this.values(other, name), this.values(cell, name)];
      const rounds = [...first.keys()].filter((round) => second.has(round)).sort((a, b) => a - b);
      if (rounds.some((round) => Math.min(first.get(round), second.get(round)) <= 0)) return [];
      return rounds.map((round) => Math.log(second.get(round) / first.get(round)));
    }

    prior(cell, other, name, logs) {
      const key = `${name} ${other}`;
      if (!this.priors.has(key)) {
        const others = this.choices.cells.filter((one) => one !== other);
        this.priors.set(key, fitPrior(others.map((one) => this.logRatios(one, other, name))));
      }
      const found = this.priors.get(key);
      if (found === NONE && logs.length === 1) {
        const rough = this.disturbed.has(cell) || this.disturbed.has(other);
        const [spread, freedom] = this.choices.assumed[rough ? 1 : 0];
        return { variance: spread, freedom };
      }
      return found;
    }

    ratio(cell, other, name, error) {
      const [one, two] = [this.figure(cell, name), this.figure(other, name)];
      if (one.value === null || two.value === null) return MISSING;
      if (cell === other) return estimate(1, 1, 1);
      if (two.low <= 0) return MISSING;
      const ratio = one.value / two.value;
      const drawn = this.ratioOfDraws(cell, other, name, error);
      let found = drawn;
      if (!found && this.choices.figures[name].scatters === "launch") {
        const logs = this.logRatios(cell, other, name);
        found = logs.length ? pairedInterval(logs, error, this.prior(cell, other, name, logs)) : null;
      }
      found = found || [one.low / two.high, one.high / two.low];
      return estimate(ratio, Math.min(found[0], ratio), Math.max(found[1], ratio));
    }

    ratioOfDraws(cell, other, name, error) {
      if (this.choices.figures[name].scatters !== "image" || name === "agreement") return null;
      const [one, two] = [this.draws(cell, name), this.draws(other, name)];
      if (!one || !two || one.length !== two.length) return null;
      const ratios = one.map((value, at) => value / two[at]).filter(Number.isFinite).sort();
      return ratios.length ? [quantile(ratios, error / 2), quantile(ratios, 1 - error / 2)] : null;
    }
  }

  function allows(item, value) {
    if (value === item.limit) return !item.strict;
    return item.upper ? value < item.limit : value > item.limit;
  }
  function state(item, judged) {
    if (judged.value === null) return "not_met";
    const [near, far] = item.upper ? [judged.low, judged.high] : [judged.high, judged.low];
    if (allows(item, far)) return "met";
    return allows(item, near) ? "undecided" : "not_met";
  }

  function entrants(table, question) {
    const { choices } = table;
    return choices.cells.map((cell, index) => {
      const held = question.constraints.map((item) => {
        const judged = item.kind === "figure" ? table.figure(cell, item.figure) : table.beside(cell, item.figure);
        return { state: state(item, judged), judged };
      });
      const states = new Set(held.map((item) => item.state));
      const objective = table.figure(cell, question.objective);
      const then = question.then ? table.figure(cell, question.then).value : null;
      const sign = question.then && choices.figures[question.then] && choices.figures[question.then].more ? -1 : 1;
      return {
        cell,
        held,
        objective,
        failed: cell in choices.failed,
        state: ["not_met", "undecided", "met"].find((name) => states.has(name)) || "met",
        violates: held.some((item) => item.state === "not_met" && item.judged.value !== null),
        lacking: objective.value === null || held.some((item) => item.judged.value === null),
        then: then === null ? Infinity : sign * then,
        size: choices.sizes[index] === null ? Infinity : choices.sizes[index],
      };
    });
  }

  const order = (a, b) => {
    for (let at = 0; at < a.length; at += 1) {
      if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
    }
    return 0;
  };
  const valueOf = (cost) => (cost.value === null ? Infinity : cost.value);
  const best = (items, key) => items.reduce((one, other) => (order(key(other), key(one)) < 0 ? other : one));

  // The comparisons share the error: the clearest is judged at it over their number (Holm 1979).
  function holm(others, leader, cost, shared) {
    const costs = {};
    const errors = {};
    const clear = new Set();
    let rest = others;
    while (rest.length) {
      const error = shared / rest.length;
      for (const cell of rest) {
        costs[cell] = cost(cell, leader, error);
        errors[cell] = error;
      }
      const beaten = rest.filter((cell) => (costs[cell].low || 0) > 1);
      if (!beaten.length) break;
      beaten.forEach((cell) => clear.add(cell));
      rest = rest.filter((cell) => !clear.has(cell));
    }
    return { costs, errors, clear };
  }

  // Judge all cells: outcome, leader, winner, tie, standings and costs, as Decision of rule.py.
  function decide(table, question) {
    const all = entrants(table, question);
    const without = question.own ? table.choices.stopped : {};
    const judged = all.filter((one) => !(one.cell in without));
    const cost = (cell, leader, error) =>
      question.maximize
        ? table.ratio(leader, cell, question.objective, error)
        : table.ratio(cell, leader, question.objective, error);
    const found = decided(judged, cost, question.indifference, table.choices.error);
    for (const one of all) {
      if (one.cell in without) found.standings[one.cell] = one.violates ? "violates" : "behind";
    }
    return { ...found, entrants: all };
  }

  function decided(all, cost, indifference, shared) {
    const able = all
      .filter((one) => !one.failed && !one.lacking && one.state !== "not_met")
      .sort((a, b) => order([a.cell], [b.cell]));
    const standings = {};
    for (const one of all) {
      if (able.includes(one)) continue;
      standings[one.cell] = one.failed ? "failed" : one.violates ? "violates" : "not_measured";
    }
    const nothing = { leader: null, winner: null, tie: [], settledBy: "", standings, costs: {}, errors: {} };
    if (!able.length) return { outcome: "infeasible", ...nothing };
    const sure = able.filter((one) => one.state === "met");
    const anchor = (sure.length ? sure : able)[0].cell;
    const leader = best(sure.length ? sure : able, (one) => [
      valueOf(cost(one.cell, anchor, shared)), one.then, one.size, one.cell,
    ]).cell;
    const others = able.filter((one) => one.cell !== leader);
    const { costs, errors, clear } = holm(others.map((one) => one.cell), leader, cost, shared);
    const least = 1 / (1 + indifference);
    const noBetter = (found) => found.low !== null && found.low >= least;
    clear.forEach((cell) => (standings[cell] = "behind"));
    const blocking = others.filter((one) => !clear.has(one.cell) && !noBetter(costs[one.cell]));
    for (const one of others) {
      if (!clear.has(one.cell) && !blocking.includes(one)) standings[one.cell] = "behind";
    }
    if (!sure.length || blocking.length) {
      for (const cell of [leader, ...blocking.map((one) => one.cell)]) standings[cell] = "open";
      return { outcome: "undecided", ...nothing, leader, costs, errors };
    }
    costs[leader] = estimate(1, 1, 1);
    const tied = sure.filter((one) => {
      const found = costs[one.cell];
      return found.low !== null && found.low >= least && found.high <= 1 + indifference;
    });
    const settling = (one) => [one.then, one.size, valueOf(costs[one.cell])];
    const ranked = [...tied].sort((a, b) => order([...settling(a), a.cell], [...settling(b), b.cell]));
    tied.forEach((one) => (standings[one.cell] = "tie"));
    standings[ranked[0].cell] = "winner";
    if (tied.length === 1) {
      return { outcome: "best", ...nothing, leader, winner: leader, costs, errors };
    }
    const names = ["then", "artifact_bytes", "objective"];
    const by = names.findIndex((_, at) => ranked.slice(1).some((one) => settling(one)[at] !== settling(ranked[0])[at]));
    const tie = ranked.map((one) => one.cell);
    const settledBy = by < 0 ? "cell" : names[by];
    return { outcome: "tie", ...nothing, leader, winner: ranked[0].cell, tie, settledBy, costs, errors };
  }

  globalThis.deploymarkRule = { Table, decide, studentQuantile, digamma, trigamma, tetragamma };
})();
