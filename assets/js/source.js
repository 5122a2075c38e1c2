// The card of a number: what it is, the run that made it, and its address. The facts of a run come from a small script
// beside the run's page, which loads from disk as well; without this script a number is a link to the run's page.
(() => {
  "use strict";
  const runs = new Map();
  const waiting = new Map();
  window.earwitnessRun = (facts) => {
    runs.set(facts.run, facts);
  };

  const load = (page) => {
    const source = page.replace(/\.html$/, ".js");
    if (!waiting.has(source)) {
      waiting.set(source, new Promise((done, fail) => {
        const script = document.createElement("script");
        const known = new Set(runs.keys());
        script.src = source;
        script.onload = () => {
          const added = [...runs.keys()].filter((key) => !known.has(key));
          (added.length ? done : fail)(runs.get(added[0]));
        };
        script.onerror = fail;
        document.head.append(script);
      }));
    }
    return waiting.get(source);
  };

  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };

  const text = (node) => (node ? node.textContent.replace(/\s+/g, " ").trim() : "");

  // What the number is called on this page, for numbers that the run's record does not name one by one.
  const called = (link) => {
    const sample = link.closest("[data-title]");
    const track = link.closest("[data-name]");
    const cell = link.closest("td");
    const names = [];
    if (cell && cell.parentElement) {
      const head = cell.closest("table").querySelector("thead tr");
      names.push(text(cell.parentElement.querySelector("th")), text(head && head.children[cell.cellIndex]));
    } else if (track) names.push(track.dataset.name);
    if (sample) names.push(sample.dataset.title);
    return names.filter(Boolean).join(", ");
  };

  let card;
  const dialog = () => {
    if (card) return card;
    card = make("dialog", undefined, "source-card");
    card.setAttribute("aria-labelledby", "source-card-title");
    card.addEventListener("click", (event) => {
      if (event.target === card) card.close();
    });
    document.body.append(card);
    return card;
  };

  const copying = (value) => {
    const button = make("button", "Copy");
    button.type = "button";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(value);
        button.textContent = "Copied";
      } catch {
        const range = document.createRange();
        range.selectNodeContents(button.previousElementSibling);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
      }
    });
    return button;
  };

  const show = (facts, link, address) => {
    const box = dialog();
    const figure = (facts.figures || {})[address] || {};
    const metricName = figure.metric || (address.startsWith("metric-") ? address.slice(7) : null);
    const metric = metricName && (facts.metrics || {})[metricName];
    const model = figure.system && (facts.models || {})[figure.system];
    const list = make("dl");
    const add = (name, value, kind) => {
      if (value === undefined || value === null || value === "") return;
      const row = make("div");
      const what = make("dd");
      row.append(make("dt", name), what);
      what.append(kind ? make("code", String(value), kind) : String(value));
      if (kind === "command" || kind === "address") what.append(" ", copying(String(value)));
      list.append(row);
    };
    const unit = figure.unit ? ` ${figure.unit}` : "";
    if (typeof figure.value === "number") add("Value, all digits", `${figure.value}${unit}`);
    if (typeof figure.low === "number") {
      const level = figure.level ? `${Number((100 * figure.level).toPrecision(4))} % interval` : "Interval";
      add(level, `${figure.low} to ${figure.high}${figure.method ? `, ${figure.method}` : ""}`);
    }
    add("Number of clips or cases, n", figure.n);
    add("File, SHA-256", link.dataset.sha256, "hash");
    add("Found", figure.text);
    const also = Object.entries(figure.also || {}).map(([name, value]) => `${name.replace(/_/g, " ")}: ${value}`);
    add("Also recorded", also.join("; "));
    if (metric) {
      add("Metric", `${metric.title || metricName}${metric.version ? `, version ${metric.version}` : ""}`);
      add("Metric’s definition, SHA-256", metric.sha256, "hash");
    }
    if (model) {
      add("System", model.title || figure.system);
      add("Weights, SHA-256", model.weights || "none", model.weights ? "hash" : undefined);
    }
    add("Recordings", facts.corpus);
    add("Recordings, SHA-256", facts.data, "hash");
    add("Command", facts.command, "command");
    if (facts.reproduce !== facts.command) add("To reproduce", facts.reproduce, "command");
    add("Seed", facts.seed);
    add("When", facts.created);
    add("Commit", facts.commit && `${facts.commit}${facts.dirty ? " with changes" : ""}`, "hash");
    add("Code, SHA-256", facts.code, "hash");
    const place = link.id ? new URL(`#${link.id}`, location.href).href : link.href;
    add("Address to cite", place, "address");

    const title = make("h2", link.dataset.sha256 ? called(link) : figure.label || called(link) || text(link));
    title.id = "source-card-title";
    const close = make("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => box.close());
    const record = make("a", "The whole record of the run");
    record.href = link.href;
    const foot = make("p", undefined, "source-card-foot");
    foot.append(record);
    const head = make("div", undefined, "source-card-head");
    head.append(make("p", link.dataset.sha256 ? "Sound" : text(link), "source-card-value"), close);
    box.replaceChildren(head, title, list, foot);
    box.showModal();
    box.scrollTop = 0;
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a.num[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const [page, address = ""] = link.href.split("#");
    if (!/\/runs\/[^/]+\.html$/.test(page) || page === location.href.split("#")[0]) return;
    event.preventDefault();
    load(page).then((facts) => show(facts, link, decodeURIComponent(address)), () => { location.href = link.href; });
  });
})();
