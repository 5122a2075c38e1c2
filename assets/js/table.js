/* Filter and sort a listening table by what its rows say about themselves. The rows come sorted by the draw; nothing is
   read from them before the reader sets something, so that a long table opens at once. */
(function () {
  "use strict";
  var form = document.getElementById("controls"), list = document.getElementById("samples"), shown = document.getElementById("shown");
  if (!form || !list) return;
  var rows = null, last = "";

  function number(text) { return text === null || text === "" ? NaN : parseFloat(text); }
  function read() {
    rows = Array.prototype.map.call(list.children, function (element, order) {
      var scores = {}, tracks = Array.prototype.slice.call(element.querySelectorAll(".track"));
      tracks.forEach(function (item) { scores[item.dataset.category] = number(item.dataset.score === undefined ? "" : item.dataset.score); });
      return {
        element: element, order: order, facet: element.dataset.facet || "", pitch: number(element.dataset.pitch === undefined ? "" : element.dataset.pitch),
        scores: scores, tracks: tracks, words: (element.id + " " + (element.dataset.title || "") + " " + element.querySelector("h2, h3, h4").textContent).toLowerCase()
      };
    });
  }
  function value(name) { return form.elements[name] ? form.elements[name].value : ""; }
  function within(x, low, high) { return (isNaN(low) || x >= low) && (isNaN(high) || x <= high); }

  function apply() {
    if (!rows) read();
    var facet = value("facet"), find = value("find").trim().toLowerCase(), sort = value("sort") || "order", down = form.elements.down.checked ? -1 : 1;
    var low = number(value("low")), high = number(value("high")), least = number(value("least")), most = number(value("most")), scored = value("scored");
    var systems = Array.prototype.filter.call(form.querySelectorAll("[name=system]"), function (box) { return box.checked; }).map(function (box) { return box.value; });
    var count = 0;
    rows.forEach(function (row) {
      var keep = (!facet || row.facet === facet) && (!find || row.words.indexOf(find) >= 0) && within(row.pitch, low, high) && within(row.scores[scored], least, most);
      if (row.element.hidden === keep) row.element.hidden = !keep;
      if (keep) count++;
      row.tracks.forEach(function (item) { var off = systems.indexOf(item.dataset.category) < 0; if (item.hidden !== off) item.hidden = off; });
    });
    function key(row) {
      if (sort === "facet") return row.facet;
      if (sort === "pitch") return row.pitch;
      if (sort === "score") return row.scores[scored];
      return row.order;
    }
    var wanted = [sort, down, scored].join(" ");
    if (wanted !== last) {
      last = wanted;
      var sorted = rows.slice().sort(function (a, b) {
        var x = key(a), y = key(b), ax = x !== x || x === undefined, by = y !== y || y === undefined;
        /* What has no value stands last, whichever way round. */
        if (ax || by) return ax && by ? a.order - b.order : ax ? 1 : -1;
        return x === y ? a.order - b.order : x < y ? -down : down;
      });
      var block = document.createDocumentFragment();
      sorted.forEach(function (row) { block.append(row.element); });
      list.append(block);
    }
    shown.textContent = count + " of " + rows.length + " clips";
    document.dispatchEvent(new CustomEvent("earwitness-tracks"));
  }
  form.addEventListener("input", apply);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  var grid = document.querySelector("[data-system]"), box = form.elements.scored;
  if (grid && box) box.addEventListener("change", function () { grid.dataset.system = box.value; });
  shown.textContent = list.children.length + " of " + list.children.length + " clips";
  form.hidden = false;
})();
