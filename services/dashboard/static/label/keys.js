// The keyboard: what each key does, on whatever keyboard it is typed.

import { DRAWN } from "./task.js";

const KEYS = {
  enter: "send", backspace: "undo", u: "undo", k: "skip-open", p: "tool-polygon", b: "tool-brush", n: "tool-superpixel",
  f: "fill", y: "start", m: "show-prediction", o: "show-superpixels", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out",
};
const DRAWING = new Set(["tool-polygon", "tool-brush", "tool-superpixel", "fill", "start"]);
const MOVES = { arrowleft: [60, 0], arrowright: [-60, 0], arrowup: [0, 60], arrowdown: [0, -60] };
const SIZES = { "[": 1 / 1.3, ",": 1 / 1.3, "]": 1.3, ".": 1.3 };

// Return what a key means: the digit of the row above the letters whatever it types there (French keyboards type "&" for
// 1), and the letter of the key's place where it types none of ours (Greek, Cyrillic).
export function meaning(event) {
  const key = event.key.toLowerCase();
  const place = /^(?:(Digit)|Key)(.)$/.exec(event.code);
  if (!place || event.getModifierState("AltGraph")) return key;
  const foreign = key.length === 1 && key > "~";
  return (place[1] ? !event.shiftKey : foreign) ? place[2].toLowerCase() : key;
}

// `page` has now, view, press(id), pick(index), undo(), redo(), resize(factor), escape() and find().
export function listen(page) {
  const { now, view } = page;

  // Return whether the key did something.
  function act(key, event) {
    const drawn = DRAWN.has(now.round.query);
    const one = now.palette.find((each) => each.key === key);
    if (key in MOVES) view.pan(...MOVES[key]);
    else if (key in SIZES && drawn) page.resize(SIZES[key]);
    else if (KEYS[key]?.startsWith("zoom")) page.press(KEYS[key]);
    else if (event.repeat) return false;
    else if (one && !event.shiftKey) page.pick(one.index);
    else if (key === "v") view.peek(true);
    else if (key === "escape") return page.escape();
    else if (key === "/") return page.find();
    else if (key in KEYS && (drawn || !DRAWING.has(KEYS[key]))) return page.press(KEYS[key]);
    else return false;
    return true;
  }

  addEventListener("keydown", (event) => {
    if (event.altKey && !event.getModifierState("AltGraph")) return;
    if (document.querySelector("dialog[open]") || event.target.matches("input:not([type=checkbox])")) return;
    const key = meaning(event);
    if (event.ctrlKey || event.metaKey) {
      // As everywhere: Ctrl+Z, Ctrl+Y, Ctrl+Shift+Z. AltGr counts as Ctrl on some systems, and types.
      if (!event.getModifierState("AltGraph")) {
        const again = key === "y" || (key === "z" && event.shiftKey);
        if (!now.question || !(again || key === "z")) return;
        event.preventDefault();
        return again ? page.redo() : page.undo();
      }
    }
    // A focused button is pressed by Enter and Space, as everywhere.
    if (event.target.matches("button, a, input") && (key === "enter" || key === " ")) return;
    if (key === "h" || key === "?") page.press("help-open");
    else if (!now.question || !act(key, event)) return;
    event.preventDefault();
  });
  addEventListener("keyup", (event) => meaning(event) === "v" && view.peek(false));
}
