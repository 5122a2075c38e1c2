/* What the player decides, without a page: its state, its levels, its schedule on an audio clock, its statistics.
   Nothing here touches the document, so that the tests render and check the very code that plays. */
(function (scope) {
  "use strict";

  var FADE_S = 0.008, MAX_CUT_DB = 12, AHEAD_S = 1.5, CURVE_POINTS = 257;

  /* ---- Levels ---- */

  /* Gains that bring the tracks of a row to one loudness: louder ones are turned down to the quietest, by at most
     MAX_CUT_DB. No gain is above 1, so that no file can clip that did not clip before. */
  function gains(loudness, matched) {
    var known = loudness.filter(function (level) { return isFinite(level); });
    if (!matched || !known.length) return loudness.map(function () { return 1; });
    var target = Math.max(Math.min.apply(null, known), Math.max.apply(null, known) - MAX_CUT_DB);
    return loudness.map(function (level) { return isFinite(level) ? Math.pow(10, Math.min(0, target - level) / 20) : 1; });
  }

  /* Formats in the order in which they are to be tried: lossless first where a codec would touch the comparison. */
  function formats(available, wish, lossless) {
    var order = lossless ? ["flac", "wav", "ogg"] : ["ogg", "flac", "wav"];
    if (wish && wish !== "auto") order = [wish].concat(order.filter(function (name) { return name !== wish; }));
    return order.filter(function (name) { return available.indexOf(name) >= 0; });
  }

  /* ---- Where in a clip ---- */

  /* The place in the clip `elapsed` seconds after it was started at `place`; a loop runs from..to once it was reached. */
  function placeAfter(place, elapsed, loop, end) {
    var now = place + Math.max(0, elapsed);
    if (loop && now >= loop.to) return loop.from + (now - loop.to) % (loop.to - loop.from);
    return Math.min(now, end);
  }

  /* ---- Schedule ---- */

  function raisedCosine(rising) {
    var curve = new Float32Array(CURVE_POINTS);
    for (var i = 0; i < CURVE_POINTS; i++) {
      var share = 0.5 - 0.5 * Math.cos(Math.PI * i / (CURVE_POINTS - 1));
      curve[i] = rising ? share : 1 - share;
    }
    return curve;
  }

  /* Plays one buffer at a time on a context, and hands over to another one at the same sample.

     Everything is laid out ahead on the context's clock in whole frames; nothing depends on when a timer fires. A sound
     that is cut into or out of is faded by a raised cosine of FADE_S, whose halves add up to one: the sum of two versions
     never exceeds the larger. Where a file itself begins or ends, nothing is faded. */
  function Transport(context, output) {
    var rate = context.sampleRate, fade = Math.round(FADE_S * rate) / rate;
    var rise = raisedCosine(true), fall = raisedCosine(false), voices = [], line = null;

    function frame(seconds) { return Math.round(seconds * rate) / rate; }

    function voice(when, place, stop, faded, seam) {
      var source = context.createBufferSource(), up = context.createGain(), down = context.createGain(), level = context.createGain();
      source.buffer = line.buffer;
      source.connect(up).connect(down).connect(level).connect(output);
      level.gain.value = line.level;
      /* Silent before its first frame too: a source may begin a rounding error before its curve. */
      if (faded) { up.gain.value = 0; up.gain.setValueCurveAtTime(rise, when, fade); }
      var until = when + stop - place;
      source.start(when, place);
      source.stop(until + (seam ? fade : 0));
      var one = { source: source, nodes: [source, up, down, level], down: down.gain, level: level.gain, start: when, until: until, line: line };
      if (seam) one.down.setValueCurveAtTime(fall, until, fade);
      source.onended = function () {
        voices = voices.filter(function (other) { return other !== one; });
        one.nodes.forEach(function (node) { node.disconnect(); });
        var owner = one.line;
        if (!owner.loop && owner === line) { line = null; if (owner.ended) owner.ended(); }
      };
      voices.push(one);
      return until;
    }

    function silence(one, when) {
      if (one.start >= when) { one.source.onended = null; one.source.stop(0); one.nodes.forEach(function (node) { node.disconnect(); }); return false; }
      if (one.until > when) {
        one.down.cancelScheduledValues(0);
        one.down.setValueCurveAtTime(fall, when, fade);
        one.source.stop(when + fade);
        one.until = when;
      }
      return true;
    }

    function clear(when) { voices = voices.filter(function (one) { return silence(one, when); }); }

    /* Lays out passes until a time on the clock. */
    function ahead(until) {
      while (line && line.next !== null && line.next < until) {
        var inside = line.loop && line.loop.to < line.end - 1 / rate;
        line.next = voice(line.next, line.place0, line.loop ? line.loop.to : line.end, line.faded, inside);
        if (!line.loop) { line.next = null; return; }
        line.faded = line.loop.from > 0 || inside;
        line.place0 = line.loop.from;
      }
    }

    function begin(buffer, place, when, options) {
      var end = Math.min(options.end || buffer.duration, buffer.duration), loop = options.loop;
      if (loop) {
        loop = { from: frame(Math.max(0, loop.from)), to: frame(Math.min(end, loop.to)) };
        if (loop.to - loop.from < 4 * fade) loop = null;
      }
      if (place >= (loop ? loop.to : end)) place = loop ? loop.from : 0;
      place = frame(place);
      line = {
        buffer: buffer, level: options.level, anchor: when, place: place, place0: place, loop: loop, end: end,
        next: when, faded: place > 0, ended: options.ended
      };
      ahead(when + AHEAD_S);
    }

    return {
      fade: fade,
      ahead: ahead,
      position: function (time) {
        return line ? placeAfter(line.place, time - line.anchor, line.loop, line.end) : null;
      },
      /* Starts at a place; whatever sounds is faded out from the same frame on. */
      start: function (buffer, place, when, options) {
        when = frame(when);
        clear(when);
        begin(buffer, place, when, options);
      },
      /* Hands over to another buffer at the place that the present one has then. */
      switchTo: function (buffer, when, options) {
        when = frame(when);
        var place = line ? placeAfter(line.place, when - line.anchor, line.loop, line.end) : 0;
        clear(when);
        begin(buffer, place, when, options);
      },
      stop: function (when) { clear(frame(when)); line = null; },
      level: function (value, when) {
        if (!line) return;
        line.level = value;
        voices.forEach(function (one) { if (one.line === line) one.level.setTargetAtTime(value, when, 0.012); });
      }
    };
  }

  /* ---- Blind trials ---- */

  /* A number in [0, 1) from a seed and a count, the same in every browser (mixing steps of splitmix32). */
  function chance(seed, count) {
    var z = (seed + Math.imul(count + 1, 0x9e3779b9)) | 0;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 4294967296;
  }

  /* Which of the pair is called A in a trial, and which of A and B is X. */
  function trial(seed, number) {
    return { swapped: chance(seed, 2 * number) < 0.5, x: chance(seed, 2 * number + 1) < 0.5 ? "A" : "B" };
  }

  /* Probability of at least k of n by chance alone, exact. */
  function binomialTail(k, n) {
    var term = Math.pow(0.5, n), sum = 0;
    for (var i = 0; i <= n; i++) {
      if (i >= k) sum += term;
      term = term * (n - i) / (i + 1);
    }
    return Math.min(1, sum);
  }

  /* What the answers say: ABX against guessing, one-sided; preference against indifference, two-sided. */
  function verdict(blind) {
    var n = blind.answers.length, hits = blind.answers.filter(function (one) { return one.hit; }).length;
    var p = blind.test === "abx" ? binomialTail(hits, n) : Math.min(1, 2 * binomialTail(Math.max(hits, n - hits), n));
    return { n: n, hits: hits, p: p, complete: n >= blind.planned };
  }

  /* The track behind a letter of the present trial. */
  function behind(blind, letter) {
    var now = trial(blind.seed, blind.answers.length), first = letter === "X" ? now.x : letter;
    return blind.pair[(first === "A") === now.swapped ? 1 : 0];
  }

  /* ---- State ---- */

  var EMPTY = Object.freeze({
    status: "empty", row: null, tracks: [], duration: 0, track: null, held: 0, loop: false, region: null,
    matched: true, volume: 0.8, format: "auto", view: "spectrogram", keys: true, blind: null
  });

  function change(state, fields) { return Object.freeze(Object.assign({}, state, fields)); }
  function inside(seconds, state) { return Math.max(0, Math.min(seconds, Math.max(0, state.duration - 0.001))); }

  /* The next state, from the present one and what happened. Unknown or impossible actions change nothing. */
  function reduce(state, action) {
    var blind = state.blind;
    switch (action.type) {
      case "row":
        if (action.row === state.row) return change(state, { tracks: action.tracks });
        return change(state, { status: "paused", row: action.row, tracks: action.tracks, duration: action.duration, track: action.track, held: 0, region: null, blind: null });
      case "ask": return state.row === null ? state : change(state, { status: state.status === "playing" && !action.fresh ? "playing" : "loading", track: action.track, held: action.held === undefined ? state.held : inside(action.held, state) });
      case "track": return state.tracks.some(function (one) { return one.category === action.track; }) ? change(state, { track: action.track }) : state;
      case "started": return change(state, { status: "playing" });
      case "paused": return state.row === null ? state : change(state, { status: "paused", held: inside(action.held, state) });
      case "ended": return change(state, { status: "paused", held: 0 });
      case "seek": return change(state, { held: inside(action.held, state) });
      case "loop": return change(state, { loop: action.on });
      case "region": {
        if (action.region === null) return change(state, { region: null });
        var from = inside(Math.min(action.region.from, action.region.to), state), to = Math.min(state.duration, Math.max(action.region.from, action.region.to));
        return to - from < 0.04 ? state : change(state, { region: { from: from, to: to }, loop: true });
      }
      case "matched": return blind ? state : change(state, { matched: action.on });
      case "volume": return change(state, { volume: Math.max(0, Math.min(1, action.volume)) });
      case "format": return change(state, { format: action.format });
      case "view": return change(state, { view: action.view });
      case "keys": return change(state, { keys: action.on });
      case "blind":
        if (state.row === null || action.pair[0] === action.pair[1]) return state;
        return change(state, { blind: { test: action.test, pair: action.pair, seed: action.seed | 0, planned: action.planned, answers: [], heard: {}, letter: null, revealed: false } });
      case "hear":
        if (!blind || blind.revealed) return state;
        return change(state, { blind: Object.assign({}, blind, { letter: action.letter }) });
      case "heard":
        if (!blind || blind.revealed || !blind.letter) return state;
        return change(state, { blind: Object.assign({}, blind, { heard: Object.assign({}, blind.heard, Object.fromEntries([[blind.letter, true]])) }) });
      case "answer": {
        if (!blind || blind.revealed || !answerable(blind)) return state;
        var now = trial(blind.seed, blind.answers.length), said = action.answer;
        var one = { x: now.x, a: behind(blind, "A"), said: said, hit: blind.test === "abx" ? said === now.x : behind(blind, said) === blind.pair[0] };
        var answers = blind.answers.concat([one]);
        return change(state, { blind: Object.assign({}, blind, { answers: answers, heard: {}, letter: null, revealed: answers.length >= blind.planned }) });
      }
      case "reveal": return blind ? change(state, { blind: Object.assign({}, blind, { revealed: true, letter: null }) }) : state;
      case "unblind": return change(state, { blind: null });
      default: return state;
    }
  }

  /* Nobody may answer before having heard what the question is about. */
  function answerable(blind) {
    return blind.test === "abx" ? !!blind.heard.X && !!(blind.heard.A || blind.heard.B) : !!blind.heard.A && !!blind.heard.B;
  }

  /* ---- Prepared settings ---- */

  /* The prepared mask most like a painted one, by the cells of both over the cells of either. */
  function nearestMask(painted, prepared) {
    var best = -1, share = -1;
    prepared.forEach(function (mask, index) {
      var both = 0, either = 0;
      for (var i = 0; i < mask.length; i++) {
        if (mask[i] && painted[i]) both++;
        if (mask[i] || painted[i]) either++;
      }
      var alike = either ? both / either : 0;
      if (alike > share) { share = alike; best = index; }
    });
    return { index: best, share: Math.max(0, share) };
  }

  /* The prepared value nearest to the one set, by index. */
  function nearestValue(value, values) {
    return values.reduce(function (best, one, index) { return Math.abs(one - value) < Math.abs(values[best] - value) ? index : best; }, 0);
  }

  scope.Earwitness = scope.Earwitness || {};
  scope.Earwitness.core = Object.freeze({
    FADE_S: FADE_S, MAX_CUT_DB: MAX_CUT_DB, EMPTY: EMPTY,
    gains: gains, formats: formats, placeAfter: placeAfter, Transport: Transport, chance: chance, trial: trial,
    binomialTail: binomialTail, verdict: verdict, behind: behind, answerable: answerable, reduce: reduce,
    nearestMask: nearestMask, nearestValue: nearestValue
  });
})(typeof window === "undefined" ? globalThis : window);
