/* Renders the player's own schedule offline and measures what comes out. Loaded by a page of test_switching.py, which
   receives the findings. */
(async function () {
  "use strict";
  const { Transport } = window.Earwitness.core;

  function noise(length, seed) {
    const out = new Float32Array(length);
    let state = seed >>> 0;
    for (let i = 0; i < length; i++) { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; out[i] = state / 4294967296 - 0.5; }
    return out;
  }
  function sine(length, rate, hertz, phase = 0, level = 0.5) {
    return Float32Array.from({ length }, (_, i) => level * Math.sin(2 * Math.PI * hertz * i / rate + phase));
  }
  function buffer(context, samples) {
    const made = context.createBuffer(1, samples.length, context.sampleRate);
    made.copyToChannel(samples, 0);
    return made;
  }
  async function render(rate, seconds, lay) {
    const context = new OfflineAudioContext(1, Math.round(seconds * rate), rate);
    const transport = Transport(context, context.destination);
    lay(transport, (samples) => buffer(context, samples));
    transport.ahead(seconds);
    return (await context.startRendering()).getChannelData(0);
  }
  /* By how many samples a stretch of the output lies beside where it belongs in a version. */
  function lag(out, at, version, place, length, reach) {
    let best = -Infinity, found = 0;
    for (let shift = -reach; shift <= reach; shift++) {
      let sum = 0;
      for (let i = 0; i < length; i++) sum += out[at + i] * (version[place + shift + i] || 0);
      if (sum > best) { best = sum; found = shift; }
    }
    return found;
  }
  const decibels = (x) => 20 * Math.log10(Math.max(x, 1e-9));
  /* The largest sample above 6 kHz, where the tones of these tests have nothing: what is left is a click. */
  function click(out, rate, events) {
    const taps = 511, middle = 255, edge = 6000 / rate, kernel = new Float64Array(taps);
    for (let i = 0; i < taps; i++) {
      const t = i - middle, window = 0.42 - 0.5 * Math.cos(2 * Math.PI * (i + 0.5) / taps) + 0.08 * Math.cos(4 * Math.PI * (i + 0.5) / taps);
      kernel[i] = ((t === 0 ? 1 : 0) - (t === 0 ? 2 * edge : Math.sin(2 * Math.PI * edge * t) / (Math.PI * t))) * window;
    }
    let largest = 0;
    for (const event of events) {
      for (let n = Math.round((event - 0.005) * rate); n < (event + 0.03) * rate; n++) {
        let sum = 0;
        for (let i = 0; i < taps; i++) sum += kernel[i] * out[n - i];
        largest = Math.max(largest, Math.abs(sum));
      }
    }
    return decibels(largest);
  }

  const found = { agent: navigator.userAgent, rates: [] };
  for (const rate of [44100, 48000]) {
    const options = { level: 1, loop: null }, length = 3 * rate, a = noise(length, 1), b = noise(length, 2);
    const switches = [0.4003, 0.4513, 0.9000001, 0.903, 1.2345678];
    let out = await render(rate, 2, (transport, made) => {
      const sounds = [made(a), made(b)];
      transport.start(sounds[0], 0.5, 0.1, options);
      switches.forEach((when, index) => transport.switchTo(sounds[(index + 1) % 2], when, options));
    });
    const lags = switches.map((when, index) => {
      const next = switches[index + 1] || 2, from = Math.round((when + 0.012) * rate), room = Math.round(next * rate) - from;
      if (room < 400) return 0;
      return lag(out, from, index % 2 ? a : b, from + Math.round(0.4 * rate), Math.min(room, 1000), Math.round(0.005 * rate));
    });
    /* A loop: every pass begins at the place and the sample where it should. */
    out = await render(rate, 2, (transport, made) => transport.start(made(a), 0.6, 0.1, { level: 1, loop: { from: 0.7, to: 1.1 } }));
    const passes = [0.35, 0.75, 1.15, 1.55].map((when) => {
      const at = Math.round((when + 0.3) * rate) - Math.round(0.05 * rate);
      const place = 0.6 + at / rate - 0.1, inside = place < 1.1 ? place : 0.7 + (place - 1.1) % 0.4;
      return lag(out, at, a, Math.round(inside * rate), 1000, Math.round(0.005 * rate));
    });
    /* Clicks: a start in the middle, switches between tones and between phases, a seam, a stop. */
    const low = sine(length, rate, 441), turned = sine(length, rate, 441, Math.PI / 2), other = sine(length, rate, 557, 1);
    out = await render(rate, 2, (transport, made) => {
      const sounds = [made(low), made(turned), made(other)], looped = { level: 1, loop: { from: 0.5113, to: 0.7377 } };
      transport.start(sounds[0], 0.5117, 0.2, options);
      transport.switchTo(sounds[1], 0.5, options);
      transport.switchTo(sounds[2], 0.503, options);
      transport.switchTo(sounds[0], 0.7, options);
      transport.start(sounds[2], 0.6121, 0.9, looped);
      transport.ahead(1.6);
      transport.stop(1.6);
    });
    const seam = 0.9 + 0.7377 - 0.6121;
    const hard = Float32Array.from({ length: rate }, (_, i) => i < rate / 2 ? low[i] : turned[i]);
    /* The same sound on both sides: the two halves of a cross-fade add up to it. */
    const same = await render(rate, 1.5, (transport, made) => {
      const one = made(low), two = made(low.slice());
      transport.start(one, 0, 0, options);
      [0.3, 0.5, 0.9].forEach((when, index) => transport.switchTo(index % 2 ? one : two, when, options));
    });
    let change = 0;
    for (let i = 0; i < same.length; i++) change = Math.max(change, Math.abs(same[i] - low[i]));
    /* Where a file begins nothing is faded: the first sample is the file's. */
    const onset = await render(rate, 0.5, (transport, made) => transport.start(made(a), 0, 0, options));
    found.rates.push({
      rate, switch_ms: Math.max(...lags.map(Math.abs)) * 1000 / rate, loop_ms: Math.max(...passes.map(Math.abs)) * 1000 / rate,
      click_db: click(out, rate, [0.2, 0.5, 0.7, 0.9, seam, seam + 0.2264, 1.6]), hard_cut_db: click(hard, rate, [0.5]), peak: out.reduce((x, y) => Math.max(x, Math.abs(y)), 0),
      crossfade_error_db: decibels(change), onset_error: Math.abs(onset[0] - a[0]), silent_after_stop: decibels(Math.max(...out.slice(Math.round(1.62 * rate)).map(Math.abs)))
    });
  }
  /* The three formats of one clip decode to the same place. */
  const context = new OfflineAudioContext(1, 48000, 48000), decoded = {};
  for (const form of ["wav", "flac", "ogg"]) {
    const bytes = await (await fetch("clip." + form)).arrayBuffer();
    decoded[form] = (await context.decodeAudioData(bytes)).getChannelData(0);
  }
  found.codec_ms = ["flac", "ogg"].map((form) => Math.abs(lag(decoded[form], 9600, decoded.wav, 9600, 4800, 480)) / 48);
  found.codec_s = Object.values(decoded).map((samples) => samples.length / 48000);
  await fetch("found", { method: "POST", body: JSON.stringify(found) });
})().catch((wrong) => fetch("found", { method: "POST", body: JSON.stringify({ error: String(wrong && wrong.stack || wrong) }) }));
