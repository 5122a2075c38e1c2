/* Filter and sort a listening table by what its rows say about themselves. The rows come sorted by the draw. */
(function () {
  "use strict";
  var form = document.getElementById("controls"), list = document.getElementById("samples"), shown = document.getElementById("shown");
  if (!form || !list) return;
  var rows = Array.prototype.slice.call(list.children);
  rows.forEach(function (row, index) { row.dataset.order = String(index); });

  function score(row, category) {
    var item = Array.prototype.find.call(row.querySelectorAll(".track"), function (t) { return t.dataset.category === category; });
    return item && item.dataset.score !== undefined ? parseFloat(item.dataset.score) : Infinity;
  }
  function key(row, name) {
    if (name === "facet") return row.dataset.facet || "";
    if (name === "pitch") return row.dataset.pitch === undefined ? Infinity : parseFloat(row.dataset.pitch);
    if (name.indexOf("score:") === 0) return score(row, name.slice(6));
    return parseFloat(row.dataset.order);
  }
  function value(name) { return form.elements[name] ? form.elements[name].value : ""; }

  function apply() {
    var facet = value("facet"), low = parseFloat(value("low")), high = parseFloat(value("high")), sort = value("sort") || "order", count = 0;
    var systems = Array.prototype.filter.call(form.querySelectorAll("[name=system]"), function (box) { return box.checked; }).map(function (box) { return box.value; });
    rows.forEach(function (row) {
      var pitch = parseFloat(row.dataset.pitch);
      var keep = (!facet || row.dataset.facet === facet) && !(pitch < low) && !(pitch > high);
      row.hidden = !keep;
      if (keep) count++;
      row.querySelectorAll(".track").forEach(function (item) { item.hidden = systems.indexOf(item.dataset.category) < 0; });
    });
    var sorted = rows.slice().sort(function (a, b) {
      var x = key(a, sort), y = key(b, sort);
      if (x === y) return a.dataset.order - b.dataset.order;
      return x < y ? -1 : 1;
    });
    if (sorted.some(function (row, index) { return list.children[index] !== row; })) list.append.apply(list, sorted);
    shown.textContent = count + " of " + rows.length + " clips";
  }
  form.addEventListener("input", apply);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.hidden = false;
  apply();
})();
