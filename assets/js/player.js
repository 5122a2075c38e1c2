/* One player for the whole page. Rows are plain links to audio files; this script makes them switch at the same sample.
   Decoded buffers on one clock where the files can be fetched, <audio> elements where they cannot (a page opened from
   disk). State changes go through `core.reduce`; everything the script adds or changes is taken back by `dispose`. */
(function () {
  "use strict";

  var core = window.Earwitness && window.Earwitness.core, bar = document.getElementById("player");
  if (!core || !bar) return;

  var LEAD_S = 0.03, STEP_S = 0.25, KEPT_BUFFERS = 32, DRAG_PX = 5;
  var TYPES = { ogg: 'audio/ogg; codecs="vorbis"', flac: "audio/flac", wav: "audio/wav" };
  var root = document.documentElement, undo = [], listening = new AbortController();

  function part(name) { return document.getElementById("player-" + name); }
  function all(within, selector) { return Array.prototype.slice.call(within.querySelectorAll(selector)); }
  function on(target, kind, handler, options) { target.addEventListener(kind, handler, Object.assign({ signal: listening.signal }, options)); }
  function set(element, name, value) { if (element.getAttribute(name) !== value) element.setAttribute(name, value); }
  function make(tag, fields) { return Object.assign(document.createElement(tag), fields); }

  function store(key, value) {
    try {
      if (value === undefined) return localStorage.getItem("earwitness-" + key);
      localStorage.setItem("earwitness-" + key, value);
    } catch (refused) { /* A page opened from disk may have no storage. */ }
    return null;
  }

  /* ---- The rows ---- */

  function tracksOf(sample) { return all(sample, ".track:not([hidden])"); }
  function linkOf(item) { return item.matches(".play") ? item : item.querySelector(".play"); }
  function categoryOf(item) { return item.getAttribute("data-category"); }
  function nameOf(item) { return item.getAttribute("data-name") || item.textContent.trim(); }
  function titleOf(sample) { return sample.getAttribute("data-title") || sample.querySelector("h2, h3, h4").textContent.trim(); }
  function durationOf(sample) { return parseFloat(sample.getAttribute("data-duration")) || 0; }
  function facts(sample) {
    return tracksOf(sample).map(function (item) {
      return { category: categoryOf(item), name: nameOf(item), lufs: parseFloat(item.getAttribute("data-lufs")) };
    });
  }
  var playable = Object.keys(TYPES).filter(function (name) { return !!document.createElement("audio").canPlayType(TYPES[name]); });

  /* Addresses of a track in the order in which they are to be tried. */
  function addresses(item) {
    var link = linkOf(item), href = link.getAttribute("href"), forms = item.closest("[data-forms]");
    var found = {};
    if (forms) forms.getAttribute("data-forms").split(" ").forEach(function (name) { found[name] = href.replace(/\.[a-z]+$/, "." + name); });
    else ["ogg", "flac", "wav"].forEach(function (name) { if (link.hasAttribute("data-" + name)) found[name] = link.getAttribute("data-" + name); });
    var known = Object.keys(found).filter(function (name) { return playable.indexOf(name) >= 0; });
    var names = core.formats(known, state.format, !!state.blind);
    if (!names.length) { names = ["file"]; found.file = href; }
    return names.map(function (name) { return { form: name, url: new URL(found[name], document.baseURI).href }; });
  }

  /* ---- State ---- */

  var state = core.EMPTY, row = null, engine = null, request = 0, frame = 0;

  function dispatch(action) {
    var before = state;
    state = core.reduce(state, action);
    if (state !== before) react(before);
    return state !== before;
  }
  function itemOf(category) { return row ? tracksOf(row).filter(function (item) { return categoryOf(item) === category; })[0] : undefined; }
  function gainOf(category) {
    var levels = core.gains(state.tracks.map(function (one) { return one.lufs; }), state.matched || !!state.blind);
    var index = state.tracks.findIndex(function (one) { return one.category === category; });
    return index < 0 ? 1 : levels[index];
  }
  function loopOf() { return state.loop ? state.region || { from: 0, to: state.duration } : null; }

  /* ---- Engine 1: decoded buffers ---- */

  function BufferEngine() {
    var Context = window.AudioContext || window.webkitAudioContext, context = new Context(), master = context.createGain();
    var buffers = new Map(), transport = core.Transport(context, master), sounding = false, timer = 0;
    master.connect(context.destination);
    master.gain.value = state.volume;

    function load(url) {
      var known = buffers.get(url);
      if (known) { buffers.delete(url); buffers.set(url, known); return known; }
      var fresh = fetch(url).then(function (answer) {
        if (!answer.ok) throw new Error("status " + answer.status);
        return answer.arrayBuffer();
      }).then(function (bytes) {
        return new Promise(function (done, fail) { context.decodeAudioData(bytes, done, fail); });
      });
      fresh.catch(function () { buffers.delete(url); });
      buffers.set(url, fresh);
      if (buffers.size > KEPT_BUFFERS) buffers.delete(buffers.keys().next().value);
      return fresh;
    }
    /* The time that is being heard now, not the one that is being computed. */
    function heardTime() {
      var stamp = context.getOutputTimestamp && context.getOutputTimestamp();
      var late = stamp ? context.currentTime - stamp.contextTime : 0;
      return late > 0 && late < 0.5 ? stamp.contextTime : context.currentTime;
    }
    return {
      name: "buffers",
      /* The first of the addresses that can be fetched and decoded. */
      load: function (places) {
        return places.reduce(function (before, place) {
          return before.catch(function () { return load(place.url).then(function (buffer) { return { sound: buffer, form: place.form }; }); });
        }, Promise.reject(new Error("no address")));
      },
      start: function (loaded, options) {
        function go() {
          var when = context.currentTime + LEAD_S;
          var settings = { level: options.level, loop: options.loop, end: options.end, ended: options.ended };
          if (options.keep && sounding) transport.switchTo(loaded.sound, when, settings);
          else transport.start(loaded.sound, options.place, when, settings);
          sounding = true;
          if (!timer) timer = setInterval(function () { transport.ahead(context.currentTime + 1.5); }, 400);
        }
        return context.state === "running" ? go() : context.resume().then(go);
      },
      stop: function () { transport.stop(context.currentTime + 0.003); sounding = false; clearInterval(timer); timer = 0; },
      position: function () { var place = transport.position(heardTime()); return place === null ? transport.position(context.currentTime) : place; },
      level: function (value) { transport.level(value, context.currentTime); },
      volume: function () { master.gain.setTargetAtTime(state.volume, context.currentTime, 0.015); },
      close: function () { this.stop(); buffers.clear(); context.close(); }
    };
  }

  /* ---- Engine 2: <audio> elements, one per file ---- */

  function ElementEngine() {
    var elements = new Map(), now = null, loop = null, end = 0, gain = 1, done = null;
    function element(url) {
      if (!elements.has(url)) {
        if (elements.size >= KEPT_BUFFERS) release();
        elements.set(url, Object.assign(new Audio(), { preload: "auto", src: url }));
      }
      return elements.get(url);
    }
    function release() {
      elements.forEach(function (audio, url) { if (audio !== now) { audio.pause(); audio.removeAttribute("src"); elements.delete(url); } });
    }
    function ready(place) {
      var audio = element(place.url);
      return new Promise(function (found, fail) {
        if (audio.readyState >= 2) { found({ sound: audio, form: place.form }); return; }
        audio.addEventListener("loadeddata", function () { found({ sound: audio, form: place.form }); }, { once: true });
        audio.addEventListener("error", function () { elements.delete(place.url); fail(new Error("not playable")); }, { once: true });
        audio.load();
      });
    }
    return {
      name: "elements",
      load: function (places) {
        return places.reduce(function (before, place) { return before.catch(function () { return ready(place); }); }, Promise.reject(new Error("no address")));
      },
      start: function (loaded, options) {
        var audio = loaded.sound, place = now && options.keep ? now.currentTime : options.place;
        loop = options.loop; end = options.end; gain = options.level; done = options.ended;
        if (place >= (loop ? loop.to : end)) place = loop ? loop.from : 0;
        if (now && now !== audio) now.pause();
        audio.volume = state.volume * gain;
        audio.currentTime = place;
        audio.onended = function () { if (audio === now) this.turn(); }.bind(this);
        now = audio;
        return audio.play();
      },
      /* An element plays the padding that a codec adds and knows no region: the end and the loop are kept here. */
      turn: function () {
        if (!now || (!now.ended && now.currentTime < (loop ? loop.to : end) - 0.005)) return;
        if (loop) { now.currentTime = loop.from; if (now.paused) now.play(); return; }
        now.pause();
        now = null;
        done();
      },
      stop: function () { if (now) { now.pause(); now = null; } },
      position: function () { return now ? Math.min(now.currentTime, end) : null; },
      level: function (value) { gain = value; if (now) now.volume = state.volume * gain; },
      volume: function () { if (now) now.volume = state.volume * gain; },
      close: function () { this.stop(); release(); }
    };
  }

  function pickEngine() {
    var decodes = (window.AudioContext || window.webkitAudioContext) && window.fetch && location.protocol !== "file:";
    return decodes ? BufferEngine() : ElementEngine();
  }

  /* ---- Transport ---- */

  function position() {
    var place = engine && state.status === "playing" ? engine.position() : null;
    return place === null ? state.held : Math.min(place, state.duration);
  }
  function say(text) { part("status").textContent = text; }
  function label(category) {
    var blind = state.blind;
    if (blind && !blind.revealed) return blind.letter || "";
    var found = state.tracks.filter(function (one) { return one.category === category; })[0];
    return found ? found.name : "";
  }

  /* Makes a row the one that the player holds; nothing is fetched. */
  function hold(sample, category) {
    if (sample === row) { dispatch({ type: "row", row: sample.id, tracks: facts(sample) }); return; }
    if (engine) engine.stop();
    if (row) leave(row);
    row = sample;
    dispatch({ type: "row", row: sample.id, tracks: facts(sample), duration: durationOf(sample), track: category });
    fill();
  }

  function play(item, from) {
    var sample = item.closest(".sample"), category = categoryOf(item), sounding = sample === row && state.status === "playing";
    hold(sample, category);
    var ticket = ++request, keep = sounding && from === undefined;
    if (!engine) engine = pickEngine();
    set(bar, "data-engine", engine.name);
    dispatch({ type: "ask", track: category, held: from, fresh: !sounding });
    var asked = engine;
    return asked.load(addresses(item)).then(function (loaded) {
      if (ticket !== request) return null;
      set(bar, "data-form", loaded.form);
      var options = { place: state.held, keep: keep && state.status === "playing", level: gainOf(category), loop: loopOf(), end: state.duration, ended: ended };
      return Promise.resolve(asked.start(loaded, options)).then(function () { return true; });
    }).then(function (started) {
      if (!started || ticket !== request) return;
      dispatch({ type: "started" });
      dispatch({ type: "heard" });
      say(label(category) + ", " + titleOf(row));
      ahead(category);
      if (!frame) frame = requestAnimationFrame(tick);
    }).catch(function () {
      if (ticket !== request) return;
      if (engine.name === "buffers") { engine.close(); engine = ElementEngine(); play(item, state.held); return; }
      dispatch({ type: "paused", held: state.held });
      say("This file cannot be played here.");
    });
  }

  /* The others of the row follow, so that the first switch is as quick as the last; not where the reader saves data. */
  function ahead(category) {
    if (navigator.connection && navigator.connection.saveData) return;
    var wanted = state.blind ? state.blind.pair : state.tracks.map(function (one) { return one.category; }).slice(0, 12);
    wanted.forEach(function (other) { var item = itemOf(other); if (other !== category && item) engine.load(addresses(item)).catch(function () {}); });
  }
  function pause() {
    var held = position();
    request++;
    if (engine) engine.stop();
    dispatch({ type: "paused", held: held });
  }
  function ended() { request++; dispatch({ type: "ended" }); }
  function toggle() {
    if (!row) return;
    if (state.status === "playing" || state.status === "loading") pause();
    else if (state.blind && !state.blind.revealed) hear(state.blind.letter || "X");
    else play(itemOf(state.track) || tracksOf(row)[0]);
  }
  function seek(seconds) {
    if (!row) return;
    if (state.status === "playing") play(itemOf(state.track), Math.max(0, Math.min(seconds, state.duration - 0.001)));
    else dispatch({ type: "seek", held: seconds });
  }
  function choose(category) {
    var item = itemOf(category);
    if (!item) return;
    if (state.status === "playing") play(item); else dispatch({ type: "track", track: category });
  }
  function neighbour(step) {
    var rows = all(document, ".sample:not([hidden])"), next = rows[rows.indexOf(row) + step];
    if (!next) { say(step > 0 ? "This is the last clip." : "This is the first clip."); return; }
    var same = tracksOf(next).filter(function (item) { return categoryOf(item) === state.track; })[0];
    play(same || tracksOf(next)[0]);
    next.scrollIntoView({ block: "nearest" });
  }
  /* A change of loop or region is heard at once, at the place where the sound is. */
  function relay() { if (state.status === "playing") play(itemOf(state.track), position()); }

  /* ---- Blind trials ---- */

  function blindPair() { return [part("blind-first").value, part("blind-second").value]; }
  function startBlind() {
    var seed = new Uint32Array(1);
    crypto.getRandomValues(seed);
    if (state.status === "playing") pause();
    if (!dispatch({ type: "blind", pair: blindPair(), test: part("blind-test").value, planned: parseInt(part("blind-planned").value, 10), seed: seed[0] })) {
      say("Choose two different systems.");
      return;
    }
    all(row, ".track").forEach(function (item) { item.classList.remove("active"); });
    if (!engine) engine = pickEngine();
    set(bar, "data-engine", engine.name);
    /* Both are there before the first is heard, so that waiting tells nothing. */
    Promise.all(state.blind.pair.map(function (category) { return engine.load(addresses(itemOf(category))); })).then(
      function () { say("Trial 1. Keys 1, 2 and 3 play A, B and X."); },
      function () { say("These files cannot be loaded here."); }
    );
    part("blind-hear-A").focus();
  }
  function hear(letter) {
    if (!state.blind || state.blind.revealed) return;
    if (letter === "X" && state.blind.test !== "abx") letter = "A";
    dispatch({ type: "hear", letter: letter });
    play(itemOf(core.behind(state.blind, letter)));
  }
  function answer(letter) {
    if (!state.blind || state.blind.revealed) return;
    if (!core.answerable(state.blind)) { say(state.blind.test === "abx" ? "Listen to X and to A or B first." : "Listen to A and to B first."); return; }
    if (state.status === "playing") pause();
    dispatch({ type: "answer", answer: letter });
    var count = state.blind.answers.length;
    say(state.blind.revealed ? part("blind-result").textContent : "Answer " + count + " kept. Trial " + (count + 1) + ".");
  }
  function openBlind(wanted) { part("blind").hidden = !wanted; set(part("blind-open"), "aria-expanded", String(wanted)); }
  function stopBlind() { if (state.status === "playing") pause(); dispatch({ type: "unblind" }); openBlind(false); }

  /* ---- What is seen ---- */

  function fill() {
    var group = part("systems"), first = part("blind-first"), second = part("blind-second");
    group.textContent = first.textContent = second.textContent = "";
    state.tracks.forEach(function (one, index) {
      var button = make("button", { type: "button" });
      button.append(make("kbd", { textContent: String(index + 1) }), one.name);
      button.dataset.category = one.category;
      group.append(button);
      [first, second].forEach(function (box) { box.append(make("option", { value: one.category, textContent: one.name })); });
    });
    second.selectedIndex = Math.min(1, state.tracks.length - 1);
    part("title").textContent = titleOf(row);
    set(part("title"), "href", "#" + row.id);
    part("end").textContent = state.duration.toFixed(2);
    part("blind-open").hidden = state.tracks.length < 2;
    bar.hidden = false;
    root.classList.add("has-player");
    show();
  }
  function leave(sample) {
    sample.classList.remove("sounding");
    all(sample, ".track").forEach(function (item) { item.classList.remove("active"); mark(linkOf(item), false); });
    all(sample, ".playhead, .region").forEach(function (line) { line.remove(); });
  }
  function mark(link, pressed) {
    if (link.getAttribute("role") === "button") set(link, "aria-pressed", String(pressed));
    else if (pressed) set(link, "aria-current", "true"); else link.removeAttribute("aria-current");
  }
  function react(before) {
    if (state.blind !== before.blind) showBlind();
    if (state.matched !== before.matched || state.blind !== before.blind) { if (engine) engine.level(gainOf(state.track)); }
    if (state.matched !== before.matched) store("matched", state.matched ? "1" : "0");
    if (state.volume !== before.volume) { store("volume", String(state.volume)); if (engine) engine.volume(); }
    if (state.format !== before.format) store("format", state.format);
    if (state.keys !== before.keys) store("keys", state.keys ? "1" : "0");
    if (state.view !== before.view) { store("view", state.view); showView(); }
    if (state.region !== before.region || state.loop !== before.loop) showRegion();
    show();
    document.dispatchEvent(new CustomEvent("earwitness", { detail: { state: state, before: before } }));
  }
  function show() {
    set(part("loop"), "aria-pressed", String(state.loop));
    set(part("match"), "aria-pressed", String(state.matched || !!state.blind));
    part("match").disabled = !!state.blind;
    part("clear").hidden = !state.region;
    bar.classList.toggle("has-region", !!state.region);
    part("volume").value = String(Math.round(100 * state.volume));
    part("keys").checked = state.keys;
    if (!row) return;
    var playing = state.status === "playing", hidden = !!state.blind && !state.blind.revealed;
    set(bar, "data-state", state.status);
    set(bar, "data-category", hidden ? "hidden" : state.track);
    row.classList.toggle("sounding", playing);
    all(row, ".track").forEach(function (item) {
      var active = !hidden && categoryOf(item) === state.track;
      item.classList.toggle("active", active);
      if (!hidden) item.classList.toggle("shown", active);
      mark(linkOf(item), active && playing);
    });
    part("systems").hidden = hidden;
    all(part("systems"), "button").forEach(function (button) {
      var pressed = button.dataset.category === state.track, group = part("systems");
      if (pressed && button.getAttribute("aria-pressed") !== "true") {
        var left = button.offsetLeft - group.offsetLeft;
        if (left < group.scrollLeft || left + button.offsetWidth > group.scrollLeft + group.clientWidth) group.scrollLeft = left - 20;
      }
      set(button, "aria-pressed", String(pressed));
    });
    set(part("toggle"), "aria-label", playing ? "Pause" : "Play");
    draw();
  }
  function showBlind() {
    var blind = state.blind, live = !!blind && !blind.revealed, abx = !!blind && blind.test === "abx";
    part("blind-setup").hidden = !!blind;
    part("blind-trial").hidden = !live;
    part("blind-outcome").hidden = !blind || live;
    bar.classList.toggle("is-blind", live);
    if (!blind) return;
    if (live) {
      openBlind(true);
      part("blind-count").textContent = "Trial " + (blind.answers.length + 1) + " of " + blind.planned;
      part("blind-question").textContent = abx ? "Is X the same as A or as B?" : "Which of the two is better?";
      ["A", "B", "X"].forEach(function (letter) {
        var button = part("blind-hear-" + letter);
        set(button, "aria-pressed", String(blind.letter === letter));
        button.hidden = letter === "X" && !abx;
      });
      ["A", "B"].forEach(function (letter) {
        part("blind-say-" + letter).textContent = abx ? "X is " + letter : letter + " is better";
        set(part("blind-say-" + letter), "aria-disabled", String(!core.answerable(blind)));
      });
      return;
    }
    var found = core.verdict(blind), names = blind.pair.map(function (category) { return label(category); });
    var counted = abx ? found.hits + " of " + found.n + " right" : names[0] + " preferred in " + found.hits + " of " + found.n + " trials, " + names[1] + " in " + (found.n - found.hits);
    var chanceText = found.p < 0.0001 ? "less than 0.0001" : found.p.toFixed(4);
    part("blind-result").textContent = !found.n ? "No trial was answered."
      : !found.complete ? counted + ". Stopped before the " + blind.planned + " trials that were planned: no p value is given, since stopping where it looks good would make it too small."
      : counted + "; exact " + (abx ? "one-sided" : "two-sided") + " binomial p = " + chanceText + ". " +
        (found.p <= 0.05 ? (abx ? "You can tell them apart." : "The preference is more than chance.") : abx ? "Not shown to be more than guessing; so few trials prove little." : "No preference is shown; so few trials prove little.");
    var body = part("blind-rows");
    body.textContent = "";
    blind.answers.forEach(function (one, index) {
      var line = make("tr");
      [String(index + 1), label(one.a), one.x, abx ? one.said : label(one.said === "A" ? one.a : blind.pair[one.a === blind.pair[0] ? 1 : 0]), abx ? (one.hit ? "right" : "wrong") : ""].forEach(function (text, column) {
        if (!abx && (column === 2 || column === 4)) text = "–";
        line.append(make("td", { textContent: text }));
      });
      body.append(line);
    });
    part("blind-seed").textContent = "Seed " + (blind.seed >>> 0) + (engine && engine.name === "elements" ? "; opened from disk, switching is not exact to the sample" : "; switched at the same sample") + "; lossless files where the browser plays them, equal loudness.";
    part("blind-again").focus();
  }

  /* Pictures of the row that is held, with the place where the time axis begins and ends. */
  function pictures() {
    return row ? all(row, ".picture[data-left]").map(function (box) {
      return { box: box, left: parseFloat(box.getAttribute("data-left")), right: parseFloat(box.getAttribute("data-right")) };
    }) : [];
  }
  function overlay(box, kind) {
    var line = box.querySelector(":scope > ." + kind);
    if (!line) { line = make("span", { className: kind }); set(line, "aria-hidden", "true"); box.append(line); }
    return line;
  }
  function showRegion() {
    var region = state.region, seekRegion = part("region");
    seekRegion.hidden = !region;
    if (region) {
      seekRegion.style.left = (100 * region.from / state.duration).toFixed(3) + "%";
      seekRegion.style.width = (100 * (region.to - region.from) / state.duration).toFixed(3) + "%";
      seekRegion.classList.toggle("off", !state.loop);
    }
    pictures().forEach(function (one) {
      if (!region) { all(one.box, ".region").forEach(function (line) { line.remove(); }); return; }
      var line = overlay(one.box, "region"), span = one.right - one.left;
      line.classList.toggle("off", !state.loop);
      line.style.left = (100 * (one.left + span * region.from / state.duration)).toFixed(3) + "%";
      line.style.width = (100 * span * (region.to - region.from) / state.duration).toFixed(3) + "%";
    });
  }
  function draw() {
    var place = position(), end = state.duration || 1;
    set(bar, "data-position", place.toFixed(4));
    part("now").textContent = place.toFixed(2);
    part("seek").value = String(Math.round(1000 * place / end));
    set(part("seek"), "aria-valuetext", place.toFixed(1) + " of " + end.toFixed(1) + " seconds");
    pictures().forEach(function (one) {
      overlay(one.box, "playhead").style.left = (100 * (one.left + (one.right - one.left) * place / end)).toFixed(3) + "%";
    });
  }
  function tick() {
    frame = 0;
    if (state.status !== "playing") return;
    if (engine.turn) engine.turn();
    if (state.status !== "playing") return;
    draw();
    frame = requestAnimationFrame(tick);
  }

  /* ---- Views: which picture stands under the playhead ---- */

  var WORDS = { spectrogram: "Spectrogram", waveform: "Waveform", difference: "Difference", codemap_top: "Top codes", codemap_bottom: "Bottom codes" };
  var originals = new Map(), views = ["spectrogram"], switches = [];

  function wordsOf(view) { return WORDS[view] || view.replace(/_/g, " "); }
  function showView() {
    switches.forEach(function (button) { set(button, "aria-pressed", String(button.dataset.view === state.view)); });
    all(document, ".sample").forEach(function (sample) {
      var found = new Map();
      all(sample, "figure[data-view]").forEach(function (figure) { if (figure.dataset.view === state.view) found.set(figure.dataset.category, figure.querySelector(".picture")); });
      all(sample, ".tracks > .track > .picture").forEach(function (slot) {
        var other = found.get(categoryOf(slot.parentNode));
        if (!originals.has(slot)) {
          if (!other) return;
          originals.set(slot, { picture: slot.querySelector("picture"), href: slot.getAttribute("href"), left: slot.getAttribute("data-left"), right: slot.getAttribute("data-right") });
        }
        var first = originals.get(slot), use = other ? { picture: other.querySelector("picture").cloneNode(true), href: other.getAttribute("href"), left: other.getAttribute("data-left"), right: other.getAttribute("data-right") } : first;
        slot.querySelector("picture").replaceWith(use.picture);
        set(slot, "href", use.href);
        ["left", "right"].forEach(function (end) { if (use[end] === null) slot.removeAttribute("data-" + end); else set(slot, "data-" + end, use[end]); });
      });
    });
    if (row) { showRegion(); draw(); }
  }
  function cycleView() { dispatch({ type: "view", view: views[(views.indexOf(state.view) + 1) % views.length] }); say("Pictures: " + wordsOf(state.view)); }

  function setUpViews() {
    var found = all(document, "figure[data-view]").map(function (figure) { return figure.dataset.view; });
    views = Object.keys(WORDS).concat(found).filter(function (view, index, list) { return list.indexOf(view) === index && (view === "spectrogram" || found.indexOf(view) >= 0); });
    if (views.length < 2) return;
    all(document, "[data-views]").forEach(function (place) {
      place.append(make("span", { className: "views-label", textContent: "Pictures" }));
      views.forEach(function (view) {
        var button = make("button", { type: "button", textContent: wordsOf(view) });
        button.dataset.view = view;
        set(button, "aria-pressed", String(view === state.view));
        switches.push(button);
        place.append(button);
      });
      on(place, "click", function (event) { var button = event.target.closest("button[data-view]"); if (button) dispatch({ type: "view", view: button.dataset.view }); });
      place.hidden = false;
      undo.push(function () { place.textContent = ""; place.hidden = true; });
    });
  }

  /* ---- Pointer on the pictures: a click seeks, a drag marks the region of the loop ---- */

  var drag = null;

  function shareAt(box, x) {
    var place = box.getBoundingClientRect(), left = parseFloat(box.getAttribute("data-left")), right = parseFloat(box.getAttribute("data-right"));
    return Math.max(0, Math.min(1, ((x - place.left) / place.width - left) / (right - left)));
  }
  on(document, "pointerdown", function (event) {
    var box = event.target.closest(".sample .picture[data-left]");
    drag = box && event.button === 0 && event.pointerType !== "touch" ? { box: box, x: event.clientX, moved: false } : null;
  });
  on(document, "pointermove", function (event) {
    if (!drag) return;
    if (!drag.moved && Math.abs(event.clientX - drag.x) < DRAG_PX) return;
    drag.moved = true;
    var sample = drag.box.closest(".sample"), total = durationOf(sample);
    if (sample !== row) hold(sample, categoryOf(drag.box.closest("[data-category]")));
    dispatch({ type: "region", region: { from: shareAt(drag.box, drag.x) * total, to: shareAt(drag.box, event.clientX) * total } });
    event.preventDefault();
  });
  on(document, "pointerup", function () {
    if (drag && drag.moved) { var done = drag; setTimeout(function () { if (drag === done) drag = null; }, 0); relay(); }
    else drag = null;
  });
  on(document, "dragstart", function (event) { if (event.target.closest && event.target.closest(".picture[data-left]")) event.preventDefault(); });

  on(document, "click", function (event) {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    var cell = event.target.closest("[data-row]");
    if (cell) {
      var target = document.getElementById(cell.getAttribute("data-row"));
      if (!target) return;
      event.preventDefault();
      var wanted = tracksOf(target).filter(function (item) { return categoryOf(item) === (cell.closest("[data-system]") || cell).getAttribute("data-system"); })[0];
      play(wanted || tracksOf(target)[0]);
      return;
    }
    var link = event.target.closest(".play");
    if (link && link.closest(".sample")) {
      var item = link.closest(".track");
      event.preventDefault();
      if (state.blind && !state.blind.revealed && item.closest(".sample") === row) { say("Labels are hidden during a blind trial."); return; }
      if (item.closest(".sample") === row && categoryOf(item) === state.track && state.status === "playing") pause(); else play(item);
      return;
    }
    var picture = event.target.closest(".sample .picture[data-left]");
    /* A click from the keyboard has no place on the picture: it opens the file. */
    if (picture && event.detail) {
      event.preventDefault();
      if (drag && drag.moved) { drag = null; return; }
      var sample = picture.closest(".sample"), place = shareAt(picture, event.clientX) * durationOf(sample);
      var owner = all(sample, ".track").filter(function (one) { return categoryOf(one) === picture.closest("[data-category]").getAttribute("data-category"); })[0];
      if (state.blind && !state.blind.revealed && sample === row) { seek(place); return; }
      play(owner, Math.min(place, durationOf(sample) * 0.999));
    }
  });

  /* ---- Keys ---- */

  function typing(target) {
    return target.closest && target.closest("select, textarea, [contenteditable], dialog, [data-keys=own], input:not([type=checkbox], [type=radio], [type=button])");
  }
  var KEYS = {
    " ": function (event) { if (event.target.closest && event.target.closest("a, button, summary, input")) return false; toggle(); return true; },
    arrowleft: function () { seek(position() - STEP_S); },
    arrowright: function () { seek(position() + STEP_S); },
    home: function (event) { if (event.shiftKey) return false; seek(0); return true; },
    "[": function () { mark1(position()); },
    "]": function () { mark2(position()); },
    c: function () { clearRegion(); },
    l: function () { setLoop(!state.loop); },
    m: function () { setMatched(!state.matched); },
    v: function () { cycleView(); },
    n: function () { neighbour(1); },
    p: function () { neighbour(-1); },
    b: function () {
      if (state.blind && !state.blind.revealed) { answer("B"); return true; }
      openBlind(part("blind").hidden);
      part("blind-open").focus();
      return true;
    },
    a: function () { if (!state.blind || state.blind.revealed) return false; answer("A"); return true; },
    "+": function () { dispatch({ type: "volume", volume: state.volume + 0.05 }); },
    "-": function () { dispatch({ type: "volume", volume: state.volume - 0.05 }); }
  };
  var start = null;
  function mark1(place) { start = place; if (state.region && state.region.to > place + 0.04) setRegion(place, state.region.to); else setRegion(place, state.duration); }
  function mark2(place) { setRegion(state.region ? Math.min(state.region.from, place) : start === null ? 0 : start, place); }
  function setRegion(from, to) { if (dispatch({ type: "region", region: { from: from, to: to } })) { relay(); say("Loop from " + state.region.from.toFixed(2) + " to " + state.region.to.toFixed(2) + " seconds"); } }
  function clearRegion() { start = null; if (dispatch({ type: "region", region: null })) { relay(); say("The loop is the whole clip"); } }
  function setLoop(wanted) { if (dispatch({ type: "loop", on: wanted })) { relay(); say(wanted ? "Loop on" : "Loop off"); } }
  function setMatched(wanted) { if (dispatch({ type: "matched", on: wanted })) say(wanted ? "Equal loudness" : "True levels"); else if (state.blind) say("Blind trials are at equal loudness."); }

  on(document, "keydown", function (event) {
    var key = event.key.toLowerCase(), number = parseInt(key, 10);
    if (event.key === " " && event.target.closest && event.target.closest(".play")) { event.preventDefault(); event.target.click(); return; }
    if (key === "escape" && bar.contains(event.target) && !part("blind").hidden && (!state.blind || state.blind.revealed)) {
      openBlind(false);
      part("blind-open").focus();
      return;
    }
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (key === "?") { openHelp(); event.preventDefault(); return; }
    if (!row || !state.keys) return;
    if (state.blind && !state.blind.revealed && number >= 1 && number <= 3) hear("ABX"[number - 1]);
    else if ((!state.blind || state.blind.revealed) && number >= 1 && number <= state.tracks.length) choose(state.tracks[number - 1].category);
    else if (KEYS[key]) { if (KEYS[key](event) === false) return; }
    else return;
    event.preventDefault();
  });

  function openHelp() { var help = part("help"); if (help.showModal && !help.open) help.showModal(); }

  /* ---- Controls ---- */

  on(part("toggle"), "click", toggle);
  on(part("loop"), "click", function () { setLoop(!state.loop); });
  on(part("from"), "click", function () { mark1(position()); });
  on(part("to"), "click", function () { mark2(position()); });
  on(part("clear"), "click", clearRegion);
  on(part("match"), "click", function () { setMatched(!state.matched); });
  on(part("systems"), "click", function (event) { var button = event.target.closest("button"); if (button) choose(button.dataset.category); });
  on(part("seek"), "input", function () { seek(state.duration * part("seek").value / 1000); });
  on(part("volume"), "input", function () { dispatch({ type: "volume", volume: part("volume").value / 100 }); });
  on(part("format"), "change", function () { dispatch({ type: "format", format: part("format").value }); relay(); });
  on(part("help-open"), "click", openHelp);
  on(part("help-close"), "click", function () { part("help").close(); });
  on(part("keys"), "change", function () { dispatch({ type: "keys", on: part("keys").checked }); });
  on(part("blind-open"), "click", function () { openBlind(part("blind").hidden); });
  on(part("blind-start"), "click", startBlind);
  on(part("blind-stop"), "click", function () { if (state.status === "playing") pause(); dispatch({ type: "reveal" }); });
  on(part("blind-again"), "click", stopBlind);
  ["A", "B", "X"].forEach(function (letter) { on(part("blind-hear-" + letter), "click", function () { hear(letter); }); });
  ["A", "B"].forEach(function (letter) { on(part("blind-say-" + letter), "click", function () { answer(letter); }); });
  on(window, "pagehide", function () { if (state.status === "playing") pause(); });
  on(document, "earwitness-tracks", function () { if (row) { dispatch({ type: "row", row: row.id, tracks: facts(row) }); fill(); } });

  /* ---- Start ---- */

  root.classList.add("js");
  all(document, ".track > .track-bar > .play").forEach(function (link) { set(link, "role", "button"); set(link, "aria-pressed", "false"); });
  undo.push(function () {
    all(document, ".play[role=button]").forEach(function (link) { link.removeAttribute("role"); link.removeAttribute("aria-pressed"); });
    root.classList.remove("js", "has-player");
  });
  (function () {
    var box = part("format"), first = document.querySelector(".play"), offered = document.querySelector("[data-forms]");
    var there = offered ? offered.getAttribute("data-forms").split(" ") : playable.filter(function (name) { return first && first.hasAttribute("data-" + name); });
    box.append(make("option", { value: "auto", textContent: "auto" }));
    playable.filter(function (name) { return there.indexOf(name) >= 0; }).forEach(function (name) { box.append(make("option", { value: name, textContent: name })); });
    var volume = parseFloat(store("volume")), wish = store("format"), view = store("view");
    var kept = { matched: store("matched") !== "0", keys: store("keys") !== "0" };
    if (isFinite(volume)) kept.volume = Math.max(0, Math.min(1, volume));
    if (wish && all(box, "option").some(function (option) { return option.value === wish; })) kept.format = wish;
    state = Object.freeze(Object.assign({}, state, kept));
    box.value = state.format;
    setUpViews();
    if (view && views.indexOf(view) >= 0) dispatch({ type: "view", view: view });
    show();
  })();

  function dispose() {
    if (engine) engine.close();
    engine = null;
    cancelAnimationFrame(frame);
    listening.abort();
    if (row) leave(row);
    originals.forEach(function (first, slot) {
      slot.querySelector("picture").replaceWith(first.picture);
      set(slot, "href", first.href);
    });
    part("systems").textContent = part("format").textContent = part("blind-first").textContent = part("blind-second").textContent = part("blind-rows").textContent = "";
    bar.hidden = true;
    undo.forEach(function (take) { take(); });
    row = null;
    state = core.EMPTY;
  }

  window.Earwitness.player = {
    play: play, pause: pause, hold: hold, dispatch: dispatch, dispose: dispose,
    state: function () { return state; },
    position: position
  };
})();
