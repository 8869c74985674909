// Which pixels a shape covers. tessera/queries/drawing.py states the same rule; a test compares the two in a browser.
//
// Coordinates are whole numbers in sixteenths of a pixel of the image; pixel (x, y) has its centre at (16x + 8, 16y + 8).
// Polygon: a pixel is covered where its centre is inside by the even-odd rule. An edge counts for the rows whose centres
// lie in [upper end, lower end), and toggles every pixel whose centre is at or right of it.
// Disc: a pixel is covered where its centre is at most the radius away. A stroke is the union of its discs.
// All of it is arithmetic on integers below 2^52, so that no rounding decides.

export const UNIT = 16;
const HALF = UNIT / 2;

// Return a Uint8Array of the box (y0, x0, y1, x1): 1 where the polygon [[x, y], …] covers a pixel.
export function polygon(points, [y0, x0, y1, x1]) {
  const width = x1 - x0;
  const covered = new Uint8Array((y1 - y0) * width);
  for (let i = 0; i < points.length; i++) {
    let [ax, ay] = points[i];
    let [bx, by] = points[(i + 1) % points.length];
    if (ay === by) continue;
    if (ay > by) [ax, ay, bx, by] = [bx, by, ax, ay];
    const first = Math.max(y0, Math.ceil((ay - HALF) / UNIT));
    const last = Math.min(y1, Math.ceil((by - HALF) / UNIT));
    for (let y = first; y < last; y++) {
      const along = (ax - HALF) * (by - ay) + (UNIT * y + HALF - ay) * (bx - ax);
      const from = Math.max(0, Math.ceil(along / (UNIT * (by - ay))) - x0);
      if (from < width) covered[(y - y0) * width + from] ^= 1;
    }
  }
  for (let row = 0; row < covered.length; row += width)
    for (let x = 1; x < width; x++) covered[row + x] ^= covered[row + x - 1];
  return covered;
}

// Return a Uint8Array of the box: 1 where a stroke of discs at [[x, y], …] covers a pixel.
export function stroke(points, radius, [y0, x0, y1, x1]) {
  const width = x1 - x0;
  const covered = new Uint8Array((y1 - y0) * width);
  for (const [px, py] of points) {
    const top = Math.max(y0, Math.ceil((py - radius - HALF) / UNIT));
    const bottom = Math.min(y1 - 1, Math.floor((py + radius - HALF) / UNIT));
    for (let y = top; y <= bottom; y++) {
      const dy = UNIT * y + HALF - py;
      const left = Math.max(x0, Math.ceil((px - radius - HALF) / UNIT));
      const right = Math.min(x1 - 1, Math.floor((px + radius - HALF) / UNIT));
      for (let x = left; x <= right; x++) {
        const dx = UNIT * x + HALF - px;
        if (dx * dx + dy * dy <= radius * radius) covered[(y - y0) * width + x - x0] = 1;
      }
    }
  }
  return covered;
}

// Return [[x, y], …]: the way from one point to the next in steps of at most a quarter of the radius.
export function between([ax, ay], [bx, by], radius) {
  const steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / Math.max(1, radius / 4)));
  const found = [];
  for (let i = 1; i <= steps; i++)
    found.push([Math.round(ax + ((bx - ax) * i) / steps), Math.round(ay + ((by - ay) * i) / steps)]);
  return found;
}

// Return a Uint8Array of a box mask's runs: alternately outside and inside, beginning with outside.
export function inside(counts, size) {
  const mask = new Uint8Array(size);
  let at = 0;
  counts.forEach((count, i) => {
    if (i % 2) mask.fill(1, at, at + count);
    at += count;
  });
  return mask;
}

// Return the runs of equal values of an array.
export function runs(array) {
  const values = [];
  const lengths = [];
  for (const value of array) {
    if (values.length && values[values.length - 1] === value) lengths[lengths.length - 1]++;
    else {
      values.push(value);
      lengths.push(1);
    }
  }
  return { values, lengths };
}

// Return the array whose runs these are.
export function fromRuns({ values, lengths }, size) {
  const array = new Uint8Array(size);
  let at = 0;
  values.forEach((value, i) => {
    array.fill(value, at, at + lengths[i]);
    at += lengths[i];
  });
  return array;
}

// Return the edges between pixels of different values as [x, y, x, y] in pixels of the box; the frame counts as `rim`.
export function edges(values, width, height, rim) {
  const found = [];
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? rim : values[y * width + x]);
  for (let y = 0; y <= height; y++) {
    let from = -1;
    for (let x = 0; x <= width; x++) {
      const differs = x < width && at(x, y - 1) !== at(x, y);
      if (differs && from < 0) from = x;
      if (!differs && from >= 0) {
        found.push([from, y, x, y]);
        from = -1;
      }
    }
  }
  for (let x = 0; x <= width; x++) {
    let from = -1;
    for (let y = 0; y <= height; y++) {
      const differs = y < height && at(x - 1, y) !== at(x, y);
      if (differs && from < 0) from = y;
      if (!differs && from >= 0) {
        found.push([x, from, x, y]);
        from = -1;
      }
    }
  }
  return found;
}
