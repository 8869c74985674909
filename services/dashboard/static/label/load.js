// Questions with all that their pages show, loaded before they are needed.

import { bytes } from "./api.js";
import { inside } from "./raster.js";

export const AHEAD = 3;

// Fetch and decode what a question shows. The promise is kept with the question, so that it is done once.
export function load(question) {
  question.loading ??= (async () => {
    const [y0, x0, y1, x1] = question.box;
    question.regionMask = inside(question.region, (y1 - y0) * (x1 - x0));
    const plane = async (path, Kind) => path && new Kind(await (await bytes(path)).arrayBuffer());
    const [bitmap, prediction, superpixels] = await Promise.all([
      bytes(question.image)
        .then((answer) => answer.blob())
        // Colours as stored: no profile, and no turning by metadata that the labels do not know of.
        .then((blob) => createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "none" })),
      plane(question.prediction, Uint8Array),
      plane(question.superpixels, Uint16Array),
    ]);
    question.bitmap = bitmap;
    question.predicted = prediction || null;
    question.segments = superpixels || null;
    return question;
  })().catch((failure) => {
    question.loading = undefined;
    throw failure;
  });
  return question.loading;
}
