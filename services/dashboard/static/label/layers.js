// What lies over the image: labels, prediction, superpixels, points, and the polygon in the making.

import { rgb } from "./colors.js";
import { OPEN } from "./editor.js";
import { UNIT, edges } from "./raster.js";
import { DRAWN } from "./task.js";

// Return functions that draw what `now` shows: {question, task, round, palette, options, pointer}.
export function layers(now) {
  const sheets = { labels: document.createElement("canvas"), prediction: document.createElement("canvas") };
  const places = new WeakMap();

  function sheet(canvas, values, opacity) {
    const [y0, x0, y1, x1] = now.question.box;
    canvas.width = x1 - x0;
    canvas.height = y1 - y0;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    const colors = new Map(now.palette.map((one) => [one.index, rgb(one.color)]));
    for (let i = 0; i < values.length; i++) {
      const color = values[i] === OPEN || !now.question.regionMask[i] ? null : colors.get(values[i]);
      if (color) pixels.data.set([...color, opacity], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function put(context, canvas) {
    const [y0, x0] = now.question.box;
    context.save();
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, x0, y0);
    context.restore();
  }

  function prediction(context) {
    if (now.options.prediction && now.question.predicted) put(context, sheet(sheets.prediction, now.question.predicted, 95));
  }

  function labels(context) {
    if (DRAWN.has(now.round.query)) put(context, sheet(sheets.labels, now.task.editor.labels, 130));
  }

  function superpixels(context, view) {
    const { segments, box } = now.question;
    if (!now.options.superpixels || !segments) return;
    if (!places.has(now.question)) {
      const made = new Path2D();
      const shown = Int32Array.from(segments, (id, i) => (now.question.regionMask[i] ? id : -1));
      for (const [ax, ay, bx, by] of edges(shown, box[3] - box[1], box[2] - box[0], -1)) {
        made.moveTo(ax + box[1], ay + box[0]);
        made.lineTo(bx + box[1], by + box[0]);
      }
      places.set(now.question, made);
    }
    context.lineWidth = 1 / view.scale;
    context.strokeStyle = "rgba(255,255,255,.55)";
    context.stroke(places.get(now.question));
  }

  function path(context, view) {
    const points = now.task.path;
    if (!points?.length) return;
    const color = now.palette.find((one) => one.index === now.task.class)?.color ?? "#ffd23f";
    const lines = new Path2D();
    points.forEach(([x, y], i) => (i ? lines.lineTo(x / UNIT, y / UNIT) : lines.moveTo(x / UNIT, y / UNIT)));
    if (now.pointer) lines.lineTo(...now.pointer);
    for (const [style, width] of [["#10141b", 4], [color, 2]]) {
      context.strokeStyle = style;
      context.lineWidth = width / view.scale;
      context.stroke(lines);
    }
    for (const [x, y] of points) {
      context.fillStyle = "#fff";
      context.strokeStyle = "#10141b";
      context.lineWidth = 1.5 / view.scale;
      context.beginPath();
      context.arc(x / UNIT, y / UNIT, 4 / view.scale, 0, 7);
      context.fill();
      context.stroke();
    }
  }

  function brush(context, view) {
    if (now.task.tool !== "brush" || !now.pointer) return;
    for (const [style, width] of [["#10141b", 3], ["#fff", 1.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width / view.scale;
      context.beginPath();
      context.arc(...now.pointer, now.task.radius / UNIT, 0, 7);
      context.stroke();
    }
  }

  // A ring and a cross that leave the asked pixel itself free.
  function points(context, view) {
    if (now.round.query !== "pixel") return;
    now.question.points.forEach(([y, x], i) => {
      const current = i === now.task.current();
      const [cx, cy] = [x + 0.5, y + 0.5];
      const r = Math.max(0.75, (current ? 14 : 8) / view.scale);
      for (const [style, width] of [["#10141b", current ? 5 : 3], [current ? "#ffd23f" : "#fff", current ? 2.5 : 1.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width / view.scale;
        context.beginPath();
        context.arc(cx, cy, r, 0, 7);
        if (current)
          for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
            context.moveTo(cx + dx * r, cy + dy * r);
            context.lineTo(cx + dx * r * 1.7, cy + dy * r * 1.7);
          }
        context.stroke();
      }
    });
  }

  // Between an answer and the next question, while that loads, the picture stays and may be painted again without them.
  return [prediction, labels, superpixels, path, brush, points].map(
    (layer) => (context, view) => now.question && layer(context, view),
  );
}
