// Mouse, pen and fingers on the canvas: one finger uses the tool, two move and zoom; the wheel zooms.

export class Pointer {
  // `tool` has press(x, y), move(x, y), release(), hover(x, y), all in image coordinates; it may return false from
  // press to let the finger move the picture.
  constructor(view, tool) {
    this.view = view;
    this.tool = tool;
    this.down = new Map();
    this.mode = "";
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.release(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...this.place(event));
      },
      { passive: false },
    );
  }

  place(event) {
    const box = this.view.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (!this.view.question) return;
    this.view.canvas.setPointerCapture(event.pointerId);
    this.view.canvas.focus({ preventScroll: true });
    this.down.set(event.pointerId, this.place(event));
    if (this.down.size === 2) {
      if (this.mode === "tool") this.tool.cancel();
      this.mode = "pinch";
    } else if (this.down.size === 1) {
      const drags = event.button === 1 || event.button === 2 || event.shiftKey;
      const used = !drags && this.tool.press(...this.view.at(...this.place(event)));
      this.mode = used ? "tool" : "pan";
    }
  }

  move(event) {
    const now = this.place(event);
    const before = this.down.get(event.pointerId);
    if (!before) {
      if (this.view.question) this.tool.hover(...this.view.at(...now));
      return;
    }
    if (this.mode === "tool") {
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.tool.move(...this.view.at(...this.place(one)));
    } else if (this.mode === "pan") this.view.pan(now[0] - before[0], now[1] - before[1]);
    else if (this.mode === "pinch" && this.down.size === 2) {
      const other = [...this.down].find(([id]) => id !== event.pointerId)[1];
      const far = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
      this.view.zoom(far(now, other) / far(before, other), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      this.view.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    }
    this.down.set(event.pointerId, now);
  }

  release(event) {
    if (!this.down.delete(event.pointerId)) return;
    if (this.mode === "tool") this.tool.release();
    if (this.down.size === 0 || this.mode === "tool") this.mode = this.down.size ? "pinch" : "";
  }
}
