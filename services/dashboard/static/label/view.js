// The picture: image, layers and outline under one transform from pixels of the image to the screen.

import { edges } from "./raster.js";

export class View {
  constructor(canvas, overview) {
    this.canvas = canvas;
    this.overview = overview;
    this.scale = 1;
    this.left = 0; // image coordinates of the upper left corner of the canvas
    this.top = 0;
    this.question = null;
    this.layers = []; // functions (context, view) that draw over the image
    this.pending = 0;
    new ResizeObserver(() => this.question && (this.moved ? this.draw() : this.fit())).observe(canvas.parentElement);
  }

  show(question) {
    this.question = question;
    const [y0, x0, y1, x1] = question.box;
    const outline = edges(question.regionMask, x1 - x0, y1 - y0, 0);
    this.outline = new Path2D();
    for (const [ax, ay, bx, by] of outline) {
      this.outline.moveTo(ax + x0, ay + y0);
      this.outline.lineTo(bx + x0, by + y0);
    }
    // Everything but the region, in rows: to dim it, and to keep the outline's line outside.
    this.outside = new Path2D();
    const far = 1e5;
    this.outside.rect(-far, -far, 2 * far, far + y0);
    this.outside.rect(-far, y1, 2 * far, far);
    for (let y = y0; y < y1; y++) {
      const row = (y - y0) * (x1 - x0) - x0;
      let from = -far; // where the part outside begins
      for (let x = x0; x < x1; x++) {
        if (!question.regionMask[row + x]) continue;
        if (x > from) this.outside.rect(from, y, x - from, 1);
        from = x + 1;
      }
      this.outside.rect(from, y, far - from, 1);
    }
    this.fit();
  }

  size() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    return [Math.max(1, clientWidth), Math.max(1, clientHeight)];
  }

  // Show the region with its surroundings, or the whole image.
  fit(whole = false) {
    const q = this.question;
    const [y0, x0, y1, x1] = whole ? [0, 0, q.height, q.width] : q.box;
    const [width, height] = this.size();
    const room = whole ? 1.02 : x1 - x0 < q.width || y1 - y0 < q.height ? 1.5 : 1.06;
    this.scale = Math.min(width / ((x1 - x0) * room), height / ((y1 - y0) * room), 40);
    this.left = (x0 + x1) / 2 - width / this.scale / 2;
    this.top = (y0 + y1) / 2 - height / this.scale / 2;
    this.moved = false;
    this.draw();
  }

  // Zoom by a factor about a point of the screen.
  zoom(factor, sx, sy) {
    const [x, y] = this.at(sx, sy);
    const q = this.question;
    const [width, height] = this.size();
    const least = Math.min(width / q.width, height / q.height) / 2;
    this.scale = Math.min(80, Math.max(least, this.scale * factor));
    this.left = x - sx / this.scale;
    this.top = y - sy / this.scale;
    this.moved = true;
    this.draw();
  }

  pan(dx, dy) {
    this.left -= dx / this.scale;
    this.top -= dy / this.scale;
    this.moved = true;
    this.draw();
  }

  // Image coordinates of a point of the canvas, and the reverse.
  at(sx, sy) {
    return [this.left + sx / this.scale, this.top + sy / this.scale];
  }

  screen(x, y) {
    return [(x - this.left) * this.scale, (y - this.top) * this.scale];
  }

  // Show the image without anything on it, or everything again.
  peek(bare) {
    if (bare === Boolean(this.bare)) return;
    this.bare = bare;
    this.draw();
  }

  draw() {
    if (!this.pending) this.pending = requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.pending = 0;
    const q = this.question;
    if (!q) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = this.size();
    const { canvas } = this;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const k = this.scale * ratio;
    context.setTransform(k, 0, 0, k, -this.left * k, -this.top * k);
    // Enlarged pixels stay pixels where a boundary has to be judged.
    context.imageSmoothingEnabled = this.scale < 4;
    context.drawImage(q.bitmap, 0, 0);
    if (!this.bare) {
      for (const layer of this.layers) layer(context, this);
      this.frame(context);
    }
    this.small();
  }

  // Dim what is not asked about and draw the outline on its outer side alone: it covers no pixel of the region.
  frame(context) {
    context.fillStyle = "rgba(11,15,22,.38)";
    context.fill(this.outside);
    context.save();
    context.clip(this.outside);
    for (const [color, width] of [["#10141b", 8], ["#ffd23f", 5]]) {
      context.strokeStyle = color;
      context.lineWidth = width / this.scale;
      context.lineCap = "square";
      context.stroke(this.outline);
    }
    context.restore();
  }

  // Put the small image into a corner of the stage in which it hides nothing of the region; into none where the whole
  // image is seen anyway and there is no such corner.
  corner() {
    const { overview, question: q } = this;
    const [width, height] = this.size();
    const [y0, x0, y1, x1] = q.box;
    const [left, top] = this.screen(x0, y0);
    const [right, bottom] = this.screen(x1, y1);
    const [w, h] = [overview.offsetWidth + 16, overview.offsetHeight + 16];
    const free = ([x, y]) => x >= right || x + w <= left || y >= bottom || y + h <= top;
    const corners = [[width - w, height - h], [0, height - h], [width - w, 0], [0, 0]];
    const found = corners.find(free);
    const whole = this.left <= 0 && this.top <= 0 && width >= (q.width - this.left) * this.scale && height >= (q.height - this.top) * this.scale;
    overview.style.visibility = !found && whole ? "hidden" : "";
    const [x, y] = found ?? corners[0];
    overview.style.left = `${x + 8}px`;
    overview.style.top = `${y + 8}px`;
  }

  // The whole image, small, with the place of the region.
  small() {
    const q = this.question;
    const context = this.overview.getContext("2d");
    const width = 160;
    const height = Math.max(1, Math.round((width * q.height) / q.width));
    if (this.overview.height !== height) this.overview.height = height;
    this.corner();
    const k = width / q.width;
    context.drawImage(q.bitmap, 0, 0, width, height);
    const [y0, x0, y1, x1] = q.box;
    context.strokeStyle = "#10141b";
    context.lineWidth = 4;
    context.strokeRect(x0 * k - 2, y0 * k - 2, (x1 - x0) * k + 4, (y1 - y0) * k + 4);
    context.strokeStyle = "#ffd23f";
    context.lineWidth = 2;
    context.strokeRect(x0 * k - 2, y0 * k - 2, (x1 - x0) * k + 4, (y1 - y0) * k + 4);
  }
}
