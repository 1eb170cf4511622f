// Show a text as a terminal would: carriage returns overwrite a line, colours become classes, other
// escape sequences are removed. Texts are always set as text.
window.SchedulerScreen = (function () {
  "use strict";

  const MOST_LINES = 6000;  // on the page; the download has more
  const AGILE = 60;         // last lines that the cursor can move back to, for several bars
  const WIDEST = 4000;      // largest column of the cursor
  const PARTS = new RegExp([
    "\\x1b\\[([0-?]*)[ -/]*([@-~])",                 // colours and cursor moves
    "\\x1b\\][^\\x07\\x1b]*(?:\\x07|\\x1b\\\\)",     // titles, links
    "\\x1b[PX^_][^\\x1b]*\\x1b\\\\",                 // messages to the terminal
    "\\x1b[ -/]*[0-OQ-WYZ`-~]",                      // other complete sequences
    "[\\n\\r\\b]",
    "[^\\x1b\\n\\r\\b]+",
  ].join("|"), "g");
  const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)$/;
  const SILENT = /[\x00-\x08\x0b-\x1f\x7f]/g;  // characters that a terminal does not show

  class Screen {
    constructor(pre) {
      this.pre = pre;
      this.reset();
    }

    reset() {
      this.pre.replaceChildren();
      this.lines = [];
      this.style = {};
      this.held = "";
      this.at = -1;
      this.column = 0;
      this.dropped = false;
      this.changed = new Set();
    }

    get isEmpty() { return !this.lines.length; }

    write(text) {
      text = this.held + text;
      const cut = text.search(UNFINISHED);
      this.held = cut >= 0 && text.length - cut < 500 ? text.slice(cut) : "";
      if (this.held) { text = text.slice(0, cut); }
      for (const found of text.matchAll(PARTS)) { this.part(found); }
      for (const line of this.changed) { this.draw(line); }
      this.changed.clear();
      while (this.pre.childElementCount > MOST_LINES) { this.pre.firstElementChild.remove(); this.dropped = true; }
    }

    part(found) {
      const text = found[0];
      if (text === "\n") { this.column = 0; this.down(); }
      else if (text === "\r") { this.column = 0; }
      else if (text === "\b") { this.column = Math.max(0, this.column - 1); }
      else if (text[0] !== "\x1b") { this.put(text); }
      else if (found[2] !== undefined) { this.control(found[1], found[2]); }
    }

    line() {
      if (this.at < 0) { this.at = 0; this.add(); }
      return this.lines[this.at];
    }

    down() {
      this.line();
      this.at += 1;
      if (this.at >= this.lines.length) { this.add(); }
    }

    add() {
      const line = { chars: [], looks: [], element: document.createElement("span") };
      line.element.className = "line";
      this.pre.append(line.element);
      this.lines.push(line);
      if (this.lines.length > AGILE) { this.lines.shift(); this.at -= 1; }
    }

    put(text) {
      const line = this.line(), look = this.look();
      for (const char of Scheduler.visible(text.replace(/\t/g, "        ").replace(SILENT, ""))) {
        if (line.chars.length < this.column) {
          while (line.chars.length < this.column) { line.chars.push(" "); line.looks.push(""); }
        }
        line.chars[this.column] = char;
        line.looks[this.column] = look;
        this.column += 1;
      }
      this.changed.add(line);
    }

    control(given, what) {
      const numbers = given.split(";").map((one) => parseInt(one, 10) || 0), first = Math.max(1, numbers[0]);
      if (what === "m") { this.colour(given ? numbers : [0]); }
      else if (what === "A" || what === "F") { this.at = Math.max(0, this.at - first); if (what === "F") { this.column = 0; } }
      else if (what === "B" || what === "E") { this.at = Math.min(this.lines.length - 1, this.at + first); if (what === "E") { this.column = 0; } }
      else if (what === "C") { this.column = Math.min(WIDEST, this.column + first); }
      else if (what === "D") { this.column = Math.max(0, this.column - first); }
      else if (what === "G") { this.column = Math.min(WIDEST, first - 1); }
      else if (what === "K") { this.erase(numbers[0]); }
    }

    erase(what) {
      const line = this.line();
      if (what === 0) { line.chars.length = line.looks.length = Math.min(line.chars.length, this.column); }
      else if (what === 2) { line.chars = []; line.looks = []; }
      else { for (let n = 0; n < this.column && n < line.chars.length; n++) { line.chars[n] = " "; line.looks[n] = ""; } }
      this.changed.add(line);
    }

    colour(numbers) {
      for (let n = 0; n < numbers.length; n++) {
        const one = numbers[n], style = this.style;
        if (one === 0) { this.style = {}; }
        else if (one === 1) { style.bold = true; } else if (one === 2) { style.dim = true; }
        else if (one === 3) { style.italic = true; } else if (one === 4) { style.under = true; }
        else if (one === 22) { style.bold = style.dim = false; } else if (one === 23) { style.italic = false; } else if (one === 24) { style.under = false; }
        else if ((one >= 30 && one <= 37) || (one >= 90 && one <= 97)) { style.front = `f${one % 10}`; }
        else if ((one >= 40 && one <= 47) || (one >= 100 && one <= 107)) { style.back = `b${one % 10}`; }
        else if (one === 39) { style.front = ""; } else if (one === 49) { style.back = ""; }
        else if (one === 38 || one === 48) {  // 256 or all colours: use one of the eight, if it is the same
          const named = numbers[n + 1] === 5 && numbers[n + 2] < 16;
          if (named) { style[one === 38 ? "front" : "back"] = (one === 38 ? "f" : "b") + (numbers[n + 2] % 8); }
          n += numbers[n + 1] === 5 ? 2 : numbers[n + 1] === 2 ? 4 : 1;
        }
      }
    }

    look() {
      const { bold, dim, italic, under, front, back } = this.style;
      return [bold && "bold", dim && "dim", italic && "italic", under && "under", front, back].filter(Boolean).join(" ");
    }

    draw(line) {
      const parts = [];
      let text = "", look = "";
      const close = () => {
        if (!text) { return; }
        if (!look) { parts.push(text); return; }
        const part = document.createElement("span");
        part.className = look;
        part.textContent = text;
        parts.push(part);
      };
      line.chars.forEach((char, n) => {
        if (line.looks[n] !== look) { close(); text = ""; look = line.looks[n]; }
        text += char;
      });
      close();
      line.element.replaceChildren(...parts);
    }
  }

  return Screen;
})();
