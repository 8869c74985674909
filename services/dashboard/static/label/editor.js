// A mask in the making: a list of steps and the labels that they give. Steps are what is undone, kept as a draft and
// sent along as the drawing; labels are what is trained.

import { polygon, stroke } from "./raster.js";

export const OPEN = -1; // not labelled yet

export class Editor {
  // `region`: Uint8Array of the box, 1 inside; prediction and superpixels: arrays of the box, or null.
  constructor(box, region, prediction, superpixels) {
    Object.assign(this, { box, region, prediction, superpixels });
    this.steps = [];
    this.base = null;
    this.labels = new Int16Array(region.length).fill(OPEN);
  }

  // Begin with labels that exist already: the earlier answer to this question.
  begin(labels) {
    this.base = labels;
    this.replay();
  }

  add(step) {
    this.steps.push(step);
    this.apply(step);
  }

  // Take the last step back and return it; undefined where there is none.
  undo() {
    const step = this.steps.pop();
    if (step) this.replay();
    return step;
  }

  restore(steps) {
    this.steps = steps;
    this.replay();
  }

  replay() {
    if (this.base) this.labels.set(this.base);
    else this.labels.fill(OPEN);
    for (const step of this.steps) this.apply(step);
  }

  apply(step) {
    const { labels, region } = this;
    if (step.tool === "prediction") {
      for (let i = 0; i < labels.length; i++) if (region[i]) labels[i] = this.prediction[i];
    } else if (step.tool === "fill") {
      for (let i = 0; i < labels.length; i++) if (region[i] && labels[i] === OPEN) labels[i] = step.class;
    } else if (step.tool === "superpixel") {
      for (let i = 0; i < labels.length; i++)
        if (region[i] && this.superpixels[i] === step.id) labels[i] = step.class;
    } else {
      const covered =
        step.tool === "polygon" ? polygon(step.points, this.box) : stroke(step.points, step.radius, this.box);
      for (let i = 0; i < labels.length; i++) if (covered[i] && region[i]) labels[i] = step.class;
    }
  }

  // Number of pixels of the region without a label.
  open() {
    let count = 0;
    for (let i = 0; i < this.labels.length; i++) if (this.region[i] && this.labels[i] === OPEN) count++;
    return count;
  }

  // The answer: the class of every pixel of the box; what is open and what is outside is `ignore`.
  raster(ignore) {
    return Uint8Array.from(this.labels, (value, i) => (this.region[i] && value !== OPEN ? value : ignore));
  }
}
