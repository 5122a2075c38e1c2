/* Filter and sort a listening table by what its rows say about themselves. The rows come sorted by the draw.
   Of a long table all rows but the first stand in a <noscript>: a reader without scripts has them all, and with scripts
   they are text until they come into sight or are asked for, so that ten thousand rows open at once. */
(function () {
  "use strict";
  var form = document.getElementById("controls"), list = document.getElementById("samples"), shown = document.getElementById("shown");
  if (!form || !list) return;
  var CHUNK = 150, rest = document.getElementById("more-samples"), long = !!rest, rows = null, last = "", visible = [], there = 0;
  var ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&", "&#34;": '"', "&#39;": "'" };

  function number(text) { return text === null || text === undefined || text === "" ? NaN : parseFloat(text); }
  function plain(text) { return text.replace(/&(lt|gt|amp|#34|#39);/g, function (one) { return ENTITIES[one]; }); }
  function attribute(html, name) { var found = html.match(new RegExp(" " + name + '="([^"]*)"')); return found ? plain(found[1]) : undefined; }

  function fromElement(element, order) {
    var scores = {}, tracks = Array.prototype.slice.call(element.querySelectorAll(".track"));
    tracks.forEach(function (item) { scores[item.dataset.category] = number(item.dataset.score); });
    return {
      element: element, order: order, id: element.id, facet: element.dataset.facet || "", pitch: number(element.dataset.pitch), scores: scores,
      words: (element.id + " " + (element.dataset.title || "") + " " + element.querySelector("h2, h3, h4").textContent).toLowerCase()
    };
  }
  function fromText(html, order) {
    var id = attribute(html, "id") || "", heading = html.match(/<h2>([^<]*)/), scores = {};
    html.split("<a ").forEach(function (link) { var category = attribute(" " + link, "data-category"); if (category !== undefined) scores[category] = number(attribute(" " + link, "data-score")); });
    return { html: html, order: order, id: id, facet: attribute(html, "data-facet") || "", pitch: number(attribute(html, "data-pitch")), scores: scores, words: (id + " " + plain(heading ? heading[1] : "")).toLowerCase() };
  }
  function texts() { return rest.textContent.split("</article>").map(function (html) { return html.trim(); }).filter(Boolean).map(function (html) { return html + "</article>"; }); }
  function read() {
    var elements = Array.prototype.filter.call(list.children, function (child) { return child !== rest; });
    rows = elements.map(fromElement);
    if (long) texts().forEach(function (html) { rows.push(fromText(html, rows.length)); });
  }
  function element(row) {
    if (!row.element) {
      var made = document.createElement("template");
      made.innerHTML = row.html;
      row.element = made.content.firstElementChild;
      row.html = null;
    }
    return row.element;
  }
  function value(name) { return form.elements[name] ? form.elements[name].value : ""; }
  function within(x, low, high) { return (isNaN(low) || x >= low) && (isNaN(high) || x <= high); }
  function systems() { return Array.prototype.filter.call(form.querySelectorAll("[name=system]"), function (box) { return !box.checked; }).map(function (box) { return box.value; }); }
  function dress(row, off) {
    Array.prototype.forEach.call(element(row).querySelectorAll(".track"), function (item) {
      var hidden = off.indexOf(item.dataset.category) >= 0;
      if (item.hidden !== hidden) item.hidden = hidden;
    });
  }

  function apply() {
    if (!rows) read();
    var facet = value("facet"), find = value("find").trim().toLowerCase(), sort = value("sort") || "order", down = form.elements.down.checked ? -1 : 1;
    var low = number(value("low")), high = number(value("high")), least = number(value("least")), most = number(value("most")), scored = value("scored"), off = systems();
    function keep(row) { return (!facet || row.facet === facet) && (!find || row.words.indexOf(find) >= 0) && within(row.pitch, low, high) && within(row.scores[scored], least, most); }
    function key(row) { return sort === "facet" ? row.facet : sort === "pitch" ? row.pitch : sort === "score" ? row.scores[scored] : row.order; }
    var sorted = rows.slice().sort(function (a, b) {
      var x = key(a), y = key(b), ax = x !== x || x === undefined, by = y !== y || y === undefined;
      /* What has no value stands last, whichever way round. */
      if (ax || by) return ax && by ? a.order - b.order : ax ? 1 : -1;
      return x === y ? a.order - b.order : x < y ? -down : down;
    });
    visible = sorted.filter(keep);
    if (long) {
      there = 0;
      list.replaceChildren(rest);
      more();
    } else {
      var order = [sort, down, scored].join(" "), kept = new Set(visible);
      if (order !== last) { last = order; list.append.apply(list, sorted.map(element)); }
      rows.forEach(function (row) { var hidden = !kept.has(row); if (row.element.hidden !== hidden) row.element.hidden = hidden; dress(row, off); });
    }
    shown.textContent = visible.length + " of " + rows.length + " clips";
    document.dispatchEvent(new CustomEvent("earwitness-tracks"));
  }

  /* The next rows of a long table. */
  function more() {
    if (!rows) { read(); visible = rows.slice(); there = list.children.length - 1; }
    var block = document.createDocumentFragment(), off = systems();
    visible.slice(there, there + CHUNK).forEach(function (row) { block.append(element(row)); if (off.length) dress(row, off); });
    there = Math.min(visible.length, there + CHUNK);
    list.insertBefore(block, rest);
    end.hidden = there >= visible.length;
  }
  var end = document.createElement("p");
  if (long) {
    end.className = "lines-end";
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = "More rows";
    button.addEventListener("click", more);
    end.append(button);
    list.after(end);
    /* Again and again while the end stays in sight: an observer alone speaks only when that changes. */
    new IntersectionObserver(function (seen, observer) {
      if (!seen[seen.length - 1].isIntersecting || end.hidden) return;
      more();
      observer.unobserve(end);
      observer.observe(end);
    }, { rootMargin: "1200px" }).observe(end);
    addEventListener("hashchange", target);
    target();
  }
  /* The address of a row that is still text finds it. */
  function target() {
    var id = decodeURIComponent(location.hash.slice(1));
    if (!id || document.getElementById(id)) return;
    if (!rows) read();
    if (!rows.some(function (row) { return row.id === id; })) return;
    form.elements.find.value = id;
    apply();
    document.getElementById(id).scrollIntoView();
  }

  form.addEventListener("input", apply);
  var grid = document.querySelector("[data-system]"), box = form.elements.scored;
  if (grid && box) box.addEventListener("change", function () { grid.dataset.system = box.value; });
  var total = list.dataset.count || String(list.children.length);
  shown.textContent = total + " of " + total + " clips";
  form.hidden = false;
})();
