/* One player for the whole page. Rows are plain links to audio files; this script makes them switch at the same instant.
   Decoded buffers on one clock where the files can be fetched, <audio> elements where they cannot (a page opened from disk). */
(function () {
  "use strict";

  var FADE_S = 0.01, LEAD_S = 0.02, STEP_S = 0.25, MAX_CUT_DB = 12, KEPT_BUFFERS = 24;
  var TYPES = { ogg: 'audio/ogg; codecs="vorbis"', flac: "audio/flac", wav: "audio/wav" };

  var bar = document.getElementById("player");
  if (!bar) return;
  document.documentElement.classList.add("js");

  function part(name) { return document.getElementById("player-" + name); }
  function all(root, selector) { return Array.prototype.slice.call(root.querySelectorAll(selector)); }
  function dB(value) { return Math.pow(10, value / 20); }

  /* ---- What is heard ---- */
  var row = null, track = null, state = "empty", loop = false, matched = true, volume = 0.8, format = "ogg", request = 0, frame = 0;
  var engine = null;

  function store(key, value) {
    try { if (value === undefined) return localStorage.getItem("earwitness-" + key); localStorage.setItem("earwitness-" + key, value); }
    catch (refused) { return null; }
    return null;
  }

  function tracksOf(sample) { return all(sample, ".track:not([hidden])"); }
  function linkOf(item) { return item.querySelector(".play"); }
  function urlOf(item) {
    var link = linkOf(item);
    return new URL(link.getAttribute("data-" + format) || link.getAttribute("href"), document.baseURI).href;
  }
  function duration() { return row ? parseFloat(row.getAttribute("data-duration")) || 0 : 0; }

  /* Every system is turned down to the quietest of its row, but by no more than MAX_CUT_DB; nothing is turned up. */
  function gainOf(item) {
    if (!matched) return 1;
    var own = parseFloat(item.getAttribute("data-lufs"));
    if (!isFinite(own)) return 1;
    var levels = tracksOf(row).map(function (t) { return parseFloat(t.getAttribute("data-lufs")); }).filter(isFinite);
    var target = Math.max(Math.min.apply(null, levels), Math.max.apply(null, levels) - MAX_CUT_DB);
    return dB(Math.min(0, target - own));
  }

  /* ---- Engine 1: Web Audio ---- */
  function BufferEngine() {
    var Context = window.AudioContext || window.webkitAudioContext;
    var context = new Context(), master = context.createGain(), buffers = new Map(), now = null;
    master.connect(context.destination);
    master.gain.value = volume;

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
    function at(time) {
      var length = now.end, place = now.offset + Math.max(0, time - now.started);
      return now.loops ? place % length : Math.min(place, length);
    }
    function halt(voice, when) {
      voice.source.onended = null;
      voice.gain.gain.setValueAtTime(voice.level, when);
      voice.gain.gain.linearRampToValueAtTime(0, when + FADE_S);
      voice.source.stop(when + FADE_S + 0.005);
    }
    function begin(buffer, offset, when, level, ended) {
      var source = context.createBufferSource(), gain = context.createGain(), end = Math.min(duration() || buffer.duration, buffer.duration);
      source.buffer = buffer;
      source.loop = loop;
      source.loopEnd = end;
      source.connect(gain).connect(master);
      gain.gain.setValueAtTime(0, when);
      gain.gain.linearRampToValueAtTime(level, when + FADE_S);
      if (loop) source.start(when, offset); else source.start(when, offset, Math.max(0, end - offset));
      source.onended = ended;
      return { source: source, gain: gain, started: when, offset: offset, end: end, loops: loop, level: level, buffer: buffer };
    }
    return {
      name: "buffers",
      load: function (item) { return load(urlOf(item)); },
      /* Starts a track; one that sounds already hands its position over at the very sample at which it is faded out. */
      start: function (item, buffer, offset, keep, ended) {
        if (context.state !== "running") context.resume();
        var when = context.currentTime + LEAD_S, place = offset;
        if (now) { if (keep) place = at(when); halt(now, when); }
        if (place >= Math.min(duration() || buffer.duration, buffer.duration)) place = 0;
        now = begin(buffer, place, when, gainOf(item), ended);
      },
      stop: function () { if (now) halt(now, context.currentTime); now = null; },
      position: function () { return now ? at(context.currentTime) : null; },
      level: function (item) {
        if (!now) return;
        now.level = gainOf(item);
        now.gain.gain.cancelScheduledValues(context.currentTime);
        now.gain.gain.setTargetAtTime(now.level, context.currentTime, 0.015);
      },
      volume: function () { master.gain.setTargetAtTime(volume, context.currentTime, 0.015); }
    };
  }

  /* ---- Engine 2: <audio> elements, one per system of the row ---- */
  function ElementEngine() {
    var elements = new Map(), now = null;
    function element(url) {
      if (!elements.has(url)) {
        if (elements.size >= KEPT_BUFFERS) { elements.forEach(function (e) { e.pause(); e.removeAttribute("src"); }); elements.clear(); }
        var fresh = new Audio();
        fresh.preload = "auto";
        fresh.src = url;
        elements.set(url, fresh);
      }
      return elements.get(url);
    }
    return {
      name: "elements",
      load: function (item) {
        var audio = element(urlOf(item));
        return new Promise(function (done, fail) {
          if (audio.readyState >= 2) { done(audio); return; }
          audio.addEventListener("loadeddata", function () { done(audio); }, { once: true });
          audio.addEventListener("error", function () { elements.delete(urlOf(item)); fail(new Error("not playable")); }, { once: true });
          audio.load();
        });
      },
      start: function (item, audio, offset, keep, ended) {
        var place = now && keep ? now.currentTime : offset;
        if (place >= (duration() || audio.duration)) place = 0;
        if (now && now !== audio) { now.onended = null; now.pause(); }
        audio.volume = Math.min(1, volume * gainOf(item));
        audio.loop = loop;
        audio.currentTime = place;
        audio.onended = ended;
        now = audio;
        return audio.play();
      },
      stop: function () { if (now) { now.onended = null; now.pause(); } now = null; },
      position: function () { return now ? now.currentTime : null; },
      level: function (item) { if (now) now.volume = Math.min(1, volume * gainOf(item)); },
      volume: function () { if (now && track) now.volume = Math.min(1, volume * gainOf(track)); }
    };
  }

  function pickEngine() {
    var canDecode = (window.AudioContext || window.webkitAudioContext) && window.fetch && location.protocol !== "file:";
    return canDecode ? BufferEngine() : ElementEngine();
  }

  /* ---- Transport ---- */
  var held = 0; /* the position while nothing sounds */

  function position() {
    var place = engine && state === "playing" ? engine.position() : null;
    return Math.min(place === null ? held : place, duration());
  }
  function say(text) { part("status").textContent = text; }

  function play(item, from) {
    var sample = item.closest(".sample"), sameRow = sample === row, wasPlaying = state === "playing", ticket = ++request;
    if (!engine) engine = pickEngine();
    bar.setAttribute("data-engine", engine.name);
    if (!sameRow) { if (wasPlaying) engine.stop(); state = "loading"; held = 0; wasPlaying = false; }
    if (from !== undefined) held = from;
    select(sample, item);
    var keep = sameRow && wasPlaying && from === undefined;
    engine.load(item).then(function (sound) {
      if (ticket !== request) return null;
      return engine.start(item, sound, held, keep, ended);
    }).then(function (late) {
      if (late === null || ticket !== request) return;
      state = "playing";
      show();
      say(item.getAttribute("data-name") + ", " + row.getAttribute("data-title"));
      /* The others of the row follow, so that the first switch is as quick as the last. */
      tracksOf(row).forEach(function (other) { if (other !== item) engine.load(other).catch(function () {}); });
      if (!frame) frame = requestAnimationFrame(tick);
    }).catch(function () {
      if (ticket !== request) return;
      if (engine.name === "buffers") { engine.stop(); engine = ElementEngine(); state = "loading"; play(item, held); return; }
      var next = ["ogg", "flac", "wav"].filter(function (f) { return f !== format && canPlay(f) && linkOf(item).getAttribute("data-" + f); });
      state = "paused";
      show();
      say("This file cannot be played here." + (next.length ? " Try the format " + next[0] + "." : ""));
    });
  }
  function pause() {
    held = position();
    request++;
    if (engine) engine.stop();
    state = "paused";
    show();
  }
  function ended() {
    if (engine) engine.stop();
    held = 0;
    state = "paused";
    show();
  }
  function toggle() { if (!track) return; if (state === "playing") pause(); else play(track); }
  function seek(seconds) {
    var place = Math.max(0, Math.min(seconds, duration() - 0.001));
    if (state === "playing") play(track, place); else { held = place; show(); }
  }
  function neighbour(step) {
    var rows = all(document, ".sample:not([hidden])"), next = rows[rows.indexOf(row) + step];
    if (!next) return;
    var category = track.getAttribute("data-category"), found = tracksOf(next).filter(function (t) { return t.getAttribute("data-category") === category; });
    play(found[0] || tracksOf(next)[0]);
    next.scrollIntoView({ block: "nearest" });
  }

  /* ---- What is seen ---- */
  function select(sample, item) {
    if (sample !== row) {
      if (row) leave(row);
      row = sample;
      var group = part("systems");
      group.textContent = "";
      tracksOf(row).forEach(function (other, index) {
        var button = document.createElement("button"), key = document.createElement("kbd");
        button.type = "button";
        key.textContent = String(index + 1);
        button.append(key, other.getAttribute("data-name"));
        button.dataset.category = other.getAttribute("data-category");
        button.setAttribute("aria-pressed", "false");
        group.append(button);
      });
      part("title").textContent = row.getAttribute("data-title");
      part("title").setAttribute("href", "#" + row.id);
      part("end").textContent = duration().toFixed(2);
      bar.hidden = false;
    }
    track = item;
    show();
  }
  function leave(sample) {
    sample.classList.remove("sounding");
    all(sample, ".track").forEach(function (item) { item.classList.remove("active"); linkOf(item).setAttribute("aria-pressed", "false"); });
    all(sample, ".playhead").forEach(function (line) { line.hidden = true; });
  }
  function show() {
    if (!row) return;
    var playing = state === "playing";
    bar.setAttribute("data-state", state);
    bar.setAttribute("data-category", track.getAttribute("data-category"));
    row.classList.toggle("sounding", playing);
    all(row, ".track").forEach(function (item) {
      var on = item === track;
      item.classList.toggle("active", on);
      item.classList.toggle("shown", on);
      linkOf(item).setAttribute("aria-pressed", String(on && playing));
    });
    all(part("systems"), "button").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.category === track.getAttribute("data-category")));
    });
    part("toggle").setAttribute("aria-label", playing ? "Pause" : "Play");
    part("loop").setAttribute("aria-pressed", String(loop));
    part("match").setAttribute("aria-pressed", String(matched));
    draw();
  }
  function draw() {
    var place = position(), end = duration() || 1;
    bar.setAttribute("data-position", place.toFixed(4));
    part("now").textContent = place.toFixed(2);
    part("seek").value = String(Math.round(1000 * place / end));
    part("seek").setAttribute("aria-valuetext", place.toFixed(1) + " of " + end.toFixed(1) + " seconds");
    all(row, ".tracks .picture[data-left] .playhead").forEach(function (line) {
      var left = parseFloat(line.parentNode.getAttribute("data-left")), right = parseFloat(line.parentNode.getAttribute("data-right"));
      line.hidden = false;
      line.style.left = (100 * (left + (right - left) * place / end)).toFixed(3) + "%";
    });
  }
  function tick() {
    frame = 0;
    if (state !== "playing") return;
    /* An element plays the padding that a codec adds; the recording ends where the manifest says. */
    if (engine.name === "elements" && !loop && engine.position() >= duration()) { ended(); return; }
    draw();
    frame = requestAnimationFrame(tick);
  }

  /* ---- Formats ---- */
  function canPlay(name) { return !!document.createElement("audio").canPlayType(TYPES[name]); }
  (function () {
    var box = part("format"), first = document.querySelector(".play");
    ["ogg", "flac", "wav"].forEach(function (name) {
      if (!canPlay(name) || (first && !first.hasAttribute("data-" + name))) return;
      var option = document.createElement("option");
      option.value = option.textContent = name;
      box.append(option);
    });
    var wish = store("format");
    if (wish && all(box, "option").some(function (o) { return o.value === wish; })) box.value = wish;
    format = box.value || "wav";
    box.addEventListener("change", function () { format = box.value; store("format", format); if (track && state === "playing") play(track, position()); });
  })();

  /* ---- Events ---- */
  all(document, ".play").forEach(function (link) { link.setAttribute("role", "button"); link.setAttribute("aria-pressed", "false"); });
  document.addEventListener("click", function (event) {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    var link = event.target.closest(".play");
    if (link) {
      var item = link.closest(".track");
      event.preventDefault();
      if (item === track && state === "playing") pause(); else play(item);
      return;
    }
    var picture = event.target.closest(".tracks .picture[data-left]");
    /* A click from the keyboard has no place on the picture: it opens the file. */
    if (picture && event.detail) {
      event.preventDefault();
      var box = picture.getBoundingClientRect(), left = parseFloat(picture.getAttribute("data-left")), right = parseFloat(picture.getAttribute("data-right"));
      var share = ((event.clientX - box.left) / box.width - left) / (right - left), clicked = picture.closest(".track");
      var total = parseFloat(clicked.closest(".sample").getAttribute("data-duration")) || 0;
      if (clicked.closest(".sample") !== row) { if (state === "playing") pause(); select(clicked.closest(".sample"), clicked); }
      play(clicked, Math.max(0, Math.min(share, 0.999)) * total);
    }
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === " " && event.target.closest && event.target.closest(".play")) { event.preventDefault(); event.target.click(); return; }
    if (!row || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    var tag = event.target.tagName;
    if (tag === "SELECT" || tag === "TEXTAREA" || (tag === "INPUT" && event.target.type !== "checkbox")) return;
    var onControl = event.target.closest && event.target.closest("a, button, summary, input");
    var key = event.key.toLowerCase(), number = parseInt(key, 10), tracks = tracksOf(row);
    if (key === " " && !onControl) toggle();
    else if (key === "arrowleft") seek(position() - STEP_S);
    else if (key === "arrowright") seek(position() + STEP_S);
    else if (key === "l") setLoop(!loop);
    else if (key === "m") setMatched(!matched);
    else if (key === "n") neighbour(1);
    else if (key === "p") neighbour(-1);
    else if (number >= 1 && number <= tracks.length) { if (state === "playing") play(tracks[number - 1]); else select(row, tracks[number - 1]); }
    else return;
    event.preventDefault();
  });
  function setLoop(on) { loop = on; if (state === "playing") play(track, position()); show(); }
  function setMatched(on) { matched = on; store("matched", on ? "1" : "0"); if (engine && track) engine.level(track); show(); say(on ? "Equal loudness" : "True levels"); }
  part("toggle").addEventListener("click", toggle);
  part("loop").addEventListener("click", function () { setLoop(!loop); });
  part("match").addEventListener("click", function () { setMatched(!matched); });
  part("systems").addEventListener("click", function (event) {
    var button = event.target.closest("button");
    if (!button) return;
    var item = tracksOf(row).filter(function (t) { return t.getAttribute("data-category") === button.dataset.category; })[0];
    if (item) { if (state === "playing") play(item); else select(row, item); }
  });
  part("seek").addEventListener("input", function () { seek(duration() * part("seek").value / 1000); });
  part("volume").addEventListener("input", function () { setVolume(part("volume").value / 100); });
  function setVolume(value) { volume = value; store("volume", String(value)); if (engine) engine.volume(); }
  (function () {
    var saved = store("volume");
    if (saved !== null && isFinite(parseFloat(saved))) { volume = Math.max(0, Math.min(1, parseFloat(saved))); part("volume").value = String(Math.round(100 * volume)); }
    matched = store("matched") !== "0";
    part("match").setAttribute("aria-pressed", String(matched));
  })();
})();
