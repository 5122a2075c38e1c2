/* Demonstrations from prepared results: paint over a code map, or set sliders, and hear the prepared sound that is nearest.
   Nothing is computed by a model here, and the page says which prepared setting is heard. The sounds are the tracks of an
   ordinary row, played by the page's one player. */
(function () {
  "use strict";
  var core = window.Earwitness && window.Earwitness.core, player = window.Earwitness && window.Earwitness.player;
  if (!core || !player) return;

  function make(tag, fields, parts) {
    var element = Object.assign(document.createElement(tag), fields || {});
    (parts || []).forEach(function (one) { element.append(one); });
    return element;
  }
  function button(text, act) { var one = make("button", { type: "button", textContent: text }); one.addEventListener("click", act); return one; }
  function all(within, selector) { return Array.prototype.slice.call(within.querySelectorAll(selector)); }

  function Stage(sample) {
    var demo = JSON.parse(sample.dataset.demo), tracks = all(sample, ".tracks > .track"), stage = make("div", { className: "demo-stage" });
    var left = make("figure"), right = make("figure"), controls = make("div", { className: "demo-controls" });
    var said = make("p", { className: "demo-said" });
    said.setAttribute("aria-live", "polite");
    stage.append(left, right, controls);

    /* The pictures of a track; what the row's own markup holds is copied, so that nothing is fetched before it is seen. */
    function picture(figure, track, view) {
      var category = track.dataset.category;
      var own = view === "spectrogram" ? track.querySelector(".picture") : sample.querySelector('figure[data-view="' + view + '"][data-category="' + CSS.escape(category) + '"] .picture');
      if (!own) return;
      var box = figure.querySelector(".picture"), fresh = own.querySelector("picture").cloneNode(true);
      /* The box stays: what is laid over it keeps the focus. */
      if (box) box.querySelector("picture").replaceWith(fresh);
      else { box = make("span", { className: "picture" }, [fresh]); figure.prepend(box); }
      ["left", "right"].forEach(function (end) { if (own.dataset[end]) box.dataset[end] = own.dataset[end]; });
      box.dataset.category = category;
    }
    function caption(figure, text) {
      var line = figure.querySelector("figcaption") || figure.appendChild(make("figcaption"));
      line.textContent = text;
    }
    return { sample: sample, demo: demo, tracks: tracks, stage: stage, left: left, right: right, controls: controls, said: said, picture: picture, caption: caption };
  }

  function mask(sample) {
    var my = Stage(sample), demo = my.demo, bins = 32, frames = 4, painted = new Uint8Array(bins * frames), here = 0, paintWith = null, choice = -1, draw = 0;
    var regions = [];
    demo.settings.forEach(function (setting, index) {
      if (!setting) return;
      var known = regions.filter(function (one) { return one.name === setting.region; })[0];
      if (!known) regions.push(known = { name: setting.region, cells: grow(setting.cells), tracks: [] });
      known.tracks.push({ track: my.tracks[index], seed: setting.seed });
    });
    /* Quarters of bands and time, as prepared, on the grid of the tokens; the lowest band is the last row on the page. */
    function grow(cells) {
      var full = new Uint8Array(bins * frames);
      for (var b = 0; b < bins; b++) for (var t = 0; t < frames; t++) full[(bins - 1 - b) * frames + t] = cells[Math.floor(b * demo.bands / bins)][Math.floor(t * demo.times / frames)];
      return full;
    }
    var board = make("div", { className: "paint", tabIndex: 0 }), cells = [];
    board.setAttribute("role", "application");
    board.dataset.keys = "own";
    for (var i = 0; i < bins * frames; i++) { cells.push(make("span")); board.append(cells[i]); }
    board.style.gridTemplate = "repeat(" + bins + ", 1fr) / repeat(" + frames + ", 1fr)";

    var pick = make("select");
    pick.append(make("option", { value: "", textContent: "nothing" }));
    regions.forEach(function (one, index) { pick.append(make("option", { value: String(index), textContent: one.name })); });
    pick.addEventListener("change", function () {
      painted.fill(0);
      if (pick.value !== "") painted.set(regions[+pick.value].cells);
      draw = 0;
      settle(true);
    });
    var again = button("Draw again", function () { draw++; settle(true); });
    var listen = button("Hear it", function () { hear(current()); }), original = button("Hear the note as coded", function () { hear(my.tracks[0]); });
    var clear = button("Clear", function () { painted.fill(0); settle(false); });
    my.controls.append(listen, original, again, clear, make("label", {}, ["Redraw ", pick]), my.said);

    function current() { return choice < 0 ? my.tracks[0] : regions[choice].tracks[draw % regions[choice].tracks.length].track; }
    function hear(track) { player.play(track); show(track); }
    function show(track) {
      my.picture(my.left, track, "codemap_top");
      my.picture(my.right, track, "spectrogram");
      place();
      my.caption(my.left, "Top code map: paint over the tokens that are to be drawn anew. Each of the " + bins * frames + " tokens stands for a second of one band.");
      my.caption(my.right, track.dataset.name);
    }
    function place() {
      var box = my.left.querySelector(".picture");
      if (!box) return;
      if (board.parentNode !== box) box.append(board);
      board.style.left = 100 * parseFloat(box.dataset.left) + "%";
      board.style.right = 100 * (1 - parseFloat(box.dataset.right)) + "%";
      board.style.top = 100 * 16 / 400 + "%";
      board.style.bottom = 100 * 64 / 400 + "%";
    }
    function settle(play) {
      var count = painted.reduce(function (sum, one) { return sum + one; }, 0);
      var found = count ? core.nearestMask(painted, regions.map(function (one) { return one.cells; })) : { index: -1, share: 0 };
      if (found.index !== choice) draw = 0;
      choice = found.index;
      var region = regions[choice];
      cells.forEach(function (cell, index) {
        cell.className = (painted[index] ? "painted " : "") + (region && region.cells[index] ? "drawn " : "") + (index === here ? "here" : "");
      });
      again.hidden = !region || region.tracks.length < 2;
      pick.value = region && found.share === 1 ? String(choice) : "";
      var seed = region && region.tracks[draw % region.tracks.length].seed;
      var drawnCount = region && region.cells.reduce(function (sum, one) { return sum + one; }, 0);
      my.said.textContent = !count
        ? "Nothing is painted. Drag over the code map, use the arrow keys and space on it, or choose a region from the list."
        : "You painted " + count + " of " + bins * frames + " tokens. " + (found.share === 1 ? "Exactly this was prepared: " : "Nearest of " + regions.length + " prepared regions (" + Math.round(100 * found.share) + " % overlap), outlined: ") +
          region.name + ", " + drawnCount + " tokens and all below them drawn anew by the model with seed " + seed + ". The other tokens are kept as they were.";
      board.setAttribute("aria-label", "Tokens of the top code map, " + count + " painted. Arrow keys move, space paints, enter listens.");
      if (play && region) hear(current()); else show(current());
    }
    function at(event) {
      var box = board.getBoundingClientRect();
      var column = Math.floor(frames * (event.clientX - box.left) / box.width), line = Math.floor(bins * (event.clientY - box.top) / box.height);
      return Math.max(0, Math.min(bins - 1, line)) * frames + Math.max(0, Math.min(frames - 1, column));
    }
    function brush(index) {
      /* Two bands either side, so that a finger can paint. */
      var line = Math.floor(index / frames), column = index % frames;
      for (var one = Math.max(0, line - 1); one <= Math.min(bins - 1, line + 1); one++) {
        painted[one * frames + column] = paintWith;
        cells[one * frames + column].classList.toggle("painted", !!paintWith);
      }
    }
    board.addEventListener("pointerdown", function (event) {
      if (event.button) return;
      here = at(event);
      paintWith = painted[here] ? 0 : 1;
      board.setPointerCapture(event.pointerId);
      brush(here);
      event.stopPropagation();
    });
    board.addEventListener("pointermove", function (event) { if (paintWith !== null) { var from = here; here = at(event); line(from, here); } });
    function line(from, to) {
      var a = Math.floor(from / frames), b = Math.floor(to / frames), c = from % frames, d = to % frames, steps = Math.max(Math.abs(a - b), Math.abs(c - d), 1);
      for (var i = 0; i <= steps; i++) brush(Math.round(a + (b - a) * i / steps) * frames + Math.round(c + (d - c) * i / steps));
    }
    function finish() { if (paintWith === null) return; paintWith = null; settle(true); }
    board.addEventListener("pointerup", finish);
    board.addEventListener("pointercancel", finish);
    board.addEventListener("click", function (event) { event.preventDefault(); event.stopPropagation(); });
    board.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -frames, ArrowDown: frames }[event.key];
      if (step) {
        var next = here + step;
        if (next >= 0 && next < bins * frames && (Math.abs(step) > 1 || Math.floor(next / frames) === Math.floor(here / frames))) here = next;
        if (event.shiftKey) painted[here] = 1;
        settle(false);
      } else if (event.key === " ") { painted[here] = painted[here] ? 0 : 1; settle(false); }
      else if (event.key === "Enter") hear(current());
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    settle(false);
    return my;
  }

  function sliders(sample) {
    var my = Stage(sample), demo = my.demo, shown = my.tracks[0];
    var inputs = demo.axes.map(function (axis) {
      var low = Math.min.apply(null, axis.values), high = Math.max.apply(null, axis.values);
      return make("input", { type: "range", min: low, max: high, step: (high - low) / 20, value: low });
    });
    var outputs = inputs.map(function () { return make("output"); });
    my.controls.append(make("div", { className: "slides" }, inputs.map(function (input, index) { return make("label", {}, [demo.axes[index].title, input, outputs[index]]); })));
    my.controls.append(button("Hear it", function () { player.play(shown); }), my.said);

    function settle(play) {
      var place = inputs.map(function (input, index) { return core.nearestValue(+input.value, demo.axes[index].values); });
      var found = demo.settings.findIndex(function (setting) { return setting && setting.at.every(function (one, index) { return one === place[index]; }); });
      inputs.forEach(function (input, index) { outputs[index].textContent = Math.round(+input.value) + " " + demo.axes[index].unit; });
      var exact = inputs.every(function (input, index) { return +input.value === demo.axes[index].values[place[index]]; });
      shown = my.tracks[found];
      my.said.textContent = (exact ? "Exactly this was prepared: " : "Nearest of " + demo.settings.length + " prepared settings: ") + shown.dataset.name + ".";
      my.picture(my.left, shown, "spectrogram");
      my.caption(my.left, shown.dataset.name);
      if (play) player.play(shown);
    }
    var playing = null;
    inputs.forEach(function (input, index) {
      input.value = demo.axes[index].values[index === 0 ? demo.axes[index].values.length - 1 : 0];
      input.dataset.keys = "own";
      input.addEventListener("input", function () { var before = shown; settle(false); if (shown !== before && player.state().status === "playing" && player.state().row === sample.id) player.play(shown); });
      input.addEventListener("change", function () { if (playing !== shown) { playing = shown; player.play(shown); } });
    });
    my.right.remove();
    settle(false);
    return my;
  }

  var KINDS = { mask: mask, sliders: sliders };
  all(document, ".sample[data-demo]").forEach(function (sample) {
    var kind = KINDS[JSON.parse(sample.dataset.demo).kind];
    if (!kind) return;
    sample.classList.add("ready");
    var made = kind(sample);
    sample.querySelector(".tracks").before(made.stage);
  });
})();
