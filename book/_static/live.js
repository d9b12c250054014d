// Live figures and answer fields of the book. Everything shown was computed at the build; this exchanges one state for another.
(function () {
  "use strict";

  // A text in the language of the page, which brings its own words (book/locale); English where it brings none.
  var words = null;
  function _(text) {
    if (!words) {
      var brought = document.getElementById("mls-words");
      words = brought ? JSON.parse(brought.textContent) : {};
    }
    return words[text] || text;
  }

  // Index of a state: the last control runs fastest, as itertools.product in mlsysbook/book/sliders.py.
  function stateIndex(counts, positions) {
    return counts.reduce(function (index, count, i) { return index * count + positions[i]; }, 0);
  }

  function fnv1a(text) {
    var h = 0x811c9dc5;
    new TextEncoder().encode(text).forEach(function (byte) { h = Math.imul(h ^ byte, 0x01000193) >>> 0; });
    return h.toString(16).padStart(8, "0");
  }

  // A typed number, with a point or a decimal comma, or with commas that part thousands; NaN if it is none.
  function readNumber(text) {
    text = text.trim().replace(/\u2212/g, "-");
    if (/^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$/.test(text)) text = text.replace(/,/g, "");
    else text = text.replace(",", ".");
    return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  }

  function accepts(name, choice, value, step, keys) {
    var cell = (value < 0 ? "-" : "") + Math.floor(Math.log(Math.abs(value)) / step);
    return keys.indexOf(fnv1a(name + "|" + choice + "|" + cell)) >= 0;
  }

  function wireFigure(figure) {
    var data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    var controls = Array.from(figure.querySelectorAll(".mls-controls input, .mls-controls select"));
    var curves = figure.querySelectorAll(".mls-curve");
    var say = figure.querySelector(".mls-say");
    function update() {
      var positions = controls.map(function (c) { return c.tagName === "SELECT" ? c.selectedIndex : Number(c.value); });
      controls.forEach(function (c, i) {
        if (c.tagName === "SELECT") return;
        var told = JSON.parse(c.dataset.told)[positions[i]];
        c.setAttribute("aria-valuetext", told);
        figure.querySelector("output[for='" + c.id + "']").textContent = told;
      });
      var state = data.states[stateIndex(data.counts, positions)];
      curves.forEach(function (curve, i) { curve.setAttribute("d", state.d[i]); });
      say.textContent = state.say;
    }
    controls.forEach(function (c) { c.addEventListener(c.tagName === "SELECT" ? "change" : "input", update); });
    figure.querySelector(".mls-controls").hidden = false;
  }

  function wireCheck(field) {
    var keys = JSON.parse(field.dataset.keys), step = Number(field.dataset.step);
    var input = field.querySelector("input"), select = field.querySelector("select"), out = field.querySelector("output");
    function judge() {
      var choice = select ? select.value : "", value = readNumber(input.value);
      if (isNaN(value)) out.textContent = _("Type a number, such as 12.5.");
      else out.textContent = accepts(field.dataset.name, choice, value, step, keys[choice]) ? _("Right.") : _("Not yet.");
    }
    field.querySelector("button").addEventListener("click", judge);
    input.addEventListener("keydown", function (event) { if (event.key === "Enter") { event.preventDefault(); judge(); } });
    field.hidden = false;
  }

  if (typeof module !== "undefined" && module.exports) {
    module.exports = { stateIndex: stateIndex, fnv1a: fnv1a, readNumber: readNumber, accepts: accepts };
  } else {
    var start = function () {
      document.querySelectorAll(".mls-live").forEach(wireFigure);
      document.querySelectorAll(".mls-check").forEach(wireCheck);
    };
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  }
})();
