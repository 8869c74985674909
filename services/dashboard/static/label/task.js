// One question as a task: what is chosen so far, how it is changed and undone, and the answer that it gives.

import { Editor, OPEN } from "./editor.js";
import { UNIT, between, fromRuns } from "./raster.js";

export const DRAWN = new Set(["mask", "polygon_in_patch", "image"]);

// Make the task of a question; `round` says which query is asked.
export function task(question, round) {
  if (DRAWN.has(round.query)) return new Drawing(question, round);
  return round.query === "pixel" ? new Points(question, round) : new Choice(question, round);
}

// Dominant: one class, sent at once. Multi-class: classes switched on and off.
class Choice {
  constructor(question, round) {
    this.many = round.query === "multi_class";
    this.chosen = new Set(question.answered?.classes ?? []);
    this.steps = [];
    this.undone = [];
  }

  // Returns whether the answer is complete and may be sent at once.
  choose(index) {
    if (!this.many) {
      // Sent at once: there is nothing to undo in it, and Undo leads to the answer before.
      this.chosen = new Set([index]);
      return true;
    }
    this.steps.push([...this.chosen]);
    this.undone = [];
    if (!this.chosen.delete(index)) this.chosen.add(index);
    return false;
  }

  undo() {
    return this.swap(this.steps, this.undone);
  }

  redo() {
    return this.swap(this.undone, this.steps);
  }

  // Take the newest choice of one list and keep the present one in the other.
  swap(from, to) {
    const found = from.pop();
    if (!found) return false;
    to.push([...this.chosen]);
    this.chosen = new Set(found);
    return true;
  }

  pressed(index) {
    return this.chosen.has(index);
  }

  missing() {
    return this.chosen.size ? "" : "Choose a class first.";
  }

  answer() {
    return { classes: [...this.chosen].sort((a, b) => a - b) };
  }

  draft() {
    return this.many ? [...this.chosen] : null;
  }

  restore(draft) {
    this.chosen = new Set(draft);
  }
}

// Pixels: each is named in turn; the last one completes the answer.
class Points {
  constructor(question) {
    this.points = question.points;
    this.named = question.answered?.points?.slice() ?? [];
    if (this.named.length) this.at = 0;
    this.undone = [];
  }

  current() {
    return Math.min(this.at ?? this.named.length, this.points.length - 1);
  }

  choose(index) {
    this.undone = [];
    return this.name(index);
  }

  name(index) {
    if (this.at !== undefined) {
      this.named[this.at++] = index;
      if (this.at < this.points.length) return false;
      this.at = undefined;
      return true;
    }
    if (this.named.length < this.points.length) this.named.push(index);
    return this.named.length === this.points.length;
  }

  undo() {
    if (this.at) return Boolean(this.at--);
    if (this.at === 0 || !this.named.length) return false;
    this.undone.push(this.named.pop());
    return true;
  }

  redo() {
    if (!this.undone.length) return false;
    this.name(this.undone.pop());
    return true;
  }

  pressed() {
    return false;
  }

  missing() {
    const left = this.points.length - this.named.length;
    return left ? `Name ${left === 1 ? "the last pixel" : `${left} more pixels`} first.` : "";
  }

  answer() {
    return { points: this.named };
  }

  draft() {
    return this.named;
  }

  restore(draft) {
    this.named = draft;
  }
}

// Masks: polygons, strokes and superpixels in the region.
class Drawing {
  constructor(question, round) {
    this.ignore = round.ignore;
    this.editor = new Editor(question.box, question.regionMask, question.predicted, question.segments);
    this.box = question.box;
    this.class = round.classes[0].index;
    this.tool = "polygon";
    this.radius = 3 * UNIT;
    this.path = []; // the polygon that is being drawn
    this.undone = []; // corners and steps that were taken back, the newest last
    this.current = null; // the stroke
    if (question.answered?.values) {
      const earlier = fromRuns(question.answered, question.regionMask.length);
      this.editor.begin(Int16Array.from(earlier, (value, i) => (question.regionMask[i] ? value : OPEN)));
    }
  }

  choose(index) {
    this.class = index;
    return false;
  }

  pressed(index) {
    return index === this.class;
  }

  point(x, y) {
    return [Math.round(x * UNIT), Math.round(y * UNIT)];
  }

  // `near`: how far from the first corner, in pixels of the image, a click still closes the polygon.
  press(x, y, near) {
    this.undone = [];
    const here = this.point(x, y);
    if (this.tool === "polygon") {
      const [first] = this.path;
      if (this.path.length > 2 && Math.hypot(here[0] - first[0], here[1] - first[1]) <= near * UNIT) this.close();
      else this.path.push(here);
    } else if (this.tool === "brush") {
      this.current = { tool: "brush", class: this.class, radius: this.radius, points: [here] };
      this.editor.add(this.current);
    } else this.superpixel(x, y);
    return true;
  }

  move(x, y) {
    if (this.tool === "superpixel") this.superpixel(x, y);
    if (!this.current) return;
    const { points } = this.current;
    points.push(...between(points[points.length - 1], this.point(x, y), this.radius));
    this.editor.apply(this.current);
  }

  release() {
    this.current = null;
  }

  superpixel(x, y) {
    const [y0, x0, y1, x1] = this.box;
    const [column, row] = [Math.floor(x) - x0, Math.floor(y) - y0];
    if (!this.editor.superpixels || column < 0 || row < 0 || column >= x1 - x0 || row >= y1 - y0) return;
    const at = row * (x1 - x0) + column;
    if (!this.editor.region[at] || this.editor.labels[at] === this.class) return;
    this.editor.add({ tool: "superpixel", class: this.class, id: this.editor.superpixels[at] });
  }

  // Close the polygon; false where there is none to close.
  close() {
    if (this.path.length < 3) return false;
    this.undone = [];
    this.editor.add({ tool: "polygon", class: this.class, points: this.path });
    this.path = [];
    return true;
  }

  // Give the polygon that is being drawn up; false where there is none.
  drop() {
    const had = this.path.length > 0;
    this.path = [];
    return had;
  }

  // Make the brush larger or smaller, from half a pixel to 64 pixels.
  resize(factor) {
    this.radius = Math.min(64 * UNIT, Math.max(UNIT / 2, Math.round(this.radius * factor)));
  }

  fill() {
    this.undone = [];
    if (this.editor.open()) this.editor.add({ tool: "fill", class: this.class });
  }

  start() {
    this.undone = [];
    if (this.editor.prediction) this.editor.add({ tool: "prediction" });
  }

  undo() {
    const corner = this.path.pop();
    const taken = corner ?? this.editor.undo();
    if (taken) this.undone.push({ corner, step: taken });
    return Boolean(taken);
  }

  redo() {
    const again = this.undone.pop();
    if (again?.corner) this.path.push(again.corner);
    else if (again) this.editor.add(again.step);
    return Boolean(again);
  }

  missing() {
    return this.path.length ? "Close the polygon (Enter) or take it back (Backspace) first." : "";
  }

  // Words that ask for a second Enter; empty where everything is labelled.
  doubt() {
    const open = this.editor.open();
    const pixels = `${open.toLocaleString("en")} pixel${open === 1 ? " has" : "s have"} no class`;
    return open ? `${pixels}. Send again (Enter) to leave them undefined, or fill the rest (F).` : "";
  }

  answer() {
    const values = this.editor.raster(this.ignore);
    return { raster: values, drawing: JSON.stringify({ unit: UNIT, steps: this.editor.steps }) };
  }

  draft() {
    return this.editor.steps;
  }

  restore(draft) {
    this.editor.restore(draft);
  }
}
