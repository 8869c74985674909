// Keys and colours of classes.

export const KEYS = [..."123456789qwertiasdgjlzxc"];
const WORDS = "#9aa3ad";

// Okabe and Ito's eight colours, then the same darker and lighter: neighbours in the list differ in lightness too.
const SAFE = ["#0072b2", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#56b4e9", "#d55e00", "#ffffff"];
const DARK = ["#003f63", "#7f5800", "#00573f", "#857e25", "#71435c", "#2f6380", "#763400", "#000000"];

// Return [{index, name, key, color}, …]: the classes, and at last "undefined".
export function palette(classes, ignore, safe) {
  const found = classes.map((one, i) => ({
    index: one.index,
    name: one.name,
    key: KEYS[i] || "",
    color: safe ? (i < 8 ? SAFE[i] : DARK[i % 8]) : one.color || SAFE[i % 8],
  }));
  return [...found, { index: ignore, name: "undefined", key: "0", color: WORDS }];
}

export function rgb(color) {
  const digits = parseInt(color.slice(1), 16);
  return [(digits >> 16) & 255, (digits >> 8) & 255, digits & 255];
}
